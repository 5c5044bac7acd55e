package sqlitedb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Level is a level of free space.
type Level int32

// Levels, from good to bad.
const (
	Roomy   Level = iota
	Tight         // close to Low: a warning is due, everything works
	Low           // new work must not be accepted
	Scarce        // new work must not be started either
	Release       // the ballast was deleted, so that running work can end
)

// Thresholds of the levels, in bytes and as fractions of the disk.
const (
	lowBytes      = 1 << 30
	lowShare      = 20 // 1/20 of the disk
	smallDiskPart = 4  // Low is at most 1/4 of a small disk
	tightFactor   = 2  // Tight begins at twice Low
	ballastBytes  = 64 << 20
	ballastShare  = 200
)

// lowWatermark returns the free space below which nothing new is accepted: the
// larger of 1 GiB and 5 %, but at most a quarter of a small disk.
func lowWatermark(total int64) int64 {
	return min(max(lowBytes, total/lowShare), total/smallDiskPart)
}

// Space monitors the free space of a folder's disk. It maintains a ballast file
// there, and deletes it when space runs out, so that running work can end.
type Space struct {
	dir   string
	free  func(dir string) (free, total int64, err error)
	log   *slog.Logger
	level atomic.Int32

	mu      sync.Mutex
	ballast int64 // its size; 0: there is none
}

// NewSpace returns a monitor for a folder. A nil free asks the system.
func NewSpace(dir string, free func(string) (int64, int64, error), log *slog.Logger) *Space {
	if free == nil {
		free = Free
	}
	s := &Space{dir: dir, free: free, log: log}
	if st, err := os.Stat(s.path()); err == nil {
		s.ballast = st.Size()
	}
	return s
}

// Free returns the bytes that are available to this user on a folder's disk,
// and its total size.
func Free(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}

// Level returns the current level.
func (s *Space) Level() Level { return Level(s.level.Load()) }

// Run checks every second until ctx ends.
func (s *Space) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.Check(); err != nil {
				s.log.Error("cannot determine the free disk space", "error", err)
			}
		}
	}
}

// Check updates the level, and deletes or restores the ballast.
func (s *Space) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, total, err := s.free(s.dir)
	if err != nil {
		return err
	}
	low := lowWatermark(total)
	ballast := min(ballastBytes, total/ballastShare)
	was := s.Level()
	level := Roomy
	switch {
	case free < ballast:
		level = Release
	case free < low/2:
		level = Scarce
	case free < low:
		level = Low
	case free < tightFactor*low:
		level = Tight
	}
	switch {
	case level == Release && s.ballast > 0:
		if err := s.deleteBallast(); err != nil {
			return err
		}
	case was == Release && (level == Low || level == Scarce):
		level = Release // the space is that of the ballast, which is not for new work
	case level < Low && s.ballast == 0 && free > low+ballast:
		if err := s.createBallast(ballast); err != nil { // useful, but not essential
			s.log.Warn("cannot create the ballast", "error", err)
		}
	}
	s.level.Store(int32(level))
	if level != was {
		s.report(level, free, low)
	}
	return nil
}

// report logs a change of the level.
func (s *Space) report(level Level, free, low int64) {
	switch level {
	case Roomy:
		s.log.Info("disk has enough free space again", "folder", s.dir, "free", free)
	case Tight:
		s.log.Warn("disk is nearly full; below the watermark nothing is accepted", "folder", s.dir, "free", free, "watermark", low)
	default:
		s.log.Error("too little free disk space: nothing is accepted until there is more", "folder", s.dir, "free", free, "watermark", low, "starting", level < Scarce)
	}
}

// ReleaseBallast deletes the ballast immediately, after a write found the disk
// full.
func (s *Space) ReleaseBallast() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level.Store(int32(Release))
	return s.deleteBallast()
}

func (s *Space) path() string { return filepath.Join(s.dir, "ballast") }

func (s *Space) deleteBallast() error {
	s.ballast = 0
	if err := os.Remove(s.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete the ballast: %w", err)
	}
	return nil
}

func (s *Space) createBallast(size int64) error {
	f, err := os.OpenFile(s.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("create the ballast: %w", err)
	}
	err = reserve(f, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("create the ballast: %w", err), s.deleteBallast())
	}
	s.ballast = size
	return nil
}

// fill writes zeros.
func fill(f *os.File, size int64) error {
	zeros := make([]byte, 1<<20)
	for left := size; left > 0; {
		n, err := f.Write(zeros[:min(left, int64(len(zeros)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}
