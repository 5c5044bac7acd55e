package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"valence/internal/fault"
)

type lintCmd struct {
	Paths  []string `arg:"" optional:"" files:"" help:"Folders and files of the project; the current folder by default."`
	Format string   `enum:"text,json,sarif" default:"text" help:"text, json or sarif."`
}

// Help is shown below the command's summary.
func (*lintCmd) Help() string {
	return `Each problem is a line that editors can jump to, with what to do about it.
The exit code is 1 if there are errors; warnings alone are 0.

Examples:

    valence lint
    valence lint orders/ --format sarif > lint.sarif
`
}

// Run prints all problems of a project.
func (c *lintCmd) Run(s *streams) error {
	p, err := load(c.Paths)
	if err != nil {
		return err
	}
	switch c.Format {
	case "json":
		err = lintJSON(s.out, p.problems)
	case "sarif":
		err = lintSARIF(s.out, p.problems)
	default:
		err = lintText(s.out, p)
	}
	if err != nil {
		return err
	}
	if p.problems.HasErrors() {
		return reported{exitErrors}
	}
	return nil
}

func tally(problems fault.Problems) (errors, warnings int) {
	for _, p := range problems {
		if p.Severity == fault.Error {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

func lintText(w io.Writer, p *loaded) error {
	for _, problem := range p.problems {
		if _, err := fmt.Fprintln(w, problem.Error()); err != nil {
			return err
		}
	}
	errors, warnings := tally(p.problems)
	where := plural(len(p.files), "file", "files")
	var err error
	if errors+warnings == 0 {
		_, err = fmt.Fprintf(w, "%s: no problems (%s)\n", where, plural(len(p.project.Processes), "process", "processes"))
	} else {
		_, err = fmt.Fprintf(w, "%s: %s, %s\n", where, plural(errors, "error", "errors"), plural(warnings, "warning", "warnings"))
	}
	return err
}

func lintJSON(w io.Writer, problems fault.Problems) error {
	type line struct {
		fault.Pos
		Severity string     `json:"severity"`
		Code     fault.Code `json:"code"`
		Message  string     `json:"message"`
		Hint     string     `json:"hint,omitempty"`
	}
	out := struct {
		Errors   int    `json:"errors"`
		Warnings int    `json:"warnings"`
		Problems []line `json:"problems"`
	}{Problems: []line{}}
	out.Errors, out.Warnings = tally(problems)
	for _, p := range problems {
		out.Problems = append(out.Problems, line{p.Pos, p.Severity.String(), p.Code, p.Msg, p.Hint})
	}
	return encodeJSON(w, out)
}

// lintSARIF prints SARIF 2.1.0, which code scanning of forges reads.
func lintSARIF(w io.Writer, problems fault.Problems) error {
	type text struct {
		Text string `json:"text"`
	}
	type region struct {
		Line int `json:"startLine,omitempty"`
		Col  int `json:"startColumn,omitempty"`
	}
	type location struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region *region `json:"region,omitempty"`
		} `json:"physicalLocation"`
	}
	type result struct {
		Rule      string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   text       `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	type rule struct {
		ID string `json:"id"`
	}
	type driver struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Rules   []rule `json:"rules"`
	}
	type run struct {
		Tool struct {
			Driver driver `json:"driver"`
		} `json:"tool"`
		Columns string   `json:"columnKind"`
		Results []result `json:"results"`
	}
	r := run{Columns: "unicodeCodePoints", Results: []result{}}
	r.Tool.Driver = driver{Name: "valence", Version: version, Rules: []rule{}}
	seen := map[fault.Code]bool{}
	for _, p := range problems {
		if !seen[p.Code] {
			seen[p.Code] = true
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule{string(p.Code)})
		}
		msg := p.Msg
		if p.Hint != "" {
			msg += "\nTry: " + p.Hint
		}
		out := result{Rule: string(p.Code), Level: p.Severity.String(), Message: text{msg}}
		if p.File != "" {
			var at location
			at.Physical.Artifact.URI = fileURI(p.File)
			if p.Line > 0 {
				at.Physical.Region = &region{p.Line, p.Col}
			}
			out.Locations = []location{at}
		}
		r.Results = append(r.Results, out)
	}
	return encodeJSON(w, struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{r}})
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
