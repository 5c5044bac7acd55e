package trigger

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// group are the claims of several members, whose number is their epoch.
type group struct {
	mu      sync.Mutex
	holder  map[string]int64
	expired map[int64]bool
}

// member is one of them.
type member struct {
	*group
	epoch int64
}

func (m member) ClaimName(_ context.Context, name string) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.holder[name]; m.expired[m.epoch] || h != 0 && h != m.epoch && !m.expired[h] {
		return 0, false, nil
	}
	m.holder[name] = m.epoch
	return m.epoch, true, nil
}

func (m member) ReleaseName(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder[name] == m.epoch {
		delete(m.holder, name)
	}
	return nil
}

func (m member) Holds(epoch int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return epoch == m.epoch && !m.expired[epoch]
}

func (g *group) expire(epoch int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expired[epoch] = true
}

// TestOneMemberListens checks that of two members one listens, that the other one
// follows after a stop and after the end of the lease, and that the first one
// then no longer listens.
func TestOneMemberListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{holder: map[string]int64{}, expired: map[int64]bool{}}
		var sources [3]*source
		var all [3]*Subscriptions
		var stops [3]func()
		for i := range sources {
			src := &source{exclusive: true}
			s := NewSubscriptions(func() []Subscribed { return []Subscribed{src} }, member{g, int64(i + 1)}, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); s.Run(ctx) }()
			sources[i], all[i], stops[i] = src, s, func() { cancel(); <-ended }
			synctest.Wait()
		}
		// listening returns the only one of the members that listens.
		listening := func(when string, members ...int) (which int) {
			t.Helper()
			synctest.Wait()
			which = -1
			for _, i := range members {
				status, _ := all[i].Status("orders")
				listens := sources[i].listens() == 1
				if want := map[bool]string{true: Up, false: Standby}[listens]; status.State != want || listens && which >= 0 {
					t.Errorf("%s: member %d is %q and listens: %v, with member %d", when, i, status.State, listens, which)
				}
				if listens {
					which = i
				}
			}
			if which < 0 {
				t.Fatalf("%s: no member listens", when)
			}
			return which
		}
		if got := listening("at first", 0, 1, 2); got != 0 {
			t.Errorf("at first: member %d listens, want 0", got)
		}
		g.expire(1)
		<-time.After(claimEvery + checkEvery)
		second := listening("after the lease of member 0 has ended", 0, 1, 2)
		stops[second]()
		<-time.After(claimEvery)
		third := 3 - second
		if got := listening("after a stop", 0, third); got != third || sources[second].listens() != 0 {
			t.Errorf("after a stop: member %d listens, want %d", got, third)
		}
		stops[0]()
		stops[third]()
	})
}

// TestSharedSourceNeedsNoClaim checks that members listen at the same time to a
// source that shares its messages.
func TestSharedSourceNeedsNoClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &group{holder: map[string]int64{}, expired: map[int64]bool{}}
		for i := range 2 {
			src := &source{}
			s := NewSubscriptions(func() []Subscribed { return []Subscribed{src} }, member{g, int64(i + 1)}, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); s.Run(ctx) }()
			synctest.Wait()
			if src.listens() != 1 {
				t.Errorf("member %d does not listen", i)
			}
			cancel()
			<-ended
		}
		if len(g.holder) != 0 {
			t.Errorf("got claims %v, want none", g.holder)
		}
	})
}
