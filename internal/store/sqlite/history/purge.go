package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// purged begins the name of a folder that is being deleted.
const purged = "purged-"

// Purge deletes the days that are over their time, and the oldest ones for as
// long as there is more than MaxBytes. It gives how many went.
func (h *History) Purge(now time.Time, byAge bool) (int, error) {
	n := 0
	for {
		d := h.expired(now, byAge)
		if d == nil {
			return n, h.shrink()
		}
		if err := h.remove(d); err != nil {
			return n, err
		}
		n++
	}
}

func (h *History) expired(now time.Time, byAge bool) *day {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, d := range h.days {
		if h.writers[d] != nil && d.date.AddDate(0, 0, 1).After(now) {
			continue
		}
		if byAge && d.date.AddDate(0, 0, 1+d.keep).Before(now) {
			return d
		}
	}
	if h.o.MaxBytes > 0 && h.bytes.Load() > h.o.MaxBytes && len(h.days) > 1 && h.days[0].date.Before(h.days[len(h.days)-1].date) {
		return h.days[0]
	}
	return nil
}

// remove takes a day out of sight, then off the disk.
func (h *History) remove(d *day) error {
	if err := h.end(d); err != nil {
		return err
	}
	h.mu.Lock()
	h.days = slices.DeleteFunc(h.days, func(o *day) bool { return o == d })
	h.recent = slices.DeleteFunc(h.recent, func(s *segment) bool { return slices.Contains(d.segments, s) })
	h.bytes.Add(-d.bytes)
	h.mu.Unlock()
	gone := filepath.Join(h.dir, purged+d.name)
	if err := h.o.FS.Rename(filepath.Join(h.dir, d.name), gone); err != nil {
		return err
	}
	return h.unlink(gone)
}

func (h *History) unlink(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := h.o.FS.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return h.o.FS.Remove(dir)
}

// shrink deletes the oldest segments of the only day there is, but the one
// that is being written.
func (h *History) shrink() error {
	if h.o.MaxBytes <= 0 {
		return nil
	}
	for h.bytes.Load() > h.o.MaxBytes {
		h.mu.Lock()
		var d *day
		for _, o := range h.days {
			if len(o.segments) > 1 || len(o.segments) == 1 && h.writers[o] == nil {
				d = o
				break
			}
		}
		if d == nil {
			h.mu.Unlock()
			return nil
		}
		s := d.segments[0]
		d.segments = d.segments[1:]
		h.recent = slices.DeleteFunc(h.recent, func(o *segment) bool { return o == s })
		h.mu.Unlock()
		st, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		h.grown(d, -st.Size())
		if err := h.o.FS.Remove(s.path); err != nil {
			return err
		}
	}
	return nil
}
