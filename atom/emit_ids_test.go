package atom_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"valence/atom"
	"valence/connectors"
	"valence/internal/document"
)

// Loops over pages drop the journal of finished pages, and with it the progress
// that was reported there. The ids of later events go on, also in nested loops and
// after every run that was interrupted and replays the rest of the journal.
func TestEventIDsAreNeverReused(t *testing.T) {
	const outer, inner = 4, 6
	s := &shelf{system: newSystem(), records: outer, size: 2}
	nested := func(ctx context.Context, _ *shelf, w *shelfWith, c *connectors.Call) (*connectors.Result, error) {
		return list(ctx, &shelf{system: newSystem(), records: inner, size: 2}, w, c)
	}
	c := s.connector()
	op, _ := c.Operation("list")
	c.Operations = append(c.Operations, connectors.Define(connectors.Operation{Name: "inner", Safe: true, Paged: true, With: op.With}, nested))

	var want []string // by number
	for o := range outer {
		for i := range inner {
			want = append(want, fmt.Sprintf(`"%d.%d"`, o, i))
		}
		want = append(want, fmt.Sprintf(`"%d end"`, o))
	}
	var r *rig
	var id string
	var mu sync.Mutex
	seen := map[string]string{} // documents by id
	started := make(chan struct{})
	look := func() { // as a client that connects anew
		mu.Lock()
		defer mu.Unlock()
		all, _, _, err := r.atom.Events(context.Background(), id, "shop/1", "", atom.EventPosition{})
		if err != nil {
			t.Errorf("events: got %v, want none", err)
		}
		for _, e := range all {
			if e.Name != "progress" {
				continue
			}
			if old, ok := seen[e.ID]; ok && old != string(e.Data) {
				t.Errorf("%s: got %s after %s, want one document for an id", e.ID, e.Data, old)
			}
			seen[e.ID] = string(e.Data)
		}
	}
	for o := range outer {
		for i := range inner {
			s.answers[fmt.Sprintf("post /ready/%d/%d", o, i)] = failing(1-i%2, down, "{}") // the first of a page: no progress is in the journal
			s.answers[fmt.Sprintf("post /%d/%d", o, i)] = func(n int) (*document.Document, error) {
				<-started
				look()
				if n == 1 && i%3 == 1 {
					return nil, down()
				}
				return document.FromJSON([]byte(`{}`)), nil
			}
		}
	}
	r = startWith(t, s.system, c, nil, `
process: sync
listen: { path: /sync, input: json, output: json, auth: none, reply_modes: [deferred] }
retry: { max_attempts: 3, backoff: 10ms }
steps:
  - for_each: { call: sys.list, with: { pages: {} } }
    as: o
    steps:
      - for_each: { call: sys.inner, with: { pages: {} } }
        as: i
        steps:
          - call: sys.post
            with: { path: "/ready/${o}/${i}" }
          - emit: ${o}.${i}
          - call: sys.post
            with: { path: "/${o}/${i}" }
      - emit: ${o} end
  - reply: done
`)
	id = r.deferred("sync", `{}`).Execution
	close(started)
	if v := r.ended(id); v.Status != "completed" {
		t.Fatalf("got %s %+v, want completed", v.Status, v.Error)
	}
	look()
	for n, document := range want {
		id := fmt.Sprintf("progress-%d", n+1)
		if got, ok := seen[id]; ok && got != document || !ok && document[len(document)-2] != 'd' {
			t.Errorf("%s: got %s, want %s", id, got, document)
		}
		delete(seen, id)
	}
	if len(seen) > 0 {
		t.Errorf("got also %v, want no other events", seen)
	}
}
