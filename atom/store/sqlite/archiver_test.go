package sqlite_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestReadWhileArchiving checks that readers find executions with large
// documents while these end and are archived.
func TestReadWhileArchiving(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	s.SetArchiveTimes(time.Millisecond, 0)
	defer startStore(t, s)()
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
						t.Errorf("execution %d: got %v, want its document", seq, err)
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
		if err := s.Apply(ctx, &store.Change{Seq: in.Seq, Disposition: outcome()}); err != nil {
			t.Error(err)
		}
	}
	close(over)
	wg.Wait()
}
