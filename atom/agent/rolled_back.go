package agent

import (
	"errors"
	"maps"

	"valence/internal/wire"
)

// rolledBack is a deployment that failed too often on this atom. Newer
// generations do not bring it back, since they may differ in something else;
// only a new deployment does.
type rolledBack struct {
	Deployment string `json:"deployment"`
	Package    string `json:"package"`
	Reason     string `json:"why"`
}

// rolledBackError reports that a deployment is skipped because it was rolled
// back.
type rolledBackError struct{ reason string }

func (e *rolledBackError) Error() string {
	return e.reason + "; deploy it again to retry"
}

func (b rolledBack) err() error { return &rolledBackError{b.Reason} }

func isRolledBack(err error) bool {
	e := (*rolledBackError)(nil)
	return errors.As(err, &e)
}

// checkRolledBack returns an error if a deployment was rolled back.
func (dep *deployer) checkRolledBack(x wire.Deployment) error {
	dep.mu.Lock()
	defer dep.mu.Unlock()
	if b, found := dep.state.RolledBack[x.Project]; found && b.Deployment == x.ID && b.Package == x.Package {
		return b.err()
	}
	return nil
}

// retainRolledBack returns the entries whose deployment is still part of d.
func retainRolledBack(all map[string]rolledBack, d *wire.Desired) map[string]rolledBack {
	kept := map[string]rolledBack{}
	for _, x := range d.Deployments {
		if b, found := all[x.Project]; found && b.Deployment == x.ID && b.Package == x.Package {
			kept[x.Project] = b
		}
	}
	return kept
}

// mergeSerials returns the higher serial for each key.
func mergeSerials(now, before map[string]int64) map[string]int64 {
	all := maps.Clone(before)
	if all == nil {
		return now
	}
	for key, serial := range now {
		all[key] = max(all[key], serial)
	}
	return all
}
