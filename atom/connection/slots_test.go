package connection

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"valence/internal/share"
)

// TestSlotsFollowMembers checks that calls take turns within the share of a member, that
// the share follows the number of members, and that an abandoned call has no slot.
func TestSlotsFollowMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var members, running atomic.Int64
		members.Store(2)
		s := &slots{limit: func() int { return share.Of(4, int(members.Load())) }}
		leave := make(chan struct{})
		for range 5 {
			go func() {
				if err := s.enter(context.Background()); err != nil {
					t.Error(err)
					return
				}
				running.Add(1)
				<-leave
				running.Add(-1)
				s.leave()
			}()
		}
		want := func(when string, n int64) {
			t.Helper()
			synctest.Wait()
			if got := running.Load(); got != n {
				t.Errorf("%s: got %d calls at once, want %d", when, got, n)
			}
		}
		want("with two members", 2)
		members.Store(1)
		s.resized()
		want("alone", 4)
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error, 1)
		go func() { gone <- s.enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
		leave <- struct{}{}
		want("after one has left", 4)
		members.Store(9)
		leave <- struct{}{}
		leave <- struct{}{}
		want("with nine members", 2)
		close(leave)
		want("at the end", 0)
		if s.used != 0 || len(s.waiting) != 0 {
			t.Errorf("got %d used and %d waiting, want none", s.used, len(s.waiting))
		}
	})
}
