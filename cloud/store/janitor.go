package store

import (
	"context"
	"time"

	"valence/internal/sqlitedb"
)

// purgeStep limits the deletions of one transaction, and so how long other
// writers wait.
const purgeStep = 500

// Purge implements cloud.History. Requests with an undelivered instruction remain.
func (s *Store) Purge(ctx context.Context, before time.Time, replaced []string) (more bool, err error) {
	at := before.UnixNano()
	err = s.db.DoSoon(ctx, sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		more = false
		for _, query := range []string{
			"DELETE FROM record WHERE seq IN (SELECT seq FROM record WHERE time < ? LIMIT ?)",
			"DELETE FROM request WHERE id IN (SELECT id FROM request WHERE created < ? AND delivered IS NOT NULL LIMIT ?)",
			"DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT 5000) AND at < ? LIMIT ?)",
		} {
			n, err := tx.Exec(query, at, purgeStep)
			if err != nil {
				return err
			}
			more = more || n == purgeStep
		}
		for _, d := range replaced {
			n, err := tx.Exec("DELETE FROM result WHERE (deployment, atom) IN (SELECT deployment, atom FROM result WHERE deployment = ? LIMIT ?)", d, purgeStep)
			if err != nil {
				return err
			}
			if n > 0 { // one deployment at a time: results may be many
				more = true
				break
			}
		}
		return nil
	}))
	return more, err
}
