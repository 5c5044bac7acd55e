package store

import (
	"context"

	"valence/internal/sqlitedb"
)

// ReadForever reads until the time limit of reads.
func (s *Store) ReadForever() error {
	return s.read(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.One("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c", nil, func(sqlitedb.Row) {})
		return err
	})
}
