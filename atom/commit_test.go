package atom_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"valence/atom"
	"valence/atom/atomtest"
)

// slowStore commits nothing of an execution that runs until it may.
type slowStore struct {
	*atomtest.Store
	gate chan struct{}
}

func (s *slowStore) Apply(ctx context.Context, c *atom.Change) error {
	if len(c.Entries) > 0 {
		<-s.gate
	}
	return s.Store.Apply(ctx, c)
}

// One commit takes what all paths have finished: those whose work it took
// along wait for it, too, before they go on.
func TestPathsWaitForTheCommitThatTookTheirWork(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			sys, store := newSystem(), &slowStore{atomtest.NewStore(), make(chan struct{})}
			r := start(t, sys, store, `process: p
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
				t.Errorf("%d second calls while no first one is committed", got)
			}
			close(store.gate)
			if v := r.ended(id); v.Status != "completed" || len(sys.paths()) != 64 {
				t.Errorf("%+v, %d calls", v, len(sys.paths()))
			}
			r.stop()
		})
	}
}
