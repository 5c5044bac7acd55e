package atom_test

import (
	"context"
	"testing"

	"valence/atom/store"
)

// A text that is an execution's id finds that one, live or ended.
func TestListFindsIDs(t *testing.T) {
	r := start(t, newSystem(), nil, twoCalls)
	var ids []string
	for _, text := range []string{`{"id":1}`, `{"id":2}`, `{"id":3}`} {
		ids = append(ids, r.accept("two", text).Execution)
	}
	r.ended(ids[1])
	for _, c := range []struct {
		name   string
		filter store.Filter
		want   int
	}{
		{"its id", store.Filter{Text: ids[1]}, 1},
		{"its id, and another process", store.Filter{Text: ids[1], Process: "none"}, 0},
		{"half an id", store.Filter{Text: ids[1][:13]}, 0},
	} {
		found, next, err := r.atom.List(context.Background(), c.filter, "", 10)
		if err != nil || next != "" || len(found) != c.want || c.want == 1 && found[0].Execution != ids[1] {
			t.Errorf("%s: got %d executions, next %q, %v, want %d", c.name, len(found), next, err, c.want)
		}
	}
}
