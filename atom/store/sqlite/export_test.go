package sqlite

import (
	"context"
	"errors"
	"time"

	"valence/internal/sqlitedb"
)

// SetArchiveTimes sets the interval of the archiver and its age limit for
// packs.
func (s *Store) SetArchiveTimes(tick, packTime time.Duration) {
	s.archiver.tick, s.archiver.packTime = tick, packTime
}

// SetDigestsPerCommit sets the size above which snapshots are staged. It must
// be called before Run.
func (s *Store) SetDigestsPerCommit(digests int) { s.stager.perCommit = digests }

// JumpClock moves the wall clock. It must be called before Run.
func (s *Store) JumpClock(d time.Duration) {
	wall := s.clock.wall
	s.clock.wall = func() time.Time { return wall().Add(d) }
}

// Purge purges the history.
func (s *Store) Purge() error { return janitor{s}.purge(s.clock.steady()) }

// CountRows returns the number of rows in a table.
func (s *Store) CountRows(table string) (n int64, err error) {
	err = s.db.Read(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.One("SELECT count(*) FROM "+table, nil, func(r sqlitedb.Row) { n = r.Int(0) })
		return err
	})
	return n, err
}

// ReadForever reads until the time limit of reads.
func (s *Store) ReadForever() error {
	return s.read(context.Background(), func(tx *sqlitedb.Tx) error {
		_, err := tx.One("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c", nil, func(sqlitedb.Row) {})
		return err
	})
}

// Archive archives ended executions.
func (s *Store) Archive() error { return s.archiver.archive() }

// CheckSpace checks the free space.
func (s *Store) CheckSpace() error { return s.space.Check() }

// PurgeAt purges the history and the stored files at another time.
func (s *Store) PurgeAt(now time.Time) error {
	_, err := s.history.Purge(now, true)
	return errors.Join(err, janitor{s}.purgeFiles(context.Background(), now))
}

// SweepBlobs deletes stored files without references.
func (s *Store) SweepBlobs() error { return janitor{s}.sweepBlobs(context.Background()) }

// SweepReplies deletes expired replies.
func (s *Store) SweepReplies() error {
	_, err := janitor{s}.sweepReplies(context.Background())
	return err
}

// AdvanceClock moves the clock without a jump. It must be called before Run.
func (s *Store) AdvanceClock(d time.Duration) {
	s.JumpClock(d)
	s.clock.start = s.clock.start.Add(d)
}

// SweepContents sweeps contents at another time.
func (s *Store) SweepContents(now time.Time) error {
	return janitor{s}.sweepContents(context.Background(), now)
}

// SweepKeys deletes expired keys and origins at another time.
func (s *Store) SweepKeys(now time.Time) error {
	return s.db.Do(context.Background(), &sweepKeysOp{now: now})
}

// ForgetOrigins deletes expired origins at another time.
func (s *Store) ForgetOrigins(now time.Time) error {
	for o := (&forgetOriginsOp{now: now, more: true}); o.more; {
		if err := s.db.Do(context.Background(), o); err != nil {
			return err
		}
	}
	return nil
}

// Exec changes the database directly.
func (s *Store) Exec(query string) error {
	return s.db.Do(context.Background(), sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		_, err := tx.Exec(query)
		return err
	}))
}
