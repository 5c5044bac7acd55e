package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func TestPartsStopInReverseEachAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts()
		var mu sync.Mutex
		var ended []string
		for _, name := range []string{"store", "admin", "atom", "listener"} {
			p.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				mu.Lock()
				defer mu.Unlock()
				ended = append(ended, name)
				return nil
			})
		}
		synctest.Wait()
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if want := []string{"listener", "atom", "admin", "store"}; !slices.Equal(ended, want) {
			t.Errorf("ended in the order %v, want %v", ended, want)
		}
	})
}

func TestPartThatEndsByItselfIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newParts()
		p.start("store", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		p.start("atom", func(context.Context) error { return errors.New("disk gone") })
		if err := <-p.failed; err == nil || err.Error() != "atom: disk gone" {
			t.Errorf("failed: %v", err)
		}
		if err := p.stop(); err == nil || !strings.Contains(err.Error(), "atom: disk gone") {
			t.Errorf("stop: %v", err)
		}
	})
}

func TestHealthInALine(t *testing.T) {
	for health, want := range map[string]string{"": "", "ok": "ok", "a: broken": "a: broken", "a: x\nb: y\nc: z": "a: x (and 2 more: --json)"} {
		if got := briefly(health); got != want {
			t.Errorf("%q: %q", health, got)
		}
	}
}
