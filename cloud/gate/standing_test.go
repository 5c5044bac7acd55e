package gate_test

import (
	"testing"
	"time"

	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// A poll that names listeners which are not known here is answered at once,
// and asks for them; the next one tells them and is held.
func TestTell(t *testing.T) {
	s := begin(t, cloudtest.Options{Hold: time.Second})
	ctx := t.Context()
	full := wire.Standing{Print: "p", Listeners: []wire.Listener{{Process: "relay", Kind: "listen", State: "running"}}}
	now := wire.Standing{Print: full.Print}
	s.atom.Heartbeat = func(h *wire.Heartbeat) { h.Standing = now }
	begun := time.Now()
	polled, err := s.atom.Poll(ctx, s.generation, 30)
	if err != nil || !polled.Tell || time.Since(begun) > 500*time.Millisecond {
		t.Fatalf("%+v, %v after %s", polled, err, time.Since(begun))
	}
	now = full
	if polled, err = s.atom.Poll(ctx, s.generation, 0); err != nil || polled.Tell {
		t.Errorf("%+v, %v", polled, err)
	}
	now = wire.Standing{Print: full.Print}
	if polled, err = s.atom.Poll(ctx, s.generation, 0); err != nil || polled.Tell {
		t.Errorf("%+v, %v", polled, err)
	}
}
