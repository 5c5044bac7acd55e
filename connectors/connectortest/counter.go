package connectortest

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"valence/connectors"
)

// Counter accepts the messages of a subscription and forgets them, and measures
// the memory of the listener.
type Counter struct {
	n    int
	done chan struct{} // closed at n messages

	mu       sync.Mutex
	accepted int
	most     uint64 // bytes of the heap that are reachable
	cursors  map[string][]byte
	failed   error
}

// NewCounter returns a counter that waits for n messages.
func NewCounter(n int) *Counter {
	return &Counter{n: n, done: make(chan struct{}), cursors: map[string][]byte{}}
}

var (
	_ connectors.Inbox  = (*Counter)(nil)
	_ connectors.Status = (*Counter)(nil)
)

// Deliver implements connectors.Inbox.
func (c *Counter) Deliver(ctx context.Context, m *connectors.Message) error {
	return c.DeliverBatch(ctx, []*connectors.Message{m})[0]
}

// DeliverBatch implements connectors.Inbox.
func (c *Counter) DeliverBatch(_ context.Context, ms []*connectors.Message) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range ms {
		if c.accepted++; c.accepted%(c.n/10+1) == 0 {
			c.most = max(c.most, heap())
		}
		if m.Cursor != nil {
			c.cursors[m.Stream] = m.Cursor
		}
		if c.accepted == c.n {
			close(c.done)
		}
	}
	return make([]error, len(ms))
}

// Cursor implements connectors.Inbox.
func (c *Counter) Cursor(_ context.Context, stream string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cursors[stream], nil
}

// Up implements connectors.Status.
func (c *Counter) Up() {}

// Down implements connectors.Status.
func (c *Counter) Down(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
}

// Warn implements connectors.Status.
func (c *Counter) Warn(string) {}

// Lag implements connectors.Status.
func (c *Counter) Lag(int64) {}

// heap returns the bytes of the heap that are reachable.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Count listens until n messages were accepted, each once. It returns the time
// that it took, and by how many bytes the reachable heap grew at most.
func Count(t *testing.T, c connectors.Listener, with any, n int, patience time.Duration) (took time.Duration, grew int64) {
	t.Helper()
	counter := NewCounter(n)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before, began, ended := heap(), time.Now(), make(chan error, 1)
	go func() {
		ended <- c.Listen(ctx, with, &connectors.Host{Log: slog.New(slog.DiscardHandler), Inbox: counter, Status: counter})
	}()
	select {
	case <-counter.done:
		took = time.Since(began)
		cancel()
		<-ended
	case err := <-ended:
		t.Fatalf("Listen ended: %v", err)
	}
	counter.mu.Lock()
	defer counter.mu.Unlock()
	if counter.accepted != n {
		t.Fatalf("got %d messages (%v), want %d", counter.accepted, counter.failed, n)
	}
	return took, int64(counter.most) - int64(before)
}
