package postgres

import (
	"context"
	"errors"

	"valence/internal/pgdb"
)

// ClaimName implements store.Leases. A member whose lease has ended holds no names.
func (s *Store) ClaimName(ctx context.Context, name string) (epoch int64, claimed bool, err error) {
	if epoch = s.lease.current(); !s.Holds(epoch) {
		return 0, false, nil
	}
	err = s.writes.QueryRow(ctx, `INSERT INTO atom_claim AS c(name, epoch) VALUES($1, $2) ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch
		WHERE c.epoch = excluded.epoch OR NOT EXISTS (SELECT FROM atom_member m WHERE m.epoch = c.epoch AND m.until >= clock_timestamp())
		RETURNING c.epoch`, name, epoch).Scan(&epoch)
	switch {
	case errors.Is(err, pgdb.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, unavailable(err)
	}
	return epoch, s.Holds(epoch), nil
}

// ReleaseName implements store.Leases.
func (s *Store) ReleaseName(ctx context.Context, name string) error {
	_, err := s.writes.Exec(ctx, "DELETE FROM atom_claim WHERE name = $1 AND epoch = $2", name, s.lease.current())
	if err != nil {
		return unavailable(err)
	}
	return nil
}
