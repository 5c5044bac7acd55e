package sqlite

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"valence/internal/sqlitedb"
	"valence/internal/store/sqlite/disk"
)

const (
	clockTick = time.Second
	purgeTick = time.Minute
)

// housekeeping watches the clock, and deletes what is over.
func (s *Store) housekeeping(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	var purged, swept time.Time
	var from place
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
			s.log.Error("the history cannot be purged", "error", err)
		}
		if !steady {
			s.log.Warn("the clock jumped: nothing is purged by age")
			continue
		}
		op := &sweepOp{from: from, now: s.clock.now()}
		err := s.db.Do(ctx, op)
		if err != nil {
			s.log.Error("keys that are over cannot be deleted", "error", err)
			continue
		}
		from = op.next
		if err := s.db.Do(ctx, &sweepExpiryOp{b: s.batch}); err != nil {
			s.log.Error("times to begin by cannot be deleted", "error", err)
		}
		if err := s.db.Do(ctx, &sweepEventsOp{b: s.batch}); err != nil {
			s.log.Error("marks that are over cannot be deleted", "error", err)
		}
		if err := s.db.Do(ctx, &sweepWaitsOp{b: s.batch}); err != nil {
			s.log.Error("waits that are over cannot be deleted", "error", err)
		}
		if time.Since(swept) >= contentEvery {
			swept = time.Now()
			if err := s.sweepContents(ctx, s.clock.now()); err != nil && ctx.Err() == nil {
				s.log.Error("versions that nothing needs cannot be deleted", "error", err)
			}
		}
		for more := true; more && err == nil; {
			if more, err = s.sweepReplies(ctx); err != nil {
				s.log.Error("replies that are over cannot be deleted", "error", err)
			}
		}
	}
}

func (s *Store) purge(byAge bool) error {
	s.purging.Lock()
	defer s.purging.Unlock()
	days, err := s.history.Purge(s.clock.now(), byAge)
	if days > 0 {
		s.log.Info("history purged", "days", days)
	}
	return err
}

// verify looks, in the background, at what a crash may have left: torn
// segments, files that nothing refers to, damage in the database.
func (s *Store) verify(ctx context.Context) {
	if err := s.history.Check(); err != nil {
		s.log.Error("a part of the history cannot be read", "error", err)
	}
	if err := s.sweepFiles(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("files that nothing needs cannot be deleted", "error", err)
	}
	if !s.unclean {
		return
	}
	damage, err := s.db.Check(ctx)
	if err != nil && ctx.Err() == nil {
		s.log.Error("the database cannot be checked", "error", err)
	}
	for _, d := range damage {
		s.log.Error("the database is damaged", "what", d)
	}
}

// filesPerSweep bounds what one transaction of the sweep looks at.
const filesPerSweep = 200

// sweepFiles deletes documents that no execution refers to: those of commits
// that never were.
func (s *Store) sweepFiles(ctx context.Context) error {
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
				if !s.blobs.own(e.Name()) {
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

// unused is an operation that deletes those of some files that nothing refers to.
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

// own reports whether an unfinished file is being written by this process.
func (b *blobs) own(name string) bool { return strings.HasPrefix(name, b.prefix) }

// copyTo copies every document into a new folder, flushed.
func (b *blobs) copyTo(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	folders, err := os.ReadDir(b.dir)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		to := filepath.Join(dir, folder.Name())
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		list, err := os.ReadDir(filepath.Join(b.dir, folder.Name()))
		if err != nil {
			return err
		}
		for _, e := range list {
			if strings.HasPrefix(e.Name(), unfinished) {
				continue
			}
			err := copyFile(filepath.Join(b.dir, folder.Name(), e.Name()), filepath.Join(to, e.Name()))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := sqlitedb.SyncDir(to); err != nil {
			return err
		}
	}
	return sqlitedb.SyncDir(dir)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := disk.OS{}.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
