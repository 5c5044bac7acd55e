package storetest

import (
	"fmt"
	"sync"
	"time"

	"valence/atom/store"
)

// announcements checks that a read returns only executions that were announced
// before it returned: accepted, the head of their lane, or ready again.
func announcements(s *suite) {
	s.slow.Store(true)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for _, read := range []func() ([]*store.Record, error){
		func() ([]*store.Record, error) { return s.Ready(ctx, "p", 0, 10_000) },
		func() ([]*store.Record, error) {
			found, _, err := s.Due(ctx, "p", time.Now().Add(time.Hour), 10_000)
			return found, err
		},
		func() ([]*store.Record, error) {
			return s.Heads(ctx, "p", 10_000, func(int64) bool { return false })
		},
	} {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				found, err := read()
				known := s.announced()
				if err != nil {
					s.Errorf("read: %v", err)
					return
				}
				for _, r := range found {
					if !known[r.Seq] {
						s.Errorf("execution %d was read before it was announced (Due %v, lane %v)", r.Seq, r.Due, r.Lane)
						return
					}
				}
			}
		})
	}
	for w := range 4 {
		plain, due, laned, parent := s.message("p"), s.message("p"), s.messageInLane("p", "p", fmt.Sprint(w)), s.message("q")
		writers.Go(func() {
			for range 60 {
				own := *due
				own.Seq, own.Due = s.Reserve(), time.Now()
				first := s.enter(laned)
				s.enter(laned)
				s.enter(&own)
				child := *plain
				child.Due = time.Now()
				s.applied(&store.Change{Seq: s.enter(parent), Handoffs: []*store.Message{plain, &child}, Disposition: completed()})
				s.applied(&store.Change{Seq: first, Disposition: completed()})
				s.applied(&store.Change{Seq: own.Seq, Disposition: &store.Suspension{State: store.Waiting, Due: time.Now()}})
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// announced returns the executions that were announced and do not wait in their
// lane.
func (s *suite) announced() map[int64]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := map[int64]bool{}
	for _, r := range s.accepted {
		known[r.Seq] = !r.WaitsInLane
	}
	for _, seq := range s.woken {
		known[seq] = true
	}
	return known
}

// enter is accept for any goroutine.
func (s *suite) enter(m *store.Message) int64 {
	r, err := s.Accept(ctx, m)
	if err != nil {
		s.Errorf("accept: %v", err)
	}
	return r.Seq
}

// applied is apply for any goroutine.
func (s *suite) applied(c *store.Change) {
	if err := s.Apply(ctx, c); err != nil {
		s.Errorf("apply: %v", err)
	}
}
