package atom_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

// countingStore counts the changes that are applied.
type countingStore struct {
	store.Store
	applied atomic.Int64
}

func (s *countingStore) Apply(ctx context.Context, c *store.Change) error {
	s.applied.Add(1)
	return s.Store.Apply(ctx, c)
}

// The result of a path that has ended is on disk within 50 ms, however long the
// other paths run.
func TestEndedPathIsCommitted(t *testing.T) {
	for name, step := range map[string]string{
		"branch": `
  - branch:
      fast:
        - call: sys.post
          with: { path: /fast }
      slow:
        - call: sys.post
          with: { path: /slow }
`,
		"for_each": `
  - for_each: "${[\"fast\", \"slow\"]}"
    parallel: 2
    steps:
      - call: sys.post
        with: { path: "/${item}" }
`,
		"nested": `
  - branch:
      fast:
        - for_each: "${[\"fast\", \"fast2\"]}"
          parallel: 2
          steps:
            - call: sys.post
              with: { path: "/${item}" }
      slow:
        - call: sys.post
          with: { path: /slow }
`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sys := newSystem()
				sys.answers["post /slow"] = func(int) (*document.Document, error) {
					time.Sleep(30 * time.Second)
					return document.FromJSON([]byte(`{}`)), nil
				}
				s := &countingStore{Store: storetest.NewStore()}
				r := start(t, sys, s, "process: paths\nlisten: { path: /p, input: json, auth: none }\nsteps:"+step)
				defer r.stop()
				id := r.accept("paths", `{}`).Execution
				time.Sleep(50 * time.Millisecond)
				seq, _, _ := r.atom.ParseID(id)
				entries, err := s.Entries(context.Background(), seq)
				if want := len(sys.paths()) - 1; err != nil || len(entries) != want || entries[0].Kind != "call" {
					t.Errorf("after 50 ms: got %v, %v, want the results of %d fast paths", entries, err, want)
				}
				if v := r.ended(id); v.Status != "completed" {
					t.Errorf("got %+v, want status completed", v)
				}
				if n := s.applied.Load(); n > 3 {
					t.Errorf("got %d commits, want 3 at most", n)
				}
			})
		})
	}
}

// A single path has no other commits than before each call and at its end.
func TestSinglePathHasNoLateCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.answers["post /b"] = func(int) (*document.Document, error) {
			time.Sleep(30 * time.Second)
			return document.FromJSON([]byte(`{}`)), nil
		}
		s := &countingStore{Store: storetest.NewStore()}
		r := start(t, sys, s, `
process: single
listen: { path: /s, input: json, auth: none }
steps:
  - for_each: "${[1]}"
    parallel: 4
    steps:
      - call: sys.post
        with: { path: /a }
  - call: sys.post
    with: { path: /b }
`)
		defer r.stop()
		if v := r.ended(r.accept("single", `{}`).Execution); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
		if n := s.applied.Load(); n != 2 {
			t.Errorf("got %d commits, want 2: before the second call and at the end", n)
		}
	})
}
