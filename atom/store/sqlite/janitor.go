package sqlite

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/sqlitedb"
)

const (
	clockTick = time.Second
	purgeTick = time.Minute
)

// janitor deletes expired data of a store, and looks for damage.
type janitor struct{ *Store }

// run checks the clock and deletes expired data until ctx ends.
func (s janitor) run(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	var purged, swept time.Time
	var from sweepCursor
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		steady := s.clock.steady()
		if time.Since(purged) < purgeTick {
			continue
		}
		purged = time.Now()
		if err := s.purge(steady); err != nil {
			s.o.Log.Error("cannot purge the history", "error", err)
		}
		if !steady {
			s.o.Log.Warn("clock jumped: purging by age is suspended")
			continue
		}
		op := &sweepKeysOp{from: from, now: s.clock.monotonic()}
		err := s.db.Do(ctx, op)
		if err != nil {
			s.o.Log.Error("cannot delete expired keys", "error", err)
			continue
		}
		from = op.next
		for forget := (&forgetOriginsOp{more: true}); forget.more && err == nil && ctx.Err() == nil; {
			forget.now = s.clock.monotonic()
			if err = s.db.Do(ctx, forget); err != nil {
				s.o.Log.Error("cannot delete expired origins", "error", err)
			}
		}
		if err := s.db.Do(ctx, &sweepExpiryOp{b: s.batch}); err != nil {
			s.o.Log.Error("cannot delete expired start deadlines", "error", err)
		}
		if err := s.db.Do(ctx, &sweepEventsOp{b: s.batch}); err != nil {
			s.o.Log.Error("cannot delete expired marks", "error", err)
		}
		if err := s.db.Do(ctx, &sweepWaitsOp{b: s.batch}); err != nil {
			s.o.Log.Error("cannot delete expired waits", "error", err)
		}
		if time.Since(swept) >= contentEvery {
			swept = time.Now()
			if err := s.sweepContents(ctx, s.clock.now()); err != nil && ctx.Err() == nil {
				s.o.Log.Error("cannot delete unused contents", "error", err)
			}
		}
		if err := s.purgeFiles(ctx, s.clock.now()); err != nil && ctx.Err() == nil {
			s.o.Log.Error("cannot delete files of ended executions", "error", err)
		}
		for more := true; more && err == nil; {
			if more, err = s.sweepReplies(ctx); err != nil {
				s.o.Log.Error("cannot delete expired replies", "error", err)
			}
		}
	}
}

func (s janitor) purge(byAge bool) error {
	s.archiver.purging.Lock()
	defer s.archiver.purging.Unlock()
	days, err := s.history.Purge(s.clock.now(), byAge)
	if days > 0 {
		s.o.Log.Info("history purged", "days", days)
	}
	return err
}

// verify checks for traces of a crash: torn segments, unreferenced files and a
// damaged database.
func (s janitor) verify(ctx context.Context) {
	if err := s.history.Check(); err != nil {
		s.o.Log.Error("cannot read a part of the history", "error", err)
	}
	if err := errors.Join(s.sweepFiles(ctx), s.sweepBlobs(ctx)); err != nil && ctx.Err() == nil {
		s.o.Log.Error("cannot delete unreferenced files", "error", err)
	}
	if !s.unclean {
		return
	}
	if err := s.db.Check(ctx); err != nil && ctx.Err() == nil {
		s.o.Log.Error("cannot check the database", "error", err)
	}
}

// filesPerSweep is the number of files that one sweep transaction checks.
const filesPerSweep = 200

// sweepFiles deletes files of commits that never happened.
func (s janitor) sweepFiles(ctx context.Context) error {
	folders, err := os.ReadDir(s.blobs.dir)
	if err != nil {
		return err
	}
	start := time.Now()
	var hashes [][32]byte
	for i, folder := range folders {
		list, err := os.ReadDir(filepath.Join(s.blobs.dir, folder.Name()))
		if err != nil {
			return err
		}
		for _, e := range list {
			path := filepath.Join(s.blobs.dir, folder.Name(), e.Name())
			if info, err := e.Info(); err != nil || info.ModTime().After(start.Add(-time.Minute)) && !s.unclean {
				continue
			}
			if strings.HasPrefix(e.Name(), unfinished) {
				if !s.blobs.isOwn(e.Name()) {
					err = errors.Join(err, s.o.FS.Remove(path))
				}
				continue
			}
			if h, err := hex.DecodeString(e.Name()); err == nil && len(h) == 32 {
				hashes = append(hashes, [32]byte(h))
			}
		}
		if err != nil {
			return err
		}
		if len(hashes) >= filesPerSweep || i == len(folders)-1 && len(hashes) > 0 {
			if err := s.db.Do(ctx, s.unused(hashes)); err != nil {
				return err
			}
			hashes = nil
		}
	}
	return nil
}

// unused returns an operation that deletes the files without references.
func (s *Store) unused(hashes [][32]byte) sqlitedb.Op {
	return sqlitedb.OpFunc(func(tx *sqlitedb.Tx) error {
		for _, h := range hashes {
			used, err := tx.One("SELECT 1 FROM file WHERE hash = ?", []any{h[:]}, func(sqlitedb.Row) {})
			if err != nil {
				return err
			}
			if !used {
				s.batch.unlinks = append(s.batch.unlinks, h)
			}
		}
		return nil
	})
}
