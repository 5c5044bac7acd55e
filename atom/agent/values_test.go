package agent

import (
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/wire"
)

// The values in reports are those of the engine, so that a control plane
// recognizes them.
func TestReportedValues(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{string(store.Accepted), wire.StatusAccepted},
		{string(store.Waiting), wire.StatusWaiting},
		{string(store.Held), wire.StatusHeld},
		{string(store.Completed), wire.StatusCompleted},
		{string(store.CompletedWithWarnings), wire.StatusCompletedWithWarnings},
		{string(store.Failed), wire.StatusFailed},
		{string(store.Expired), wire.StatusExpired},
		{string(store.Cancelled), wire.StatusCancelled},
		{string(store.Superseded), wire.StatusSuperseded},
		{atom.ByRequest, wire.StartedManually},
		{atom.ByListener, wire.StartedByListener},
		{atom.BySubscription, wire.StartedBySubscription},
		{atom.BySchedule, wire.StartedBySchedule},
		{atom.ByHandoff, wire.StartedByHandoff},
		{atom.ByResubmission, wire.StartedByRetry},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
