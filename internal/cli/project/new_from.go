package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"valence/internal/cli/scaffold"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
)

// maxDocument is the size of the largest document that --from reads.
const maxDocument = 20 << 20

// files returns the files of the project: from a WSDL if the text is XML, else
// from an OpenAPI document.
func (c *NewCommand) files(text []byte) ([]scaffold.File, []string, error) {
	if !bytes.HasPrefix(bytes.TrimLeft(text, "\ufeff \t\r\n"), []byte("<")) {
		files, notes, err := scaffold.OpenAPI(text, c.As)
		if err != nil {
			return nil, nil, clierror.Invalid("name an OpenAPI 3 document, or a WSDL", "%s: %v", c.From, err)
		}
		return files, notes, nil
	}
	root, err := os.OpenRoot(filepath.Dir(c.From))
	if err != nil {
		return nil, nil, clierror.Failed("name a file that can be read", "%v", err)
	}
	defer root.Close()
	files, notes, err := scaffold.WSDL(context.Background(), filepath.Base(c.From), c.As, func(name string) ([]byte, bool) {
		info, err := root.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxDocument {
			return nil, false
		}
		content, err := root.ReadFile(name)
		return content, err == nil
	})
	var wrong fault.Problems
	if errors.As(err, &wrong) {
		return nil, nil, clierror.Invalid(wrong[0].Hint, "%s: %s", wrong[0].Pos, wrong[0].Msg)
	}
	if err != nil {
		return nil, nil, clierror.Invalid("name a WSDL 1.1 with the files that it imports next to it", "%v", err)
	}
	return files, notes, nil
}

// scaffold creates the project from a document.
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
	files, notes, err := c.files(text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return clierror.Failed("name a folder in a writable place", "%v", err)
	}
	for _, f := range files {
		name := filepath.Join(c.Dir, filepath.FromSlash(f.Name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(f.Text), 0o644)); err != nil {
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
	fmt.Fprintf(&b, "\n    %s\n    valence test\n", terminal.ChangeDir(c.Dir))
	_, err = fmt.Fprint(s.Out, b.String())
	return err
}
