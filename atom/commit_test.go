package atom_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"valence/atom/store"
	"valence/atom/store/storetest"
)

// slowStore blocks the commits of running executions until gate is closed.
type slowStore struct {
	*storetest.Store
	gate chan struct{}
}

func (s *slowStore) Apply(ctx context.Context, c *store.Change) error {
	if len(c.Entries) > 0 {
		<-s.gate
	}
	return s.Store.Apply(ctx, c)
}

// One commit holds the finished work of all paths. Every path whose work it holds
// waits for it before it continues.
func TestPathsWaitForCommitOfTheirWork(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			sys, kept := newSystem(), &slowStore{storetest.NewStore(), make(chan struct{})}
			r := start(t, sys, kept, `process: p
steps:
  - for_each: ${1..32}
    parallel: 32
    steps:
      - call: sys.post
        with: { path: "/first/${item}" }
      - call: sys.post
        with: { path: "/second/${item}" }
`)
			id := r.accept("p", `{}`).Execution
			synctest.Wait()
			if got := strings.Count(strings.Join(sys.paths(), " "), "second"); got > 0 {
				t.Errorf("%d second calls before the first ones are committed, want 0", got)
			}
			close(kept.gate)
			if v := r.ended(id); v.Status != "completed" || len(sys.paths()) != 64 {
				t.Errorf("%+v, %d calls, want status completed and 64 calls", v, len(sys.paths()))
			}
			r.stop()
		})
	}
}
