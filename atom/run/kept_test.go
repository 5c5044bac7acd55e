package run

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom/store"
)

// TestSlowStoreDelaysOneFailure checks that only the failure that reads the
// sizes waits for the store, and that a store that cannot be read changes
// nothing.
func TestSlowStoreDelaysOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		k := &keptFailures{limit: 100, log: slog.New(slog.DiscardHandler), bytes: map[string]int64{"p": 50}, since: map[string]int64{}, reported: map[string]time.Time{}}
		k.problems = func(ctx context.Context) (map[string]store.Problems, error) {
			reads++
			<-ctx.Done()
			return nil, errors.New("slow")
		}
		begun := time.Now()
		first := make(chan bool)
		go func() { first <- k.admit(t.Context(), "p", 40, time.Now()) }()
		synctest.Wait()
		if !k.admit(t.Context(), "p", 40, time.Now()) || time.Since(begun) > 0 {
			t.Errorf("second failure: got it refused or after %v, want it admitted at once", time.Since(begun))
		}
		if <-first {
			t.Error("first failure: got it admitted, want it refused: there is no room for both")
		}
		if reads != 1 {
			t.Errorf("got %d reads, want 1", reads)
		}
		unlimited := &keptFailures{problems: k.problems}
		if !unlimited.admit(t.Context(), "p", 1<<40, time.Now()) {
			t.Error("without a limit: got a failure refused, want it admitted")
		}
		if reads != 1 {
			t.Errorf("without a limit: got %d reads, want none", reads-1)
		}
	})
}
