package cloudclient

import (
	"errors"
	"testing"
	"time"
)

// Delays are random up to a limit that doubles, until Reset.
func TestBackoffDoubles(t *testing.T) {
	b := Backoff{Initial: time.Second, Max: 5 * time.Minute}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if d := b.After(errors.New("refused")); d > want*time.Second || b.next != want*time.Second {
			t.Errorf("failure %d: got a delay of %v of at most %v, want at most %v", i+1, d, b.next, want*time.Second)
		}
	}
	if !b.Failing() {
		t.Error("got no failure after failures")
	}
	if b.Reset(); b.Failing() || b.After(nil) > time.Second {
		t.Error("Reset did not end the series")
	}
}
