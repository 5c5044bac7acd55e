package postgres

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"valence/atom/store"
)

// State implements store.States.
func (s *Store) State(ctx context.Context, process string) (*store.ProcessState, error) {
	p := &store.ProcessState{}
	var key, value []byte
	err := s.each(ctx, []any{&p.Version, &key, &value}, func() error {
		if key != nil {
			p.Properties = append(p.Properties, store.Property{Name: string(key), Value: slices.Clone(value)})
		}
		return nil
	}, `SELECT s.version, v.key, v.value FROM atom_state AS s LEFT JOIN atom_value AS v ON v.process = s.process AND v.name = s.name WHERE s.process = $1 AND s.name = '' ORDER BY v.key`, process)
	return p, err
}

// Snapshot implements store.States.
func (s *Store) Snapshot(ctx context.Context, process, name, after string, limit int) (all []store.Digest, version int64, err error) {
	var key, value []byte
	err = s.each(ctx, []any{&version, &key, &value}, func() error {
		if key != nil {
			all = append(all, store.Digest{Key: string(key), Hash: slices.Clone(value)})
		}
		return nil
	}, `SELECT s.version, v.key, v.value FROM atom_state AS s LEFT JOIN LATERAL (SELECT key, value FROM atom_value AS v WHERE v.process = s.process AND v.name = s.name AND v.key > $3 ORDER BY key LIMIT $4) AS v ON true
		WHERE s.process = $1 AND s.name = $2 ORDER BY v.key`, process, snapshotName(name), []byte(after), limit)
	return all, version, err
}

// snapshotName is the name of a snapshot in atom_state, in which "" holds the
// properties.
func snapshotName(name string) string { return "/" + name }

// stateOp commits one UpdateState.
type stateOp struct {
	m   *store.StateUpdate
	err error
}

// UpdateState implements store.States.
func (s *Store) UpdateState(ctx context.Context, m *store.StateUpdate) error {
	op := &stateOp{m: m}
	if err := s.do(ctx, op); err != nil {
		return err
	}
	return op.err
}

func (o *stateOp) do(t *transaction) (err error) {
	if o.err, err = t.checkState(o.m); o.err == nil && err == nil {
		t.writeState(o.m)
	}
	return err
}

// stateChange is a change of properties or of a snapshot.
type stateChange struct {
	process, name string
	version       int64
	set           []store.Digest
}

// stateChanges returns the changes of an update in the order of their locks.
func stateChanges(m *store.StateUpdate) (all []stateChange) {
	for _, c := range m.States {
		one := stateChange{c.Process, "", c.Version, nil}
		for _, p := range c.Set {
			one.set = append(one.set, store.Digest{Key: p.Name, Hash: p.Value})
		}
		all = append(all, one)
	}
	for _, c := range m.Snapshots {
		all = append(all, stateChange{c.Process, snapshotName(c.Name), c.Version, c.Digests})
	}
	slices.SortStableFunc(all, func(a, b stateChange) int {
		return cmp.Or(strings.Compare(a.process, b.process), strings.Compare(a.name, b.name))
	})
	return all
}

// checkState locks the versions of an update, and refuses it if one is not
// current.
func (t *transaction) checkState(m *store.StateUpdate) (refused, err error) {
	for _, c := range stateChanges(m) {
		t.exec("INSERT INTO atom_state(process, name, version) VALUES($1, $2, 0) ON CONFLICT DO NOTHING", c.process, c.name)
		var version int64
		if _, err := t.one([]any{&version}, "SELECT version FROM atom_state WHERE process = $1 AND name = $2 FOR UPDATE", c.process, c.name); err != nil {
			return nil, err
		}
		if c.version >= 0 && c.version != version {
			return store.ErrConflict, nil
		}
	}
	return nil, nil
}

func (t *transaction) writeState(m *store.StateUpdate) {
	for _, c := range stateChanges(m) {
		t.exec("UPDATE atom_state SET version = version + 1 WHERE process = $1 AND name = $2", c.process, c.name)
		for _, d := range c.set {
			if d.Hash == nil {
				t.exec("DELETE FROM atom_value WHERE process = $1 AND name = $2 AND key = $3", c.process, c.name, []byte(d.Key))
				continue
			}
			t.exec("INSERT INTO atom_value(process, name, key, value) VALUES($1, $2, $3, $4) ON CONFLICT (process, name, key) DO UPDATE SET value = excluded.value", c.process, c.name, []byte(d.Key), d.Hash)
		}
	}
}
