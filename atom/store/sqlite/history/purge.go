package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// purged is the prefix of a folder that is being deleted.
const purged = "purged-"

// Purge deletes days past their retention, and the oldest ones while the
// history is larger than MaxBytes. It returns the number of deleted days.
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
		if byAge && d.date.AddDate(0, 0, 1+d.keepDays).Before(now) {
			return d
		}
	}
	if h.o.MaxBytes > 0 && h.bytes.Load() > h.o.MaxBytes && len(h.days) > 1 && h.days[0].date.Before(h.days[len(h.days)-1].date) {
		return h.days[0]
	}
	return nil
}

// remove hides a day, then deletes it.
func (h *History) remove(d *day) error {
	if err := h.sealDay(d); err != nil {
		return err
	}
	var names []string
	h.mu.RLock()
	for _, s := range d.segments {
		names = append(names, h.name(s))
	}
	h.mu.RUnlock()
	if err := h.o.Ledger.Deleting(names); err != nil {
		return err
	}
	h.mu.Lock()
	h.days = slices.DeleteFunc(h.days, func(o *day) bool { return o == d })
	h.recent = slices.DeleteFunc(h.recent, func(s *segment) bool { return slices.Contains(d.segments, s) })
	h.bytes.Add(-d.bytes)
	h.mu.Unlock()
	hidden := filepath.Join(h.dir, purged+d.name)
	if err := h.o.FS.Rename(filepath.Join(h.dir, d.name), hidden); err != nil {
		return err
	}
	return h.unlink(hidden)
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

// shrink deletes the oldest segments of the only day, except the open one.
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
		h.addBytes(d, -st.Size())
		if err := h.o.Ledger.Deleting([]string{h.name(s)}); err != nil {
			return err
		}
		if err := h.o.FS.Remove(s.path); err != nil {
			return err
		}
	}
	return nil
}
