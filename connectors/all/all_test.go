package all_test

import (
	"bytes"
	"os"
	"testing"

	"valence/connectors/all"
	"valence/internal/generate"
)

// TestFresh fails when a connector was added or removed without `make generate`.
func TestFresh(t *testing.T) {
	want, err := generate.Connectors("..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("all.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("all.go does not list the folders below connectors: run `make generate`")
	}
}

// TestRegistry holds every connector to what the language needs of it.
func TestRegistry(t *testing.T) {
	for name, c := range all.Registry("1.2.3") {
		if c.Name != name {
			t.Errorf("connector %q lies in the folder %q", c.Name, name)
		}
		if c.Doc == "" || c.NewSettings == nil || c.Open == nil || len(c.Operations) == 0 {
			t.Errorf("%s: no doc, settings, open or operations", name)
		}
		seen := map[string]bool{}
		for _, op := range c.Operations {
			if seen[op.Name] || op.Doc == "" || op.Sample == "" || (len(op.With) > 0) != (op.NewWith != nil) {
				t.Errorf("%s.%s: doubled, or no doc, sample or value for with", name, op.Name)
			}
			seen[op.Name] = true
		}
	}
}
