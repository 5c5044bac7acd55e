package cloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"valence/internal/wire"
)

// desired returns the desired state of an atom.
func (s *AtomAPI) desired(atom string) (*wire.Desired, error) {
	d, a, fields, err := s.outline(atom)
	if err != nil {
		return nil, err
	}
	return d, s.addExtensions(d, a, fields) // sealing is slow, so not under the lock
}

// outline returns the desired state without the environment's extensions, and
// these.
func (s *AtomAPI) outline(atom string) (*wire.Desired, *Atom, []*Extension, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.state.atoms[atom]
	if a == nil {
		return nil, nil, nil, notFound("atom", atom)
	}
	d := &wire.Desired{Generation: s.state.generation(a), Deployments: []wire.Deployment{}}
	d.PurgeDays = a.Purge
	e := s.state.environmentOf(atom)
	if e == nil {
		return d, a, nil, nil
	}
	d.Environment, d.Policy, d.Paused, d.SwitchedIn = e.Name, e.Policy, s.state.pausedProcesses(a), s.state.switchRevisions(a)
	for _, x := range s.state.activeIn[e.ID] {
		p := s.state.packages[x.PackageID]
		one := wire.Deployment{ID: x.ID, Package: p.SHA256, Project: p.Project, Version: p.Version, Statement: x.Statement, Signature: x.Signature}
		if len(one.Statement) == 0 {
			one.Statement, one.Signature = p.Statement, p.Signature
		}
		d.Deployments = append(d.Deployments, one)
	}
	sort.Slice(d.Deployments, func(i, j int) bool { return d.Deployments[i].Project < d.Deployments[j].Project })
	return d, a, slices.Collect(maps.Values(s.state.extensions[e.ID])), nil
}

// addExtensions adds the environment's values, with secrets sealed for the
// atom.
func (s *AtomAPI) addExtensions(d *wire.Desired, a *Atom, fields []*Extension) error {
	connections := map[string]map[string]string{}
	for _, x := range fields {
		kind, rest, _ := strings.Cut(x.Name, ".")
		switch kind {
		case "env":
			if d.Values == nil {
				d.Values = map[string]string{}
			}
			d.Values[rest] = x.Value
		case "secret":
			text, err := s.openSecret(x)
			if err != nil {
				return err
			}
			sealed, err := wire.Seal(a.SealKey, a.ID, rest, text)
			if err != nil {
				return fmt.Errorf("seal %s for the atom %s: %w", x.Name, a.ID, err)
			}
			if d.Secrets == nil {
				d.Secrets = map[string][]byte{}
			}
			d.Secrets[rest] = sealed
		case "connection":
			connection, setting, _ := strings.Cut(rest, ".")
			if connections[connection] == nil {
				connections[connection] = map[string]string{}
			}
			connections[connection][setting] = x.Value
		}
	}
	if len(connections) == 0 {
		return nil
	}
	var err error
	d.Connections, err = json.Marshal(connections)
	return err
}
