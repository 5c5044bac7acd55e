package session

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"valence/connectors/connectortest"
	"valence/internal/fault"
)

// link is a session of the tests.
type link struct{ lost, closed atomic.Bool }

// server opens links, unless it is down.
type server struct {
	mu    sync.Mutex
	down  bool
	dials int
	links []*link
}

func (s *server) set(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *server) dialed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

func (s *server) session() *Session[*link] {
	return New(Options[*link]{
		Dial: func(context.Context) (*link, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.dials++
			if s.down {
				return nil, errors.New("connection refused")
			}
			l := &link{}
			s.links = append(s.links, l)
			return l, nil
		},
		Alive: func(l *link) bool { return !l.lost.Load() },
		Close: func(l *link) { l.closed.Store(true) },
	})
}

func TestCallsShareOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{}
		s := srv.session()
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if err := s.Do(t.Context(), func(*link) error { <-time.After(time.Second); return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := srv.dialed(); got != 1 {
			t.Errorf("got %d attempts to connect, want 1", got)
		}
		srv.links[0].lost.Store(true)
		if err := s.Do(t.Context(), func(l *link) error {
			if l != srv.links[1] {
				t.Error("got the lost session, want a new one")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !srv.links[0].closed.Load() {
			t.Error("the lost session was not closed")
		}
		s.Close()
	})
}

func TestCallsFailFastWhileTheSystemIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{down: true}
		s := srv.session()
		do := func() error { return s.Do(t.Context(), func(*link) error { return nil }) }
		for range 5 {
			var f *fault.Failure
			if err := do(); !errors.As(err, &f) || f.Code != fault.CodeConnect || !f.Retryable {
				t.Fatalf("got %v, want a retryable failure to connect", err)
			}
		}
		if got := srv.dialed(); got != 1 {
			t.Errorf("got %d attempts to connect at once, want 1", got)
		}
		srv.set(false)
		<-time.After(2 * minDelay)
		if err := do(); err != nil {
			t.Errorf("after the back-off: got %v, want nil", err)
		}
		s.Close()
		if err := do(); !errors.Is(err, errClosed) {
			t.Errorf("after Close: got %v, want %v", err, errClosed)
		}
	})
}

func TestSubscriptionIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &server{down: true}
		s := srv.session()
		r := connectortest.NewRuntime()
		host := r.Host()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		receive := func(ctx context.Context, l *link) error {
			host.Up()
			for ctx.Err() == nil && !l.lost.Load() {
				<-time.After(10 * time.Millisecond)
			}
			if l.closed.Load() {
				t.Error("the session was closed before the subscription ended")
			}
			return errors.New("the session was lost")
		}
		go func() { ended <- s.Listen(ctx, host, receive) }()
		until := func(what string, wanted func(connectortest.State) bool) {
			t.Helper()
			limit, stop := context.WithTimeout(t.Context(), 5*time.Minute)
			defer stop()
			if got, err := r.Await(limit, wanted); err != nil {
				t.Fatalf("%s: got %+v", what, got)
			}
		}
		until("while it is down", func(s connectortest.State) bool { return s.Down != nil })
		srv.set(false)
		until("after the start of the server", func(s connectortest.State) bool { return s.Up })
		srv.links[0].lost.Store(true)
		until("after a loss", func(s connectortest.State) bool { return s.Down != nil })
		until("after the back-off", func(s connectortest.State) bool { return s.Up && s.Ups == 2 })
		cancel()
		s.Close()
		if err := <-ended; err != nil {
			t.Errorf("Listen: got %v, want nil", err)
		}
		if last := srv.links[len(srv.links)-1]; !last.closed.Load() {
			t.Error("the session is still open after Close")
		}
	})
}

func TestConnectingRespectsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options[*link]{
			Dial:  func(ctx context.Context) (*link, error) { <-ctx.Done(); return nil, ctx.Err() },
			Alive: func(*link) bool { return true },
			Close: func(*link) {},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := s.Do(ctx, func(*link) error { return nil })
		if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeTimeout || time.Since(began) != time.Second {
			t.Errorf("got %v after %v, want a timeout after 1s", err, time.Since(began))
		}
		s.Close()
	})
}
