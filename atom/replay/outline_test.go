package replay

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/processes"
)

// TestWithholdDocuments: a report without documents has no value and no unknown
// name of a field.
func TestWithholdDocuments(t *testing.T) {
	files := []processes.File{{Content: []byte("map: { total: 1, lines: [{ price: 2 }], a: 1, b: 1, c: 1, d: 1, e: 1, f: 1 }")}}
	const kept = "(stays on the atom)"
	for _, test := range []struct {
		name, kind     string
		was, now       any
		wantWas, wants any
	}{
		{"a field", Reply, `{"total":1}`, `{"total":2}`, kept, "changed total (the values stay on the atom)"},
		{"exact numbers", Reply, `{"total":12345678901234567890}`, `{"total":12345678901234567891}`, kept, "changed total (the values stay on the atom)"},
		{"a step", Documents, `map 1: {"lines":[{"price":1},{"price":2}]}`, `map 1: {"lines":[{"price":3},{"price":4}]}`, "map 1: " + kept, "map 1: changed lines[].price (the values stay on the atom)"},
		{"a key that is data", Reply, `{"ada@shop.example":1}`, `{"ada@shop.example":2}`, kept, "changed (a field) (the values stay on the atom)"},
		{"new field", Reply, `{}`, `{"total":1}`, kept, "changed total (the values stay on the atom)"},
		{"another kind", Reply, `[1]`, `"x"`, kept, "changed the whole document (the values stay on the atom)"},
		{"text", Reply, `Ada`, `Grace`, kept, kept},
		{"no document", Documents, `map 1: {"total":1}`, `map 1: none`, "map 1: " + kept, "map 1: none"},
		{"many fields", Reply, `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"total":1}`, `{}`, kept, "changed a, b, c, d, e, … (the values stay on the atom)"},
		{"status", Status, "completed", "failed: too_large", "completed", "failed: too_large"},
		{"calls", Calls, []string{"erp.post"}, []string{}, []string{"erp.post"}, []string{}},
	} {
		r := NewReport("p")
		r.Changes = []*Group{{Kind: test.kind, Count: 1, Example: Example{"x", test.was, test.now}}}
		r.WithholdDocuments(files)
		if e := r.Changes[0].Example; !reflect.DeepEqual(e.Was, test.wantWas) || !reflect.DeepEqual(e.Now, test.wants) {
			t.Errorf("%s: got %v and %v, want %v and %v", test.name, e.Was, e.Now, test.wantWas, test.wants)
		}
	}
}

// TestShorten: secrets are masked before a text is cut, and the size is bounded.
func TestShorten(t *testing.T) {
	r := NewReport("p")
	long := strings.Repeat("é", maxExample/2-2) + "topsecret"
	calls := make([]string, 100)
	for i := range calls {
		calls[i] = "erp.post"
	}
	r.Changes = []*Group{{Kind: Reply, Example: Example{"x", long, calls}}}
	for i := range 2 * maxReasons {
		r.Skipped = append(r.Skipped, &Group{Kind: fmt.Sprint("topsecret ", i), Count: 1})
	}
	r.Shorten(func(s string) string { return strings.ReplaceAll(s, "topsecret", "[secret]") })
	text := fmt.Sprint(r.Changes[0].Example, r.Skipped[0].Kind)
	if strings.Contains(text, "top") || !strings.Contains(text, "erp.post and 50 more") || len(text) > 2*maxExample {
		t.Errorf("got %d bytes: %s", len(text), text)
	}
	if last := r.Skipped[len(r.Skipped)-1]; len(r.Skipped) != maxReasons+1 || last.Kind != "other reasons" || last.Count != maxReasons {
		t.Errorf("got %d reasons, the last %+v, want %d other reasons", len(r.Skipped), last, maxReasons)
	}
}

// endless is a history whose executions are never read.
type endless struct{}

func (endless) List(_ context.Context, f store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error) {
	var all []*atom.ExecutionView
	for i := range limit {
		all = append(all, &atom.ExecutionView{Execution: fmt.Sprint(f.Process, cursor, i)})
	}
	return all, cursor + "+", nil
}

func (endless) Show(ctx context.Context, _ string) (*atom.ExecutionView, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestAllStops: the numbers of executions and the time are bounded, and the report
// says how many are left.
func TestAllStops(t *testing.T) {
	p := &processes.Project{Processes: map[string]*processes.Process{"a": {Name: "a"}, "b": {Name: "b"}}}
	total := 0
	out, err := All(t.Context(), endless{}, Candidate{Project: p}, Limits{Last: 700, Total: 1000, Time: 50 * time.Millisecond, Each: time.Second}, func(_, n int) { total = n })
	if err != nil || total != 1000 || out.Stopped != "the replay stopped after 50ms: 0 of 1000 executions were replayed" {
		t.Errorf("got %d executions, %+v, %v, want 1000 and a report that none was replayed", total, out, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := All(ctx, endless{}, Candidate{Project: p}, Limits{Last: 1, Total: 1, Time: time.Minute}, func(int, int) {}); err != context.Canceled {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
