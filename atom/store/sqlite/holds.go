package sqlite

import (
	"context"
	"errors"

	"valence/atom/store"
	"valence/internal/sqlitedb"
)

// A row of held names one thing that an execution is held for. It is deleted
// when the hold ends.
const migrationHolds = `CREATE TABLE held(what TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(what, seq)) WITHOUT ROWID;`

const migrationHoldsEnd = `
CREATE INDEX held_seq ON held(seq);
DELETE FROM held WHERE seq NOT IN (SELECT seq FROM execution WHERE state = 3);
`

// deleteHolds ends the hold of an execution, if it is held.
func deleteHolds(tx *sqlitedb.Tx, m *mutation) error {
	if m.after != codeHeld {
		return nil
	}
	_, err := tx.Exec("DELETE FROM held WHERE seq = ?", m.seq)
	return err
}

func insertHolds(tx *sqlitedb.Tx, seq int64, causes []string) error {
	for _, cause := range causes {
		if _, err := tx.Exec("INSERT OR IGNORE INTO held(what, seq) VALUES(?,?)", cause, seq); err != nil {
			return err
		}
	}
	return nil
}

// Release implements store.Holds.
func (s *Store) Release(ctx context.Context, cause string, after int64, limit int) (last int64, n int, err error) {
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		last, n = 0, 0
		for n < limit {
			var seqs []int64
			err := tx.Rows("SELECT seq FROM held WHERE what = ? AND seq > ? ORDER BY seq LIMIT ?", []any{cause, max(after, last), limit - n}, func(r sqlitedb.Row) (bool, error) {
				seqs = append(seqs, r.Int(0))
				return true, nil
			})
			if err != nil || len(seqs) == 0 {
				return err
			}
			for _, seq := range seqs {
				last = seq
				if _, err := tx.Exec("DELETE FROM held WHERE what = ? AND seq = ?", cause, seq); err != nil {
					return err
				}
				m, err := s.batch.mutate(tx, seq)
				if errors.Is(err, errNotLive) || errors.Is(err, store.ErrEnded) {
					continue
				}
				if err != nil {
					return err
				}
				if m.pack != nil || m.after != codeHeld {
					continue
				}
				if err := s.batch.makeReady(tx, m); err != nil {
					return err
				}
				n++
			}
		}
		return nil
	}))
	if err != nil {
		return 0, 0, s.storeError(err)
	}
	return last, n, nil
}

// HeldFor implements store.Holds.
func (s *Store) HeldFor(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT h.what, count(*) FROM held h JOIN execution e ON e.seq = h.seq WHERE e.state = 3 GROUP BY h.what", nil, func(r sqlitedb.Row) (bool, error) {
			out[r.Text(0)] = r.Int(1)
			return true, nil
		})
	})
	return out, err
}
