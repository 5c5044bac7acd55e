package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"valence/atom/store/sqlite/disk"
)

// Copy is a view of the history at one moment, to be copied later. Nothing may
// be purged until then.
type Copy []source

type source struct {
	day, path string
	size      int64 // -1: the whole file
	sealed    bool
}

// Copy returns the current view.
func (h *History) Copy() Copy {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var all Copy
	for _, d := range h.days {
		for _, s := range d.segments {
			size := int64(-1) // the whole file
			s.mu.Lock()
			if s.open {
				size = s.size
			}
			sealed := s.sealed
			s.mu.Unlock()
			all = append(all, source{d.name, s.path, size, sealed})
		}
	}
	return all
}

// Segment is a segment of a copy.
type Segment struct {
	Bytes  int64 // complete so far
	Sealed bool
}

// Segments returns the segments that were copied to a folder, by their path in
// it.
func (all Copy) Segments(dir string) map[string]Segment {
	segments := map[string]Segment{}
	for _, s := range all {
		name := filepath.Join(s.day, filepath.Base(s.path))
		info, err := os.Stat(filepath.Join(dir, name))
		switch {
		case err != nil: // purged by hand meanwhile
		case s.sealed:
			segments[filepath.ToSlash(name)] = Segment{info.Size(), true}
		default: // one that a crash left unsealed may have a torn end
			segments[filepath.ToSlash(name)] = Segment{Bytes: max(s.size, 0)}
		}
	}
	return segments
}

// To writes the copy into a new folder, and flushes it.
func (all Copy) To(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, s := range all {
		to := filepath.Join(dir, s.day)
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		if err := disk.CopyFile(s.path, filepath.Join(to, filepath.Base(s.path)), s.size); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := (disk.OS{}).SyncDir(to); err != nil {
			return err
		}
	}
	return disk.OS{}.SyncDir(dir)
}
