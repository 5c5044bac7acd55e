// Package catalogue holds a page for each code of lint and of failures: its
// meaning, its fix, and an example with and one without the problem.
package catalogue

import (
	_ "embed"
	"regexp"
	"strings"
)

//go:embed lint.md
var lint string

//go:embed failures.md
var failures string

//go:embed crash.md
var crash string

// heading is the heading of a page.
var heading = regexp.MustCompile("(?m)^## `(.+)`$")

// Files returns the pages as files of the reference, by name.
func Files() map[string]string {
	return map[string]string{"lint.md": lint, "failures.md": failures, "crash.md": crash}
}

// Page is the page of a code.
type Page struct {
	Code     string
	Link     string   // of the section in the reference
	Text     string   // Markdown
	Examples []string // YAML: first one with the problem, then one without
}

// Codes returns the codes that have a page.
func Codes() (codes []string) {
	for _, m := range heading.FindAllStringSubmatch(lint+failures+crash, -1) {
		codes = append(codes, m[1])
	}
	return codes
}

// Lookup returns the page of a code.
func Lookup(code string) (Page, bool) {
	for _, file := range []string{"lint.md", "failures.md", "crash.md"} {
		if _, section, ok := strings.Cut(Files()[file], "\n## `"+code+"`\n"); ok {
			section, _, _ = strings.Cut(section, "\n## ")
			return Page{Code: code, Link: "docs/reference/codes/" + file + "#" + code, Text: strings.TrimSpace(section), Examples: examples(section)}, true
		}
	}
	return Page{}, false
}

func examples(section string) (list []string) {
	for {
		_, rest, ok := strings.Cut(section, "```yaml\n")
		if !ok {
			return list
		}
		example, after, _ := strings.Cut(rest, "```")
		list, section = append(list, example), after
	}
}

// Plain returns the page as text for a terminal.
func (p Page) Plain() string {
	text := strings.NewReplacer("**", "", "\n```yaml\n", "\n", "\n```", "").Replace("\n" + p.Text)
	return p.Code + "\n" + text + "\n"
}
