package cloud

import (
	"context"
	"testing"
	"time"

	"valence/internal/wire"
)

// slowHeartbeats returns the heartbeat of an atom whose age it has read before the
// atom polls here.
type slowHeartbeats struct {
	SharedStore
	meanwhile func()
}

func (s slowHeartbeats) ReadHeartbeats(context.Context, string, int64) ([]PeerHeartbeat, error) {
	b := PeerHeartbeat{Atom: "atom-1", Heartbeat: []byte(`{"version":"old"}`)}
	time.Sleep(time.Millisecond) // clocks are this exact
	s.meanwhile()
	return []PeerHeartbeat{b}, nil
}

// A heartbeat of another control plane does not replace one that the atom sent
// here while it was read.
func TestPeerHeartbeatIsOlder(t *testing.T) {
	c := &core{mailboxes: newMailboxes()}
	x := c.mailboxes.of("atom-1")
	s := newCluster(c, slowHeartbeats{meanwhile: func() { x.recordHeartbeat(wire.Heartbeat{Version: "new"}, 1) }})
	if err := s.readHeartbeats(t.Context(), "", 0); err != nil {
		t.Fatal(err)
	}
	if got := x.heartbeat.Version; got != "new" {
		t.Errorf("got the heartbeat of the version %s, want new", got)
	}
}
