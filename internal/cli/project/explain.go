package project

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"valence/internal/catalogue"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/spec"
	"valence/processes/drawing"
	"valence/processes/explain"
)

// ExplainCommand explains a process.
type ExplainCommand struct {
	Process string   `arg:"" help:"Name of the process, or a code of lint or of a failure."`
	Paths   []string `arg:"" optional:"" files:"" help:"Folders and files of the project; default: the current folder."`
	Format  string   `enum:"text,json,mermaid,svg" default:"text" help:"Output format: text, json, or a drawing as mermaid or svg."`
	JSON    bool     `help:"Print as JSON; the same as --format json."`
}

// Help returns the text below the command's summary.
func (*ExplainCommand) Help() string {
	return `A code, such as unknown-key, is explained with an example that has the problem and
one that does not. If a process has the same name, the process is explained.

The explanation of a process is computed from the files; nothing is started or called.
The drawings have its steps, the asynchronous boundary, the durable parts and the calls
that can repeat. An SVG file needs no other file, and adapts to dark and light.

Examples:

    valence explain order-sync
    valence explain order-sync orders/ --json
    valence explain order-sync orders/ --format svg > order-sync.svg
    valence explain unknown-key
`
}

// Run explains one process.
func (c *ExplainCommand) Run(s *terminal.Streams) error {
	if c.JSON && c.Format != "text" && c.Format != "json" {
		return clierror.Usage("--json without --format, or --format "+c.Format+" without --json", "--json and --format %s exclude each other", c.Format)
	}
	if page, ok := catalogue.Lookup(c.Process); ok && !c.declared() {
		return c.page(s, page)
	}
	if near := c.near(); near != "" {
		return clierror.Invalid("did you mean `"+near+"`?", "no process and no code is named %s", c.Process)
	}
	if _, err := Load(c.Paths); err != nil {
		return clierror.Invalid("name a code that valence lint prints, or the folder of the project after the process", "no code is named %s, and %v", c.Process, err)
	}
	p, err := LoadValid(c.Paths, s.Err)
	if err != nil {
		return err
	}
	process, ok := p.Project.Processes[c.Process]
	if !ok {
		names := slices.Sorted(maps.Keys(p.Project.Processes))
		return clierror.Invalid("one of: "+strings.Join(names, ", "), "the project has no process %s", c.Process)
	}
	switch c.format() {
	case "json":
		return terminal.EncodeJSON(s.Out, explain.Process(p.Project, process))
	case "mermaid":
		return drawing.Mermaid(s.Out, p.Project, process)
	case "svg":
		return drawing.SVG(s.Out, p.Project, process)
	}
	return explain.Process(p.Project, process).WriteText(s.Out)
}

func (c *ExplainCommand) format() string {
	if c.JSON {
		return "json"
	}
	return c.Format
}

// declared reports whether the project has a process with the name.
func (c *ExplainCommand) declared() bool {
	p, err := Load(c.Paths)
	return err == nil && p.Project.Processes[c.Process] != nil
}

// near returns the process or code that a mistyped name is likely to mean, or "".
func (c *ExplainCommand) near() string {
	known := catalogue.Codes()
	if p, err := Load(c.Paths); err == nil {
		if p.Project.Processes[c.Process] != nil {
			return ""
		}
		known = slices.AppendSeq(known, maps.Keys(p.Project.Processes))
	}
	return spec.Nearest(c.Process, known)
}

// page prints the page of a code.
func (c *ExplainCommand) page(s *terminal.Streams, page catalogue.Page) error {
	switch c.format() {
	case "mermaid", "svg":
		return clierror.Usage("valence explain "+page.Code, "%s is a code; only processes can be drawn", page.Code)
	case "json":
		return terminal.EncodeJSON(s.Out, map[string]any{"code": page.Code, "text": page.Text, "examples": page.Examples, "see": page.Link})
	}
	_, err := fmt.Fprintf(s.Out, "%s\nsee: %s\n", page.Plain(), page.Link)
	return err
}
