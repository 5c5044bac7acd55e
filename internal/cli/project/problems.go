package project

import (
	"fmt"
	"io"
	"strings"

	"valence/internal/catalogue"
	"valence/internal/fault"
)

// print prints the problems with their source lines.
func (p *Loaded) print(w io.Writer) error {
	lines := p.lines()
	for _, problem := range p.Problems {
		if _, err := fmt.Fprintln(w, problem.Report(lines, see(problem.Code))); err != nil {
			return err
		}
	}
	return nil
}

// lines returns a function that returns a line of the project's files. Secrets
// that problems report are cut off.
func (p *Loaded) lines() func(file string, line int) string {
	type place struct {
		file string
		line int
	}
	secret := map[place]int{} // the column from which a line is cut off
	for _, problem := range p.Problems {
		if at := (place{problem.File, problem.Line}); problem.Secret && (secret[at] == 0 || problem.Col < secret[at]) {
			secret[at] = problem.Col
		}
	}
	split := map[string][]string{}
	return func(file string, line int) string {
		all, ok := split[file]
		if !ok {
			for _, f := range p.Files {
				if f.Name == file {
					text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.TrimPrefix(string(f.Content), "\ufeff"))
					all = strings.Split(text, "\n")
				}
			}
			split[file] = all
		}
		if line < 1 || line > len(all) {
			return ""
		}
		text := strings.TrimRight(all[line-1], " \t")
		if col := secret[place{file, line}]; col > 0 {
			if runes := []rune(text); col <= len(runes) {
				text = string(runes[:col-1]) + "…"
			}
		}
		return text
	}
}

// see returns the reference of a code.
func see(code fault.Code) string {
	page, ok := catalogue.Lookup(string(code))
	if !ok {
		return "docs/reference/codes.md"
	}
	return page.Link + ", or valence explain " + string(code)
}
