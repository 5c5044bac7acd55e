package folder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
)

// crowded is a folder with many files and names that lead out of it.
type crowded struct {
	FS
	names []string
}

func (c crowded) List(_ context.Context, _ string, visit func(File)) error {
	for _, n := range c.names {
		visit(File{Name: n})
	}
	return nil
}

// TestFirst checks that a listing of 100,000 files holds the first 10,000.
func TestFirst(t *testing.T) {
	names := []string{"", ".", "..", "../x", "a/b", "/etc/passwd", "a\x00b", "other.txt"}
	for i := range 100_000 {
		names = append(names, fmt.Sprintf("f%06d.json", i))
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	found, total, err := first(t.Context(), crowded{names: names}, ".", func(name string) bool { return name != "other.txt" })
	if err != nil || total != 100_000 || len(found) != maxListed {
		t.Fatalf("got %d of %d files, %v, want %d of 100000", len(found), total, err, maxListed)
	}
	for i, f := range found {
		if want := fmt.Sprintf("f%06d.json", i); f.Name != want {
			t.Fatalf("file %d: got %s, want %s", i, f.Name, want)
		}
	}
}
