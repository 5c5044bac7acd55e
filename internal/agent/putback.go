package agent

import (
	"errors"
	"maps"

	"valence/internal/wire"
)

// putBack is a deployment that failed too often on this atom. It is not taken
// again with a newer generation, which may differ in a value, a paused trigger
// or another project: only when somebody deploys it again.
type putBack struct {
	Deployment string `json:"deployment"`
	Package    string `json:"package"`
	Why        string `json:"why"`
}

// errPutBack tells that a deployment is not taken because it was put back.
type errPutBack struct{ why string }

func (e *errPutBack) Error() string {
	return e.why + "; it is not taken again until it is deployed again"
}

func (b putBack) err() error { return &errPutBack{b.Why} }

func isPutBack(err error) bool {
	e := (*errPutBack)(nil)
	return errors.As(err, &e)
}

// wasPutBack tells why a deployment is not taken, nil if it may be.
func (a *Agent) wasPutBack(x wire.Deployment) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, found := a.state.PutBack[x.Project]; found && b.Deployment == x.ID && b.Package == x.Package {
		return b.err()
	}
	return nil
}

// stillPutBack gives those that a generation has, too.
func stillPutBack(all map[string]putBack, d *wire.Desired) map[string]putBack {
	kept := map[string]putBack{}
	for _, x := range d.Deployments {
		if b, found := all[x.Project]; found && b.Deployment == x.ID && b.Package == x.Package {
			kept[x.Project] = b
		}
	}
	return kept
}

// serialsToMeet are those that a generation must not fall behind. The version
// that goes on in place of one that was put back has an older one.
func (s *state) serialsToMeet(d *wire.Desired) map[string]int64 {
	serials := maps.Clone(s.Serials)
	for project := range stillPutBack(s.PutBack, d) {
		delete(serials, serialKey(project, d.Environment))
	}
	return serials
}

// newest gives the higher of two serials.
func newest(now, before map[string]int64) map[string]int64 {
	all := maps.Clone(before)
	if all == nil {
		return now
	}
	for key, serial := range now {
		all[key] = max(all[key], serial)
	}
	return all
}
