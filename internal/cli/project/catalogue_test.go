package project

import (
	_ "embed"
	"strings"
	"testing"

	"valence/internal/catalogue"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/language"
	"valence/processes/loader"
)

// generated holds the wrong examples that are too long for a page.
var generated = map[string]func() string{
	"too-large": func() string { return "process: orders\nsteps:\n" + strings.Repeat("  - log: step\n", 5001) },
	"too-deep": func() string {
		return "process: orders\nsteps:\n  - map: { list: " + strings.Repeat("[", 64) + strings.Repeat("]", 64) + " }\n"
	},
	"expression_size": func() string { return "process: orders\nsteps:\n  - log: ${1" + strings.Repeat(" + 1", 5000) + "}\n" },
}

//go:embed testdata/erp.wsdl
var exampleWSDL []byte

func lintExample(text string) fault.Problems {
	text = strings.ReplaceAll(text, "␇", "\x07")
	_, problems := loader.Load([]processes.File{{Name: "example.yaml", Content: []byte(text)}, {Name: "erp.wsdl", Content: exampleWSDL}}, Catalog())
	return problems
}

// TestCatalogueOfLint checks that each code has a page whose first example has
// exactly this problem, and whose second example has none.
func TestCatalogueOfLint(t *testing.T) {
	for _, c := range language.Codes() {
		code := string(c.Code)
		page, ok := catalogue.Lookup(code)
		if code == "not-available" && Catalog().Connectors["soap"] != nil {
			continue // this version has everything that the page names
		}
		if !ok || len(page.Examples) != 2 {
			t.Errorf("%s: got a page with %d examples, want 2", code, len(page.Examples))
			continue
		}
		bad := page.Examples[0]
		if g := generated[code]; g != nil {
			bad = g()
		}
		problems := lintExample(bad)
		if len(problems) == 0 {
			t.Errorf("%s: the wrong example has no problem", code)
		}
		for _, p := range problems {
			if p.Code != c.Code {
				t.Errorf("%s: the wrong example has another problem: %v", code, p)
			}
		}
		if problems := lintExample(page.Examples[1]); len(problems) > 0 {
			t.Errorf("%s: the right example has problems: %v", code, problems)
		}
	}
}

// TestCatalogueOfFailures checks that each code of a failure has a page whose
// examples have no problems.
func TestCatalogueOfFailures(t *testing.T) {
	for _, code := range fault.Codes() {
		page, ok := catalogue.Lookup(code)
		if !ok || len(page.Examples) == 0 {
			t.Errorf("%s has no page", code)
		}
		for _, e := range page.Examples {
			if problems := lintExample(e); len(problems) > 0 {
				t.Errorf("%s: an example has problems: %v\n%s", code, problems, e)
			}
		}
	}
}
