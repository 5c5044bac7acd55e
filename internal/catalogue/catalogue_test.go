package catalogue

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "update the reference")

// TestPages checks that docs/reference/codes is this catalogue.
func TestPages(t *testing.T) {
	for name, want := range Files() {
		file := filepath.Join("../../docs/reference/codes", name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s differs from the catalogue (%v); run go generate ./schemas", file, err)
		}
	}
}

func TestPlainShowsTheExamples(t *testing.T) {
	p, ok := Lookup("yaml-tab")
	if text := p.Plain(); !ok || strings.Contains(text, "```") || !strings.HasPrefix(text, "yaml-tab\n") || !strings.Contains(text, "\n\t- log: order\n") {
		t.Errorf("got %q, want plain text with the example", text)
	}
	if _, ok := Lookup("nope"); ok {
		t.Error("got a page for an unknown code")
	}
}

func TestCodesHavePages(t *testing.T) {
	codes := Codes()
	if len(codes) < 100 {
		t.Errorf("got %d codes, want those of lint and of failures", len(codes))
	}
	for _, code := range codes {
		if p, ok := Lookup(code); !ok || p.Text == "" || len(p.Examples) == 0 {
			t.Errorf("got %+v for %s, want a page with examples", p, code)
		}
	}
}
