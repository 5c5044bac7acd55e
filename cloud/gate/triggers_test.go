package gate_test

import (
	"testing"
	"time"

	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// A poll with an unknown digest of triggers is answered at once and asks for
// them; the next poll sends them and is held.
func TestUnknownDigestAsksForTriggers(t *testing.T) {
	s := startPlane(t, cloudtest.Options{Hold: time.Second})
	ctx := t.Context()
	full := wire.TriggerStatus{Digest: "p", Triggers: []wire.Trigger{{Process: "relay", Kind: "listen", State: "running"}}}
	now := wire.TriggerStatus{Digest: full.Digest}
	s.atom.Heartbeat = func(h *wire.Heartbeat) { h.TriggerStatus = now }
	begun := time.Now()
	polled, err := s.atom.Poll(ctx, s.generation, 30)
	if err != nil || !polled.SendTriggers || time.Since(begun) > 500*time.Millisecond {
		t.Fatalf("got %+v, %v after %s, want SendTriggers true, time at most %v and no error", polled, err, time.Since(begun), 500*time.Millisecond)
	}
	now = full
	if polled, err = s.atom.Poll(ctx, s.generation, 0); err != nil || polled.SendTriggers {
		t.Errorf("%+v, %v", polled, err)
	}
	now = wire.TriggerStatus{Digest: full.Digest}
	if polled, err = s.atom.Poll(ctx, s.generation, 0); err != nil || polled.SendTriggers {
		t.Errorf("%+v, %v", polled, err)
	}
}
