package project

import (
	"fmt"
	"io"

	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/fault"
)

// LintCommand reports all problems of a project.
type LintCommand struct {
	Paths  []string `arg:"" optional:"" files:"" help:"Folders and files of the project; default: the current folder."`
	Format string   `enum:"text,json,sarif" default:"text" help:"Output format: text, json or sarif."`
}

// Help returns the text below the command's summary.
func (*LintCommand) Help() string {
	return `Each problem is printed with its position, in a format that editors understand,
and a hint. The exit code is 1 if there are errors; warnings do not change it.

Examples:

    valence lint
    valence lint orders/ --format sarif > lint.sarif
`
}

// Run prints all problems of a project.
func (c *LintCommand) Run(s *terminal.Streams) error {
	p, err := Load(c.Paths)
	if err != nil {
		return err
	}
	switch c.Format {
	case "json":
		err = printJSON(s.Out, p)
	case "sarif":
		err = printSARIF(s.Out, p.Problems)
	default:
		err = printText(s.Out, p)
	}
	if err != nil {
		return err
	}
	if p.Problems.HasErrors() {
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return nil
}

func printText(w io.Writer, p *Loaded) error {
	if err := p.print(w); err != nil {
		return err
	}
	errors, warnings := count(p.Problems)
	files := terminal.Count(len(p.Files), "file", "files")
	if errors+warnings == 0 {
		_, err := fmt.Fprintf(w, "%s: no problems (%s)\n", files, terminal.Count(len(p.Project.Processes), "process", "processes"))
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s, %s\n", files, terminal.Count(errors, "error", "errors"), terminal.Count(warnings, "warning", "warnings"))
	return err
}

func printJSON(w io.Writer, p *Loaded) error {
	type entry struct {
		fault.Pos
		Severity string     `json:"severity"`
		Code     fault.Code `json:"code"`
		Message  string     `json:"message"`
		Hint     string     `json:"hint,omitempty"`
		Source   string     `json:"source,omitempty"`    // the line
		Fixed    string     `json:"corrected,omitempty"` // the line, corrected
		See      string     `json:"see,omitempty"`       // the page of the code
	}
	out := struct {
		Errors   int     `json:"errors"`
		Warnings int     `json:"warnings"`
		Problems []entry `json:"problems"`
	}{Problems: []entry{}}
	out.Errors, out.Warnings = count(p.Problems)
	lines := p.lines()
	for _, q := range p.Problems {
		e := entry{Pos: q.Pos, Severity: q.Severity.String(), Code: q.Code, Message: q.Msg, Hint: q.Hint, See: see(q.Code)}
		if q.Line > 0 {
			e.Source = lines(q.File, q.Line)
			e.Fixed = q.Fix.Apply(e.Source, q.Col)
		}
		out.Problems = append(out.Problems, e)
	}
	return terminal.EncodeJSON(w, out)
}
