package project

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/cli/scaffold"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// maxDocument is the size of the largest document that --from reads.
const maxDocument = 20 << 20

// scaffold creates the project from an OpenAPI document.
func (c *NewCommand) scaffold(s *terminal.Streams) error {
	if c.Template != "default" {
		return clierror.Usage("valence new DIR --from FILE", "--template and --from exclude each other")
	}
	if info, err := os.Stat(c.From); err == nil && info.Size() > maxDocument {
		return clierror.Invalid("split it", "%s is larger than 20 MiB", c.From)
	}
	text, err := os.ReadFile(c.From)
	if err != nil {
		return clierror.Failed("name a file that can be read", "%v", err)
	}
	files, notes, err := scaffold.OpenAPI(text, c.As)
	if err != nil {
		return clierror.Invalid("name an OpenAPI 3 document", "%s: %v", c.From, err)
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return clierror.Failed("name a folder in a writable place", "%v", err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(c.Dir, f.Name), []byte(f.Text), 0o644); err != nil {
			return clierror.Failed("name a folder in a writable place", "%v", err)
		}
	}
	if err := writeCommon(c.Dir); err != nil {
		return clierror.Failed("name a folder in a writable place", "%v", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Created a project in %s from %s.\n", c.Dir, c.From)
	for _, n := range notes {
		fmt.Fprintf(&b, "  not taken over: %s\n", n)
	}
	fmt.Fprintf(&b, "\n    cd %s\n    valence test\n", terminal.RelativePath(c.Dir))
	_, err = fmt.Fprint(s.Out, b.String())
	return err
}
