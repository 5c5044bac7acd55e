package all_test

import (
	"bytes"
	"os"
	"testing"

	"valence/connectors/all"
	"valence/internal/generate"
)

// TestFresh fails if a connector was added or removed without `make generate`.
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
		t.Fatal("all.go is stale: run `make generate`")
	}
}

// TestRegistry checks that every connector is declared completely.
func TestRegistry(t *testing.T) {
	for name, c := range all.Registry("1.2.3") {
		if c.Name != name {
			t.Errorf("connector in folder %[2]q: got name %[1]q, want the folder's name", c.Name, name)
		}
		if c.Doc == "" || c.NewSettings == nil || c.Open == nil || len(c.Operations) == 0 && c.Describe == nil {
			t.Errorf("%s: doc, settings, Open or operations are missing", name)
		}
		seen := map[string]bool{}
		for _, op := range c.Operations {
			if seen[op.Name] || op.Doc == "" || op.Sample == "" || op.Run == nil || (len(op.With) > 0) != (op.NewWith != nil) {
				t.Errorf("%s.%s: duplicate name, or doc, sample, behavior or settings are missing", name, op.Name)
			}
			seen[op.Name] = true
		}
	}
}
