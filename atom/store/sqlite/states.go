package sqlite

import (
	"context"
	"errors"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

const migrationStates = `
CREATE TABLE remembered(process TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(process, name)) WITHOUT ROWID;
CREATE TABLE property(process TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY(process, name)) WITHOUT ROWID;
CREATE TABLE print(process TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY(process, name, key)) WITHOUT ROWID;
`

// State implements store.States.
func (s *Store) State(ctx context.Context, process string) (*store.ProcessState, error) {
	state := &store.ProcessState{}
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		*state = store.ProcessState{}
		var err error
		if state.Version, err = versionOf(tx, process, ""); err != nil {
			return err
		}
		return tx.Rows("SELECT name, value FROM property WHERE process = ? ORDER BY name", []any{process}, func(r sqlitedb.Row) (bool, error) {
			state.Properties = append(state.Properties, store.Property{Name: r.Text(0), Value: r.Bytes(1)})
			return true, nil
		})
	})
	return state, s.storeError(err)
}

// Snapshot implements store.States.
func (s *Store) Snapshot(ctx context.Context, process, name, after string, limit int) (digests []store.Digest, version int64, err error) {
	err = s.read(ctx, func(tx *sqlitedb.Tx) error {
		digests = digests[:0]
		if version, err = versionOf(tx, process, name); err != nil {
			return err
		}
		id, err := committedStage(tx, process, name)
		if err != nil {
			return err
		}
		base := func(after string) ([]store.Digest, error) {
			return readDigests(tx, "SELECT key, hash FROM print WHERE process = ? AND name = ? AND key > ? ORDER BY key LIMIT ?", process, name, after, limit)
		}
		if id == 0 {
			digests, err = base(after)
			return err
		}
		digests, err = mergeDigests(after, limit, base, func(after string) ([]store.Digest, error) {
			return readDigests(tx, "SELECT key, hash FROM staged WHERE stage = ? AND key > ? ORDER BY key LIMIT ?", id, after, limit)
		})
		return err
	})
	return digests, version, s.storeError(err)
}

// UpdateState implements store.States.
func (s *Store) UpdateState(ctx context.Context, m *store.StateUpdate) error {
	stages, done, err := s.stager.stage(ctx, m)
	if err != nil {
		return s.storeError(err)
	}
	var conflict error
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		if conflict = checkVersions(tx, m); conflict != nil {
			if errors.Is(conflict, store.ErrConflict) {
				return nil
			}
			return conflict
		}
		return writeState(tx, m, stages)
	}))
	done(err == nil && conflict == nil)
	if err != nil {
		return s.storeError(err)
	}
	return conflict
}

// versionOf returns the version of a snapshot, or of the properties if name is
// empty.
func versionOf(tx *sqlitedb.Tx, process, name string) (version int64, err error) {
	_, err = tx.One("SELECT version FROM remembered WHERE process = ? AND name = ?", []any{process, name}, func(r sqlitedb.Row) { version = r.Int(0) })
	return version, err
}

// checkVersions returns store.ErrConflict if a version of the update is not
// current.
func checkVersions(tx *sqlitedb.Tx, m *store.StateUpdate) error {
	check := func(process, name string, want int64) error {
		version, err := versionOf(tx, process, name)
		if err == nil && want >= 0 && want != version {
			err = store.ErrConflict
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

// writeState writes an update. Snapshots with a stage are committed by their
// stage.
func writeState(tx *sqlitedb.Tx, m *store.StateUpdate, stages map[int]int64) error {
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
			if err := commitStage(tx, id); err != nil {
				return err
			}
		} else {
			for _, p := range c.Digests {
				if err := writeDigest(tx, c.Process, c.Name, p); err != nil {
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

// trimJournal deletes journal entries of an execution, after moving it to a
// row. It resets the crash count: the execution makes progress.
func (b *batch) trimJournal(tx *sqlitedb.Tx, m *mutation, what []store.JournalTrim) error {
	if m.pack != nil {
		if err := b.promote(tx, m, codeAccepted, 0, 0, nil); err != nil {
			return err
		}
	}
	from := m.seq << journalBits
	var kept, removed []storedEntry
	err := tx.Rows("SELECT body FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", []any{from, from | (1<<journalBits - 1)}, func(r sqlitedb.Row) (bool, error) {
		d := checked(r.Bytes(0))
		for _, l := range d.entries() {
			if trimmed(what, l.Path) {
				removed = append(removed, l)
			} else {
				kept = append(kept, l)
			}
		}
		return true, d.err
	})
	if err != nil || len(removed) == 0 {
		return err
	}
	if _, err := tx.Exec("DELETE FROM journal WHERE id BETWEEN ? AND ?", from, from|(1<<journalBits-1)); err != nil {
		return err
	}
	if err := writeEntries(tx, m.seq, kept); err != nil {
		return err
	}
	m.trimmed = true
	return b.deleteEntryFiles(tx, m.seq, kept, removed)
}

func trimmed(what []store.JournalTrim, path string) bool {
	for i := range what {
		if what[i].Has(path) {
			return true
		}
	}
	return false
}

// deleteEntryFiles deletes file references of removed entries, unless other
// documents of the execution use them.
func (b *batch) deleteEntryFiles(tx *sqlitedb.Tx, seq int64, kept, removed []storedEntry) error {
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
	if r != nil && r.storedMessage != nil {
		note(r.storedMessage.docFile)
		note(r.storedMessage.dataFile)
	}
	for i := range kept {
		note(kept[i].bodyFile)
	}
	for _, l := range removed {
		if l.bodyFile == nil || needed[l.bodyFile.hash] {
			continue
		}
		note(l.bodyFile) // only once
		if _, err := tx.Exec("DELETE FROM file WHERE seq = ? AND hash = ?", seq, l.bodyFile.hash[:]); err != nil {
			return err
		}
		used, err := tx.One("SELECT 1 FROM file WHERE hash = ?", []any{l.bodyFile.hash[:]}, func(sqlitedb.Row) {})
		if err != nil {
			return err
		}
		if !used {
			b.unlinks = append(b.unlinks, l.bodyFile.hash)
		}
	}
	return nil
}
