package expression

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestReferenceIsFresh evaluates every example and compares the page with the
// declarations.
func TestReferenceIsFresh(t *testing.T) {
	want, err := Reference()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/reference/expressions.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/reference/expressions.md is stale: run `make generate`")
	}
}

// TestReferenceIsComplete checks that every function and name is documented
// with an example that uses it.
func TestReferenceIsComplete(t *testing.T) {
	for _, f := range functions {
		if f.alias {
			continue
		}
		if f.Doc == "" || !strings.HasPrefix(f.Usage, f.Name+"(") || !strings.Contains(f.Example, f.Name+"(") {
			t.Errorf("%s: got doc %q, usage %q and example %q, want all of them and the function in usage and example", f.Name, f.Doc, f.Usage, f.Example)
		}
		if f.call == nil && f != lookupFunction && predicates[f.Name].compile == nil && f.Name != "sum" {
			t.Errorf("%s: got no behavior", f.Name)
		}
	}
	for name := range predicates {
		if functions[name] == nil {
			t.Errorf("%s: got no declaration", name)
		}
	}
	documented := map[string]bool{}
	for _, e := range scopeNames {
		documented[e.name] = strings.Contains(e.example, e.name)
	}
	for _, name := range standardNames {
		if !documented[name] {
			t.Errorf("name %s: got no entry with an example, want one", name)
		}
	}
	for op := range arithmetic {
		if !strings.Contains(operatorNames(), " "+op+" ") {
			t.Errorf("operator %s: got no entry, want one", op)
		}
	}
}

func operatorNames() string {
	names := " "
	for _, e := range operators {
		names += e.name + " "
	}
	return names
}
