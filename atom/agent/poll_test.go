package agent

import (
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"valence/atom/agent/cloudclient"
)

// TestPollingFallsBack: if long polls are interrupted on the way, the agent polls
// at short intervals instead.
func TestPollingFallsBack(t *testing.T) {
	p := &poller{core: &core{timing: Timing{}.withDefaults(), options: Options{Identity: &cloudclient.Identity{}}, log: slog.New(slog.DiscardHandler)}}
	s := &pollState{backoff: cloudclient.Backoff{Initial: time.Second, Max: time.Minute}}
	cut := &cloudclient.ResponseError{Status: http.StatusGatewayTimeout}
	p.pollFailed(s, 30*time.Second, 10*time.Second, cut)
	if !s.shortUntil.IsZero() {
		t.Errorf("after one interrupted poll: got short polls until %v, want long polls", s.shortUntil)
	}
	p.pollFailed(s, 30*time.Second, 10*time.Second, errors.New("EOF"))
	if got := time.Until(s.shortUntil); got < 50*time.Minute {
		t.Errorf("after two interrupted polls: got short polls for %v, want at least 50m", got)
	}
	s = &pollState{backoff: cloudclient.Backoff{Initial: time.Second, Max: time.Minute}}
	for range 5 {
		p.pollFailed(s, 30*time.Second, 10*time.Millisecond, errors.New("connection refused"))
	}
	if !s.shortUntil.IsZero() {
		t.Errorf("control plane unreachable: got short polls until %v, want long polls", s.shortUntil)
	}
}
