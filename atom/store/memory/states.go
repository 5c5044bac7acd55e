package memory

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"valence/atom/store"
)

// stateVersions is the state of processes, by process and snapshot; properties
// have no snapshot name.
type stateVersions map[[2]string]*versionedValues

type versionedValues struct {
	version int64
	values  map[string][]byte
}

func (r stateVersions) of(process, name string) *versionedValues {
	k := r[[2]string{process, name}]
	if k == nil {
		k = &versionedValues{values: map[string][]byte{}}
		r[[2]string{process, name}] = k
	}
	return k
}

func (k *versionedValues) set(name string, value []byte) {
	if value == nil {
		delete(k.values, name)
	} else {
		k.values[name] = slices.Clone(value)
	}
}

// check returns store.ErrConflict if a version is not current.
func (r stateVersions) check(m *store.StateUpdate) error {
	for _, c := range m.States {
		if c.Version >= 0 && c.Version != r.of(c.Process, "").version {
			return store.ErrConflict
		}
	}
	for _, c := range m.Snapshots {
		if c.Version >= 0 && c.Version != r.of(c.Process, c.Name).version {
			return store.ErrConflict
		}
	}
	return nil
}

func (r stateVersions) write(m *store.StateUpdate) {
	for _, c := range m.States {
		k := r.of(c.Process, "")
		k.version++
		for _, p := range c.Set {
			k.set(p.Name, p.Value)
		}
	}
	for _, c := range m.Snapshots {
		k := r.of(c.Process, c.Name)
		k.version++
		for _, p := range c.Digests {
			k.set(p.Key, p.Hash)
		}
	}
}

// State implements store.States.
func (s *Store) State(_ context.Context, process string) (*store.ProcessState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.states.of(process, "")
	state := &store.ProcessState{Version: k.version}
	for _, name := range slices.Sorted(maps.Keys(k.values)) {
		state.Properties = append(state.Properties, store.Property{Name: name, Value: k.values[name]})
	}
	return state, nil
}

// Snapshot implements store.States.
func (s *Store) Snapshot(_ context.Context, process, name, after string, limit int) ([]store.Digest, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.states.of(process, name)
	var digests []store.Digest
	for _, key := range slices.Sorted(maps.Keys(k.values)) {
		if key > after && len(digests) < limit {
			digests = append(digests, store.Digest{Key: key, Hash: k.values[key]})
		}
	}
	return digests, k.version, nil
}

// UpdateState implements store.States.
func (s *Store) UpdateState(ctx context.Context, m *store.StateUpdate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if err := s.states.check(m); err != nil {
		return err
	}
	s.states.write(m)
	return nil
}

// trimJournal deletes entries from a journal.
func trimJournal(journal []store.Entry, what []store.JournalTrim) []store.Entry {
	return slices.DeleteFunc(slices.Clone(journal), func(x store.Entry) bool {
		return slices.ContainsFunc(what, func(f store.JournalTrim) bool { return f.Has(x.Path) })
	})
}
