package sqlite

import (
	"context"
	"time"

	"valence/internal/sqlitedb"
)

// Hurry makes the keeper do in moments what it does in seconds.
func (s *Store) Hurry(tick, young time.Duration) { s.keeper.tick, s.keeper.young = tick, young }

// AtOnce writes large snapshots so many prints at a time. It is for before Run.
func (s *Store) AtOnce(prints int) { s.stager.atOnce = prints }

// Jump moves the wall clock. It is for before Run.
func (s *Store) Jump(d time.Duration) {
	wall := s.clock.wall
	s.clock.wall = func() time.Time { return wall().Add(d) }
}

// Purge purges now.
func (s *Store) Purge() error { return s.purge(s.clock.steady()) }

// Count gives how many rows a table has.
func (s *Store) Count(table string) (n int64, err error) {
	err = s.db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT count(*) FROM "+table, nil, func(r sqlitedb.Row) { n = r.Int(0) })
		return err
	})
	return n, err
}

// Move moves what ended to the history.
func (s *Store) Move() error { return s.keeper.move() }

// Look looks for room on the disk.
func (s *Store) Look() error { return s.space.Look() }

// PurgeAt purges as if it were another time.
func (s *Store) PurgeAt(now time.Time) error {
	_, err := s.history.Purge(now, true)
	return err
}

// SweepReplies deletes the replies that are over.
func (s *Store) SweepReplies() error {
	_, err := s.sweepReplies(context.Background())
	return err
}

// Forward is as if it were later. It is for before Run.
func (s *Store) Forward(d time.Duration) {
	s.Jump(d)
	s.clock.drift = d
}

// SweepContents does at another time what housekeeping does every few hours.
func (s *Store) SweepContents(now time.Time) error {
	return s.sweepContents(context.Background(), now)
}

// Abandon leaves the folder as a kill does: nothing says that the stop was clean.
func (s *Store) Abandon() error {
	s.broken = true
	return s.Close()
}

// SweepKeys deletes keys and origins as at another time.
func (s *Store) SweepKeys(now time.Time) error {
	return s.db.Do(context.Background(), &sweepOp{now: now})
}

// Exec changes the database behind the store's back.
func (s *Store) Exec(query string) error {
	return s.db.Do(context.Background(), sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(query)
		return err
	}))
}
