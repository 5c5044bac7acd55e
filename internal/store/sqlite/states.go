package sqlite

import (
	"context"
	"errors"

	"valence/atom"
	"valence/internal/sqlitedb"
)

const migrationStates = `
CREATE TABLE remembered(process TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(process, name)) WITHOUT ROWID;
CREATE TABLE property(process TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(process, name)) WITHOUT ROWID;
CREATE TABLE print(process TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(process, name, key)) WITHOUT ROWID;
`

// State gives the properties of a process; see atom.States.
func (s *Store) State(ctx context.Context, process string) (*atom.ProcessState, error) {
	state := &atom.ProcessState{}
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		*state = atom.ProcessState{}
		var err error
		if state.Version, err = versionOf(tx, process, ""); err != nil {
			return err
		}
		return tx.Rows("SELECT name, value FROM property WHERE process = ? ORDER BY name", []any{process}, func(r sqlitedb.Row) (bool, error) {
			state.Properties = append(state.Properties, atom.Property{Name: r.Text(0), Value: r.Bytes(1)})
			return true, nil
		})
	})
	return state, s.refuse(err)
}

// Snapshot gives hashes of a snapshot; see atom.States.
func (s *Store) Snapshot(ctx context.Context, process, name, after string, limit int) (prints []atom.Print, version int64, err error) {
	err = s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		prints = prints[:0]
		if version, err = versionOf(tx, process, name); err != nil {
			return err
		}
		id, err := stageOf(tx, process, name)
		if err != nil {
			return err
		}
		base := func(after string) ([]atom.Print, error) {
			return printsIn(tx, "SELECT key, hash FROM print WHERE process = ? AND name = ? AND key > ? ORDER BY key LIMIT ?", process, name, after, limit)
		}
		if id == 0 {
			prints, err = base(after)
			return err
		}
		prints, err = overlaid(after, limit, base, func(after string) ([]atom.Print, error) {
			return printsIn(tx, "SELECT key, hash FROM staged WHERE stage = ? AND key > ? ORDER BY key LIMIT ?", id, after, limit)
		})
		return err
	})
	return prints, version, s.refuse(err)
}

// Remember commits what an execution in memory has found out; see atom.States.
func (s *Store) Remember(ctx context.Context, m *atom.Memory) error {
	stages, done, err := s.stage(ctx, m)
	if err != nil {
		return s.refuse(err)
	}
	var conflict error
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if conflict = current(tx, m); conflict != nil {
			if errors.Is(conflict, atom.ErrConflict) {
				return nil
			}
			return conflict
		}
		return remember(tx, m, stages)
	}))
	done(err == nil && conflict == nil)
	if err != nil {
		return s.refuse(err)
	}
	return conflict
}

// versionOf gives the version of a snapshot of a process; that of its
// properties has no name.
func versionOf(tx *sqlitedb.Tx, process, name string) (version int64, err error) {
	_, err = tx.One("SELECT version FROM remembered WHERE process = ? AND name = ?", []any{process, name}, func(r sqlitedb.Row) { version = r.Int(0) })
	return version, err
}

// current checks the versions that a change asks for.
func current(tx *sqlitedb.Tx, m *atom.Memory) error {
	check := func(process, name string, want int64) error {
		version, err := versionOf(tx, process, name)
		if err == nil && want >= 0 && want != version {
			err = atom.ErrConflict
		}
		return err
	}
	for i := range m.States {
		if err := check(m.States[i].Process, "", m.States[i].Version); err != nil {
			return err
		}
	}
	for i := range m.Snapshots {
		if err := check(m.Snapshots[i].Process, m.Snapshots[i].Name, m.Snapshots[i].Version); err != nil {
			return err
		}
	}
	return nil
}

// remember writes what a change keeps, but for the snapshots that are staged:
// from now on those count.
func remember(tx *sqlitedb.Tx, m *atom.Memory, stages map[int]int64) error {
	next := func(process, name string) error {
		_, err := tx.Exec("INSERT INTO remembered(process, name, version) VALUES(?,?,1) ON CONFLICT(process, name) DO UPDATE SET version = version + 1", process, name)
		return err
	}
	for i := range m.States {
		c := &m.States[i]
		for _, p := range c.Set {
			var err error
			if p.Value == nil {
				_, err = tx.Exec("DELETE FROM property WHERE process = ? AND name = ?", c.Process, p.Name)
			} else {
				_, err = tx.Exec("INSERT OR REPLACE INTO property(process, name, value) VALUES(?,?,?)", c.Process, p.Name, p.Value)
			}
			if err != nil {
				return err
			}
		}
		if err := next(c.Process, ""); err != nil {
			return err
		}
	}
	for i := range m.Snapshots {
		c := &m.Snapshots[i]
		if id := stages[i]; id != 0 {
			if err := count(tx, id); err != nil {
				return err
			}
		} else {
			for _, p := range c.Prints {
				if err := writePrint(tx, c.Process, c.Name, p); err != nil {
					return err
				}
			}
		}
		if err := next(c.Process, c.Name); err != nil {
			return err
		}
	}
	return nil
}

// forget takes entries out of an execution's journal. An execution without a
// row gets one: it has lived long. What goes on is not what stops the atom, so
// unclean stops are counted anew.
func (b *batch) forget(tx *sqlitedb.Tx, t *touch, what []atom.Forget) error {
	if t.home != nil {
		if err := b.promote(tx, t, stAccepted, 0, 0, nil, nil); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("UPDATE execution SET unclean = 0 WHERE seq = ? AND unclean > 0", t.seq); err != nil {
		return err
	}
	from := t.seq << journalBits
	var kept, gone []line
	err := tx.Rows("SELECT body FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", []any{from, from | (1<<journalBits - 1)}, func(r sqlitedb.Row) (bool, error) {
		d := checked(r.Bytes(0))
		for _, l := range d.lines() {
			if forgotten(what, l.Path) {
				gone = append(gone, l)
			} else {
				kept = append(kept, l)
			}
		}
		return true, d.err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	if _, err := tx.Exec("DELETE FROM journal WHERE id BETWEEN ? AND ?", from, from|(1<<journalBits-1)); err != nil {
		return err
	}
	if err := writeLines(tx, t.seq, kept); err != nil {
		return err
	}
	return b.freeLines(tx, t.seq, kept, gone)
}

func forgotten(what []atom.Forget, path string) bool {
	for i := range what {
		if what[i].Has(path) {
			return true
		}
	}
	return false
}

// freeLines lets go of the files of entries that are gone.
func (b *batch) freeLines(tx *sqlitedb.Tx, seq int64, kept, gone []line) error {
	needed := map[[32]byte]bool{}
	note := func(ref *fileRef) {
		if ref != nil {
			needed[ref.hash] = true
		}
	}
	r, err := readRow(tx, seq)
	if err != nil {
		return err
	}
	if r != nil && r.held != nil {
		note(r.held.doc)
		note(r.held.data)
	}
	for i := range kept {
		note(kept[i].body)
	}
	for _, l := range gone {
		if l.body == nil || needed[l.body.hash] {
			continue
		}
		note(l.body) // once
		if _, err := tx.Exec("DELETE FROM file WHERE seq = ? AND hash = ?", seq, l.body.hash[:]); err != nil {
			return err
		}
		used, err := tx.One("SELECT 1 FROM file WHERE hash = ?", []any{l.body.hash[:]}, func(sqlitedb.Row) {})
		if err != nil {
			return err
		}
		if !used {
			b.unlinks = append(b.unlinks, l.body.hash)
		}
	}
	return nil
}
