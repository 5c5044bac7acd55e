package sqlite

import (
	"context"
	"errors"
	"time"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// maxMarks is the number of marks that are kept; the oldest are deleted first.
const maxMarks = 1_000_000

const migrationEvents = `
CREATE TABLE "coalesce"(process TEXT NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(process, key)) WITHOUT ROWID;
CREATE INDEX coalesce_seq ON "coalesce"(seq);
CREATE TABLE mark(key BLOB PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX mark_until ON mark(until);
CREATE TABLE writing(seq INTEGER NOT NULL, path TEXT NOT NULL, system TEXT NOT NULL, record TEXT NOT NULL, until INTEGER NOT NULL,
  PRIMARY KEY(seq, path)) WITHOUT ROWID;
`

// coalesce makes a message the newest of its key. It supersedes an earlier one
// that has neither begun nor become due.
func (b *batch) coalesce(tx *sqlitedb.Tx, a *pendingAccept) error {
	c := a.Coalesce
	if c == nil {
		return nil
	}
	key := store.KeyBytes(c.Key)
	seq, until := int64(0), int64(0)
	_, err := tx.One(`SELECT seq, until FROM "coalesce" WHERE process = ? AND key = ?`, []any{a.Process, key}, func(r sqlitedb.Row) { seq, until = r.Int(0), r.Int(1) })
	if err != nil {
		return err
	}
	if until > b.now.UnixNano() && seq != a.Seq {
		superseded, err := b.supersede(tx, seq, c)
		if err != nil {
			return err
		}
		if superseded {
			a.Due = time.Unix(0, until).UTC()
			b.ready = append(b.ready, store.Wakeup{Process: a.Process, Seq: seq, Superseded: true})
		}
	}
	_, err = tx.Exec(`INSERT OR REPLACE INTO "coalesce"(process, key, seq, until) VALUES(?,?,?,?)`, a.Process, key, a.Seq, a.Due.UnixNano())
	return err
}

func (b *batch) supersede(tx *sqlitedb.Tx, seq int64, c *store.Coalesce) (bool, error) {
	m, err := b.mutate(tx, seq)
	if errors.Is(err, errNotLive) || errors.Is(err, store.ErrEnded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := deleteHolds(tx, m); err != nil {
		return false, err
	}
	m.outcome = &storedOutcome{Outcome: c.Superseded}
	m.after = codeSuperseded
	if err := b.lanes().leave(tx, m, false); err != nil {
		return false, err
	}
	if _, err := tx.Exec("DELETE FROM expiry WHERE seq = ?", seq); err != nil {
		return false, err
	}
	return true, b.waits().closeAll(tx, m)
}

// writeMarks writes the Writes and Marks of a change.
func writeMarks(tx *sqlitedb.Tx, c *store.Change) error {
	for _, w := range c.Writes {
		if _, err := tx.Exec("INSERT OR REPLACE INTO writing(seq, path, system, record, until) VALUES(?,?,?,?,?)", c.Seq, w.Path, w.System, w.Record, w.Until.UnixNano()); err != nil {
			return err
		}
	}
	for i := range c.Marks {
		if _, err := tx.Exec("DELETE FROM writing WHERE seq = ? AND path = ?", c.Seq, c.Marks[i].Path); err != nil {
			return err
		}
		if err := writeMark(tx, &c.Marks[i]); err != nil {
			return err
		}
	}
	return nil
}

func writeMark(tx *sqlitedb.Tx, m *store.Mark) error {
	if m.Version == "" {
		return nil
	}
	_, err := tx.Exec("INSERT OR REPLACE INTO mark(key, until) VALUES(?,?)", store.MarkKey(m.System, m.Record, m.Version), m.Until.UnixNano())
	return err
}

// Mark implements store.Echoes.
func (s *Store) Mark(ctx context.Context, marks ...store.Mark) error {
	return s.storeError(s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for i := range marks {
			if err := writeMark(tx, &marks[i]); err != nil {
				return err
			}
		}
		return nil
	})))
}

// Marked implements store.Echoes.
func (s *Store) Marked(ctx context.Context, system, record, version string) (bool, error) {
	found := false
	now := s.clock.monotonic().UnixNano()
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT until FROM mark WHERE key = ?", []any{store.MarkKey(system, record, version)}, func(r sqlitedb.Row) { found = r.Int(0) > now })
		return err
	})
	return found, err
}

// Writes implements store.Echoes.
func (s *Store) Writes(ctx context.Context) ([]store.Write, error) {
	var list []store.Write
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT seq, path, system, record, until FROM writing WHERE until > ?", []any{s.clock.monotonic().UnixNano()}, func(r sqlitedb.Row) (bool, error) {
			list = append(list, store.Write{Seq: r.Int(0), Path: r.Text(1), System: r.Text(2), Record: r.Text(3), Until: time.Unix(0, r.Int(4)).UTC()})
			return true, nil
		})
	})
	return list, err
}

// sweepEventsOp deletes expired marks, writes and coalescing keys.
type sweepEventsOp struct{ b *batch }

func (o *sweepEventsOp) Do(tx *sqlitedb.Tx) error {
	now := o.b.now.UnixNano()
	for _, query := range []string{
		"DELETE FROM mark WHERE key IN (SELECT key FROM mark WHERE until <= ? ORDER BY until LIMIT 2000)",
		"DELETE FROM writing WHERE until <= ?",
		`DELETE FROM "coalesce" WHERE until <= ? AND seq NOT IN (SELECT seq FROM execution WHERE state < 4)`,
	} {
		if _, err := tx.Exec(query, now); err != nil {
			return err
		}
	}
	n := int64(0)
	if _, err := tx.One("SELECT count(*) FROM mark", nil, func(r sqlitedb.Row) { n = r.Int(0) }); err != nil || n <= maxMarks {
		return err
	}
	_, err := tx.Exec("DELETE FROM mark WHERE key IN (SELECT key FROM mark ORDER BY until LIMIT ?)", min(n-maxMarks, 20_000))
	return err
}
