package sqlite

import (
	"context"
	"errors"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// A row of held names what an execution is held for. It goes with the hold,
// however that ends.
const migrationHolds = `CREATE TABLE held(what TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(what, seq)) WITHOUT ROWID;`

const migrationHoldsEnd = `
CREATE INDEX held_seq ON held(seq);
DELETE FROM held WHERE seq NOT IN (SELECT seq FROM execution WHERE state = 3);
`

// letGo is for an execution that is not held any more, or not for the same.
func letGo(tx *sqlitedb.Tx, t *touch) error {
	if t.becomes != stHeld {
		return nil
	}
	_, err := tx.Exec("DELETE FROM held WHERE seq = ?", t.seq)
	return err
}

func hold(tx *sqlitedb.Tx, seq int64, what []string) error {
	for _, w := range what {
		if _, err := tx.Exec("INSERT OR IGNORE INTO held(what, seq) VALUES(?,?)", w, seq); err != nil {
			return err
		}
	}
	return nil
}

// Release makes held executions ready; see atom.Holds.
func (s *Store) Release(ctx context.Context, what string, after int64, limit int) (last int64, n int, err error) {
	err = s.db.Do(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		last, n = 0, 0
		for n < limit {
			var seqs []int64
			err := tx.Rows("SELECT seq FROM held WHERE what = ? AND seq > ? ORDER BY seq LIMIT ?", []any{what, max(after, last), limit - n}, func(r sqlitedb.Row) (bool, error) {
				seqs = append(seqs, r.Int(0))
				return true, nil
			})
			if err != nil || len(seqs) == 0 {
				return err
			}
			for _, seq := range seqs {
				last = seq
				if _, err := tx.Exec("DELETE FROM held WHERE what = ? AND seq = ?", what, seq); err != nil {
					return err
				}
				t, err := s.batch.find(tx, seq)
				if errors.Is(err, errNowhere) || errors.Is(err, atom.ErrEnded) {
					continue
				}
				if err != nil {
					return err
				}
				if t.home != nil || t.becomes != stHeld {
					continue
				}
				if err := s.batch.release(tx, t); err != nil {
					return err
				}
				n++
			}
		}
		return nil
	}))
	if err != nil {
		return 0, 0, s.refuse(err)
	}
	return last, n, nil
}

// HeldFor counts what is held; see atom.Holds.
func (s *Store) HeldFor(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		return tx.Rows("SELECT h.what, count(*) FROM held h JOIN execution e ON e.seq = h.seq WHERE e.state = 3 GROUP BY h.what", nil, func(r sqlitedb.Row) (bool, error) {
			out[r.Text(0)] = r.Int(1)
			return true, nil
		})
	})
	return out, err
}
