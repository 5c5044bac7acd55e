package gate

import (
	"net/http"

	"valence/cloud"
)

// presence reports to the other control planes which instances are served here.
type presence struct{ g *Gate }

var _ cloud.Presence = presence{}

// Serves implements cloud.Presence.
func (d presence) Serves(atom, instance string) bool {
	x := d.g.peers.seen(atom)
	if x == nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.instance == instance && x.alive()
}

// Evict implements cloud.Presence. A held poll of another instance is answered
// with nothing, and the next one is fenced.
func (d presence) Evict(atom, instance string) {
	x := d.g.peers.seen(atom)
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.instance == instance || x.instance == "" {
		return
	}
	if x.held != nil {
		close(x.held)
		x.held = nil
	}
	x.instance = ""
}

// claim reports whether an instance of an atom may be served. The other control
// planes are asked at the first poll of an instance.
func (g *Gate) claim(r *http.Request, x *peer, atom, instance string) (bool, error) {
	x.mu.Lock()
	known := x.instance == instance
	x.mu.Unlock()
	if known {
		return true, nil
	}
	return g.cluster.Claim(r.Context(), atom, instance)
}
