package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestComponentsStopInReverseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup()
		var mu sync.Mutex
		var stopped []string
		for _, name := range []string{"store", "admin", "atom", "listener"} {
			g.Start(name, func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				stopped = append(stopped, name)
				return nil
			})
		}
		synctest.Wait()
		if err := g.Stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"listener", "atom", "admin", "store"}; !slices.Equal(stopped, want) {
			t.Errorf("got %v, want %v", stopped, want)
		}
	})
}

func TestComponentThatReturnsEarlyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup()
		const want = "atom: disk gone"
		g.Start("store", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		g.Start("atom", func(context.Context) error { return errors.New("disk gone") })
		if err := <-g.Failed(); err == nil || err.Error() != want {
			t.Errorf("Failed: got %v, want %s", err, want)
		}
		if err := g.Stop(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Stop: got %v, want %s", err, want)
		}
	})
}
