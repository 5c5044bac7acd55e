package gate

import "net/http"

// door is the gate as the other control planes see it.
type door struct{ g *Gate }

// Lives implements cloud.Door.
func (d door) Lives(atom, run string) bool {
	x := d.g.peers.of(atom)
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.instance == run && x.alive()
}

// Displace implements cloud.Door. A poll that is held is answered with nothing;
// the next one of that run is fenced.
func (d door) Displace(atom, run string) {
	x := d.g.peers.of(atom)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.instance == run || x.instance == "" {
		return
	}
	if x.held != nil {
		close(x.held)
		x.held = nil
	}
	x.instance = ""
}

// claim reports whether a run of an atom may be served, as far as other control
// planes are concerned. They are asked for the first poll of a run.
func (g *Gate) claim(r *http.Request, x *peer, atom, run string) (bool, error) {
	x.mu.Lock()
	known := x.instance == run
	x.mu.Unlock()
	if known {
		return true, nil
	}
	return g.service.Claim(r.Context(), atom, run)
}
