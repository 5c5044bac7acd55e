package trigger

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"valence/connectors"
	"valence/processes"
)

// source is a process whose source is down until it is repaired, and then has
// no messages.
type source struct {
	exclusive bool

	mu        sync.Mutex
	down      error
	listening int // now
}

func (s *source) set(down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *source) Definition() *processes.Process {
	return &processes.Process{Name: "orders", Subscribe: &processes.Subscribe{Connection: "inbox"}}
}

func (s *source) Accept(context.Context, *Message) (string, error) { return "", nil }

func (s *source) Exclusive() bool { return s.exclusive }

func (s *source) Receive(context.Context, []*Delivery) {}

func (s *source) Cursor(context.Context, string) ([]byte, error) { return nil, nil }

func (s *source) Listen(ctx context.Context, host *connectors.Host) error {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down != nil {
		return down
	}
	host.Up()
	s.count(1)
	<-ctx.Done()
	s.count(-1)
	return nil
}

func (s *source) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening += n
}

func (s *source) listens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listening
}

// alone are the leases of an atom without a group.
type alone struct{}

func (alone) ClaimName(context.Context, string) (int64, bool, error) { return 0, true, nil }

func (alone) ReleaseName(context.Context, string) error { return nil }

func (alone) Holds(int64) bool { return true }

// A repaired subscription shows no error, even before its first message.
func TestRepairedSubscriptionShowsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{down: errors.New("no such folder")}
		s := NewSubscriptions(func() []Subscribed { return []Subscribed{src} }, alone{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		synctest.Wait()
		if got, _ := s.Status("orders"); got.State != Down || got.Error != "no such folder" {
			t.Errorf("while it is down: got %s, %q, want down, no such folder", got.State, got.Error)
		}
		src.set(nil)
		<-time.After(minDelay)
		synctest.Wait()
		if got, _ := s.Status("orders"); got.State != Up || got.Error != "" {
			t.Errorf("after the repair: got %s, %q, want up without an error", got.State, got.Error)
		}
		cancel()
		<-ended
	})
}

// lingering is a source that listens for another second after its context has
// ended.
type lingering struct {
	source
	running, most, started int
}

func (l *lingering) count(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running += n
	l.most = max(l.most, l.running)
	l.started += max(n, 0)
}

func (l *lingering) Listen(ctx context.Context, host *connectors.Host) error {
	l.count(1)
	defer l.count(-1)
	err := l.source.Listen(ctx, host)
	<-time.After(time.Second)
	return err
}

// A restarted subscription waits until the previous one has ended, even if
// something else wakes the subscriptions.
func TestRestartRunsOneListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &lingering{}
		s := NewSubscriptions(func() []Subscribed { return []Subscribed{src} }, alone{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		synctest.Wait()
		go s.Restart("orders")
		synctest.Wait()
		s.Wake()
		<-time.After(2 * time.Second)
		synctest.Wait()
		cancel()
		<-ended
		if src.most != 1 || src.started != 2 {
			t.Errorf("got %d listeners at a time and %d in all, want 1 and 2", src.most, src.started)
		}
	})
}
