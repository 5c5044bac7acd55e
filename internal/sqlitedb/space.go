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

// Level is how much room there is on the disk.
type Level int32

// The levels, from good to bad.
const (
	Roomy   Level = iota
	Low           // nothing new should be accepted
	Scarce        // nothing new should be started either
	Release       // the ballast was given up so that what runs can end
)

// The room below which the levels begin: on a small disk a share of it.
const (
	lowBytes     = 1 << 30
	lowShare     = 20 // 1/20 of the disk
	ballastBytes = 64 << 20
	ballastShare = 200
)

// Space watches the room on the disk of a folder. It keeps a ballast there: a
// file that is deleted when room runs out, so that there is some left for
// finishing what has begun.
type Space struct {
	dir   string
	free  func(dir string) (free, total int64, err error)
	log   *slog.Logger
	level atomic.Int32

	mu      sync.Mutex
	ballast int64 // its size, 0 if it is not there
}

// NewSpace makes one. A nil free asks the system.
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

// Free gives how many bytes the disk of a folder has left for this user, and in all.
func Free(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("look for room in %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil
}

// Level is what was found last.
func (s *Space) Level() Level { return Level(s.level.Load()) }

// Run looks each second until ctx ends.
func (s *Space) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := s.Look(); err != nil {
				s.log.Error("the room on the disk is not known", "error", err)
			}
		}
	}
}

// Look sets the level, and gives up or renews the ballast.
func (s *Space) Look() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, total, err := s.free(s.dir)
	if err != nil {
		return err
	}
	low := min(lowBytes, total/lowShare)
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
	}
	switch {
	case level == Release && s.ballast > 0:
		if err := s.drop(); err != nil {
			return err
		}
	case was == Release && level < Release && level > Roomy:
		level = Release // the room is what the ballast gave: it is not for new work
	case level == Roomy && s.ballast == 0 && free > low+ballast:
		if err := s.create(ballast); err != nil { // it is a help, not a need
			s.log.Warn("there is no ballast to give up when the disk fills", "error", err)
		}
	}
	s.level.Store(int32(level))
	if level != was {
		s.log.Warn("room on the disk", "free", free, "accepting", level < Low, "starting", level < Scarce)
	}
	return nil
}

// GiveUp deletes the ballast at once: a write found the disk full.
func (s *Space) GiveUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level.Store(int32(Release))
	return s.drop()
}

func (s *Space) path() string { return filepath.Join(s.dir, "ballast") }

func (s *Space) drop() error {
	s.ballast = 0
	if err := os.Remove(s.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("give up the ballast: %w", err)
	}
	return nil
}

func (s *Space) create(size int64) error {
	f, err := os.OpenFile(s.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("set ballast aside: %w", err)
	}
	err = reserve(f, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("set ballast aside: %w", err), s.drop())
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
