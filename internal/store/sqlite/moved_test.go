package sqlite_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// Executions with large documents are there for who looks while they end and
// move to the history, and their files are deleted.
func TestSeenWhileItMoves(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	s.Hurry(time.Millisecond, 0)
	defer running(t, s)()
	var last atomic.Int64
	var wg sync.WaitGroup
	over := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if seq := last.Load(); seq > 0 {
					x, err := s.Get(ctx, seq, time.Now())
					if err != nil || len(x.Doc) < 70_000 {
						t.Errorf("%d: %v", seq, err)
					}
				}
				if _, _, err := s.Due(ctx, "order-sync", time.Now(), 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 150 {
		in := message(append(bytes.Repeat([]byte("x"), 70_000), fmt.Sprint(i)...))
		in.Seq, in.Due = s.Reserve(), time.Now()
		last.Store(accept(t, s, in))
		if err := s.Apply(ctx, &atom.Change{Seq: in.Seq, Outcome: outcome()}); err != nil {
			t.Error(err)
		}
	}
	close(over)
	wg.Wait()
}
