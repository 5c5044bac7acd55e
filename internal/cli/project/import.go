package project

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"valence/internal/cli/importer"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// ImportCommand writes a project from the configuration of another system.
type ImportCommand struct {
	File string `arg:"" files:"" help:"Configuration of the other system."`
	Dir  string `arg:"" files:"" help:"Folder to create. It must be empty or not exist."`
	From string `placeholder:"SYSTEM" help:"The other system: benthos, camel or n8n. Default: recognized from the file."`
	JSON bool   `name:"json" help:"Print the report as JSON."`
}

// Help returns the text below the command's summary.
func (*ImportCommand) Help() string {
	return `Reads a configuration of Benthos or Redpanda Connect, routes of Apache Camel in
YAML, or a workflow that n8n has exported, and writes a project that passes
valence lint.

A part without a counterpart becomes a step that fails, with a comment that begins
with TODO. The report lists every part of the source: the parts that were taken
over, the ones to do, and the ones that were left out. A listener gets an API key
if it is unknown how its callers authenticate. Passwords and keys in the source
become secrets; their values are not copied.

Examples:

    valence import stream.yaml orders
    valence import routes.camel.yaml orders --json > report.json
    valence import workflow.json orders --from n8n
`
}

// Run writes the project and prints the report.
func (c *ImportCommand) Run(s *terminal.Streams) error {
	if c.From != "" && !slices.Contains(importer.Systems(), c.From) {
		return clierror.Usage("--from "+strings.Join(importer.Systems(), ", --from "), "projects of %q cannot be read", c.From)
	}
	if err := emptyFolder(c.Dir); err != nil {
		return err
	}
	text, err := readSource(c.File)
	if err != nil {
		return err
	}
	imported, err := importer.Import(c.File, c.From, text, lint)
	if err != nil {
		return clierror.Invalid("correct the file, or name its system with --from", "%v", err)
	}
	if err := c.write(imported.Files); err != nil {
		return clierror.Failed("name a folder in a writable place", "%v", err)
	}
	imported.Report.Dir = c.Dir
	if c.JSON {
		return terminal.EncodeJSON(s.Out, imported.Report)
	}
	r := imported.Report
	_, err = fmt.Fprintf(s.Out, "Created a project in %s from %s (%s): %s taken over, %d to do, %d left out.\n%s\n    %s\n    valence lint\n",
		c.Dir, c.File, r.Kind, terminal.Count(r.Count(importer.TakenOver), "part", "parts"), r.Count(importer.Todo), r.Count(importer.LeftOut), r.Text(), terminal.ChangeDir(c.Dir))
	return err
}

// emptyFolder returns an error if a folder has content.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return clierror.Usage("name a folder that does not exist", "%s is not empty", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return clierror.Usage("name another folder", "%v", err)
	}
	return nil
}

// readSource reads a file of at most the size that can be imported.
func readSource(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, clierror.Failed("name a file that can be read", "%v", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, importer.MaxSource+1))
	if err != nil {
		return nil, clierror.Failed("name a file that can be read", "%v", err)
	}
	return text, nil
}

// lint returns the errors of a project that is not written yet.
func lint(files []importer.File) []importer.Problem {
	list := make([]processes.File, len(files))
	for i, f := range files {
		list[i] = processes.File{Name: f.Name, Content: []byte(f.Text)}
	}
	_, problems := loader.Load(list, Catalog())
	var out []importer.Problem
	for _, p := range problems {
		if p.Severity == fault.Error {
			out = append(out, importer.Problem{File: p.File, Line: p.Line, Code: string(p.Code), Msg: p.Msg})
		}
	}
	return out
}

// write writes the files of the project. It removes them if one fails.
func (c *ImportCommand) write(files []importer.File) (err error) {
	_, missing := os.Stat(c.Dir)
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	var written []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range written {
			_ = os.Remove(name)
		}
		if missing != nil {
			_ = os.Remove(c.Dir)
		}
	}()
	for _, f := range files {
		name := filepath.Join(c.Dir, f.Name)
		out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		written = append(written, name)
		_, err = out.WriteString(f.Text)
		if err := errors.Join(err, out.Close()); err != nil {
			return err
		}
	}
	return writeCommon(c.Dir)
}
