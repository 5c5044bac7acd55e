package atomtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"valence/atom"
)

// remembered is what the store keeps for executions to come, by process and
// name; the properties of a process have no name.
type remembered map[[2]string]*kept

type kept struct {
	version int64
	values  map[string][]byte
}

func (r remembered) of(process, name string) *kept {
	k := r[[2]string{process, name}]
	if k == nil {
		k = &kept{values: map[string][]byte{}}
		r[[2]string{process, name}] = k
	}
	return k
}

func (k *kept) set(name string, value []byte) {
	if value == nil {
		delete(k.values, name)
	} else {
		k.values[name] = slices.Clone(value)
	}
}

// current fails with atom.ErrConflict where a version is not the one asked for.
func (r remembered) current(m *atom.Memory) error {
	for _, c := range m.States {
		if c.Version >= 0 && c.Version != r.of(c.Process, "").version {
			return atom.ErrConflict
		}
	}
	for _, c := range m.Snapshots {
		if c.Version >= 0 && c.Version != r.of(c.Process, c.Name).version {
			return atom.ErrConflict
		}
	}
	return nil
}

func (r remembered) keep(m *atom.Memory) {
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
		for _, p := range c.Prints {
			k.set(p.Key, p.Hash)
		}
	}
}

// State is atom.States'.
func (s *Store) State(_ context.Context, process string) (*atom.ProcessState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.remembered.of(process, "")
	state := &atom.ProcessState{Version: k.version}
	for _, name := range slices.Sorted(maps.Keys(k.values)) {
		state.Properties = append(state.Properties, atom.Property{Name: name, Value: k.values[name]})
	}
	return state, nil
}

// Snapshot is atom.States'.
func (s *Store) Snapshot(_ context.Context, process, name, after string, limit int) ([]atom.Print, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.remembered.of(process, name)
	var prints []atom.Print
	for _, key := range slices.Sorted(maps.Keys(k.values)) {
		if key > after && len(prints) < limit {
			prints = append(prints, atom.Print{Key: key, Hash: k.values[key]})
		}
	}
	return prints, k.version, nil
}

// Remember is atom.States'.
func (s *Store) Remember(ctx context.Context, m *atom.Memory) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	if err := s.remembered.current(m); err != nil {
		return err
	}
	s.remembered.keep(m)
	return nil
}

// forget takes entries out of a journal.
func forget(journal []atom.Entry, what []atom.Forget) []atom.Entry {
	return slices.DeleteFunc(slices.Clone(journal), func(x atom.Entry) bool {
		return slices.ContainsFunc(what, func(f atom.Forget) bool { return f.Has(x.Path) })
	})
}
