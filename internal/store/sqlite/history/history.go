// Package history keeps ended executions: a folder for each day on which they
// ended, in it append-only segments, so that purging is deleting files and a
// long history costs nothing that runs. It needs no database: every block of a
// segment tells which sequence numbers, processes and statuses are in it, and
// a segment that a crash tore is cut back to its last whole block.
package history

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/internal/store/sqlite/disk"
)

// Options of a history.
type Options struct {
	FS       disk.FS
	Log      *slog.Logger
	Keep     int   // days an execution is kept that does not say
	MaxBytes int64 // the oldest day goes when there is more; 0: no bound
	// SegmentBytes is the size at which a segment ends; 0 is 64 MiB.
	SegmentBytes int64
}

// Sizes of what is read and compressed at once.
const (
	blockBytes = 256 << 10
	blockItems = 2000
	loaded     = 16            // directories of sealed segments kept in memory
	lateAfter  = time.Hour     // what took longer gets blocks of its own
	dayFormat  = time.DateOnly // of a folder's name, which goes on with "." and the days it is kept
)

// History is a folder of days. Append and Purge are for one goroutine at a
// time; the rest may be called from any.
type History struct {
	dir   string
	o     Options
	bytes atomic.Int64

	mu      sync.RWMutex
	days    []*day // by date, then by how long they are kept
	recent  []*segment
	writers map[*day]*writer
}

// day is the folder of what ended on one day and is kept equally long.
type day struct {
	name     string
	date     time.Time
	keep     int
	next     int
	segments []*segment
	bytes    int64
}

// Open reads which days there are. Segments that a crash left open are looked
// at when they are first needed, or by Check.
func Open(dir string, o Options) (*History, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	h := &History{dir: dir, o: o, writers: map[*day]*writer{}}
	if err := o.FS.Mkdir(dir); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name(), purged) { // a crash came between
			if err := h.unlink(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if d := parseDay(e.Name()); d != nil && e.IsDir() {
			if err := h.readDay(d); err != nil {
				return nil, err
			}
			h.days = append(h.days, d)
		}
	}
	slices.SortFunc(h.days, func(a, b *day) int { return strings.Compare(a.name, b.name) })
	return h, nil
}

func parseDay(name string) *day {
	date, keep, ok := strings.Cut(name, ".")
	if !ok {
		return nil
	}
	d := &day{name: name, next: 1}
	var err error
	if d.date, err = time.Parse(dayFormat, date); err != nil {
		return nil
	}
	if d.keep, err = strconv.Atoi(keep); err != nil || d.keep < 1 {
		return nil
	}
	return d
}

func (h *History) readDay(d *day) error {
	list, err := os.ReadDir(filepath.Join(h.dir, d.name))
	if err != nil {
		return err
	}
	for _, e := range list {
		n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".seg"))
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		d.next = max(d.next, n+1)
		d.bytes += info.Size()
		h.bytes.Add(info.Size())
		d.segments = append(d.segments, &segment{path: filepath.Join(h.dir, d.name, e.Name())})
	}
	return nil
}

// Bytes is how much the history takes on the disk.
func (h *History) Bytes() int64 { return h.bytes.Load() }

// Append adds items that ended on the day of now. With sync they are on disk
// when it returns. An item may be added again: readers give it once.
func (h *History) Append(items []*Item, now time.Time, sync bool) error {
	slices.SortStableFunc(items, func(a, b *Item) int { return int(min(max(a.Seq-b.Seq, -1), 1)) })
	groups := map[int][]*Item{}
	for _, it := range items {
		keep := it.Keep
		if keep <= 0 {
			keep = h.o.Keep
		}
		groups[keep] = append(groups[keep], it)
	}
	for keep, group := range groups {
		if err := h.appendKept(group, now, keep, sync); err != nil {
			return fmt.Errorf("write to the history: %w", err)
		}
	}
	return nil
}

func (h *History) appendKept(items []*Item, now time.Time, keep int, sync bool) error {
	w, d, err := h.writer(now, keep)
	if err != nil {
		return err
	}
	before := w.seg.size
	// Those that took long would make the range of a block wide, and so every
	// search slow: they go by themselves.
	late := slices.DeleteFunc(slices.Clone(items), func(it *Item) bool { return it.Received >= now.Add(-lateAfter).UnixNano() })
	soon := slices.DeleteFunc(slices.Clone(items), func(it *Item) bool { return it.Received < now.Add(-lateAfter).UnixNano() })
	for _, list := range [][]*Item{soon, late} {
		for len(list) > 0 && err == nil {
			n := blockOf(list)
			err = w.append(list[:n])
			list = list[n:]
		}
	}
	if err == nil && sync {
		err = w.f.Sync()
	}
	h.grown(d, w.seg.size-before)
	if err != nil { // what follows goes into a new segment
		h.mu.Lock()
		delete(h.writers, d)
		h.mu.Unlock()
		return errors.Join(err, w.f.Truncate(w.seg.size), w.f.Close())
	}
	if w.seg.size >= h.o.SegmentBytes {
		return h.end(d)
	}
	return nil
}

func (h *History) grown(d *day, n int64) {
	h.mu.Lock()
	d.bytes += n
	h.mu.Unlock()
	h.bytes.Add(n)
}

// blockOf is how many items go into the next block.
func blockOf(items []*Item) int {
	bytes := 0
	for i, it := range items {
		bytes += len(it.Summary) + len(it.Body)
		if i+1 == blockItems || bytes >= blockBytes {
			return i + 1
		}
	}
	return len(items)
}

// writer gives the open segment of a day, ending those of other days.
func (h *History) writer(now time.Time, keep int) (*writer, *day, error) {
	name := now.UTC().Format(dayFormat) + "." + strconv.Itoa(keep)
	h.mu.RLock()
	var d *day
	var old []*day
	for o := range h.writers {
		if o.name == name {
			d = o
		} else if o.keep == keep {
			old = append(old, o)
		}
	}
	w := h.writers[d]
	h.mu.RUnlock()
	for _, o := range old {
		if err := h.end(o); err != nil {
			return nil, nil, err
		}
	}
	if w != nil {
		return w, d, nil
	}
	return h.begin(name)
}

// begin makes a segment, and its day if need be, with their names flushed.
func (h *History) begin(name string) (*writer, *day, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearchFunc(h.days, name, func(d *day, name string) int { return strings.Compare(d.name, name) })
	path := filepath.Join(h.dir, name)
	if !found {
		if err := h.o.FS.Mkdir(path); err != nil {
			return nil, nil, err
		}
		if err := h.o.FS.SyncDir(h.dir); err != nil {
			return nil, nil, err
		}
		h.days = slices.Insert(h.days, i, parseDay(name))
	}
	d := h.days[i]
	w, err := create(h.o.FS, filepath.Join(path, fmt.Sprintf("%06d.seg", d.next)))
	if err != nil {
		return nil, nil, err
	}
	d.next++
	if err := h.o.FS.SyncDir(path); err != nil {
		return nil, nil, errors.Join(err, w.f.Close())
	}
	d.segments = append(d.segments, w.seg)
	h.writers[d] = w
	return w, d, nil
}

// end seals the open segment of a day.
func (h *History) end(d *day) error {
	h.mu.Lock()
	w := h.writers[d]
	delete(h.writers, d)
	h.mu.Unlock()
	if w == nil {
		return nil
	}
	if err := w.seal(); err != nil {
		return fmt.Errorf("seal a segment: %w", err)
	}
	h.used(w.seg)
	return nil
}

// used keeps the directories of the segments used last in memory.
func (h *History) used(s *segment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.recent, s); i >= 0 {
		h.recent = slices.Delete(h.recent, i, i+1)
	}
	h.recent = append(h.recent, s)
	if len(h.recent) > loaded {
		h.recent[0].drop()
		h.recent = slices.Delete(h.recent, 0, 1)
	}
}

// Check looks at segments that a crash left open, cutting off what is torn.
func (h *History) Check() error {
	var errs []error
	for _, s := range h.segments(time.Time{}) {
		if err := s.inspect(h.o.FS); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// segments gives those of days not before a date, oldest first.
func (h *History) segments(from time.Time) []*segment {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var all []*segment
	for _, d := range h.days {
		if !d.date.Before(from) {
			all = append(all, d.segments...)
		}
	}
	return all
}

// Get finds an execution by its number and the time it was received, or any
// time on the day before it ended. Of one that is there twice it gives what
// holds more.
func (h *History) Get(seq int64, received time.Time) (summary, body []byte, err error) {
	from := received.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1) // a clock may have been set back
	for _, s := range h.segments(from) {
		if err := s.inspect(h.o.FS); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // purged meanwhile
			}
			return nil, nil, err
		}
		if lo, hi := s.bounds(); seq < lo || seq > hi {
			continue
		}
		one, rest, bare, err := h.find(s, seq)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if one != nil && (summary == nil || len(rest) > len(body)) {
			summary, body = one, rest
		}
		if one != nil && !bare {
			break
		}
	}
	return summary, body, nil
}

// Oldest gives a time before which nothing in the history was received; now,
// if it is empty.
func (h *History) Oldest(now time.Time) (time.Time, error) {
	oldest := now.UnixNano()
	for _, s := range h.segments(time.Time{}) {
		err := s.inspect(h.o.FS)
		var blocks []Block
		if err == nil {
			if blocks, err = s.load(); err == nil {
				h.used(s)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // purged meanwhile
			return time.Time{}, err
		}
		for i := range blocks {
			oldest = min(oldest, blocks[i].First)
		}
	}
	return time.Unix(0, oldest), nil
}

// Has reports whether an execution is there.
func (h *History) Has(seq int64) (bool, error) {
	summary, _, err := h.Get(seq, time.Unix(0, 0))
	return summary != nil, err
}

// find looks in one segment. It tells whether there may be more of it in
// another.
func (h *History) find(s *segment, seq int64) (summary, body []byte, bare bool, err error) {
	blocks, err := s.load()
	if err != nil {
		return nil, nil, false, err
	}
	h.used(s)
	var f *os.File
	for i := range blocks {
		b := &blocks[i]
		if seq < b.min || seq > b.max {
			continue
		}
		if f == nil {
			if f, err = os.Open(s.path); err != nil {
				return nil, nil, false, err
			}
			defer f.Close()
		}
		summaries, err := b.read(f, false)
		if err != nil {
			return nil, nil, false, fmt.Errorf("%s at %d: %w", s.path, b.off, err)
		}
		list, err := b.entries(summaries)
		if err != nil {
			return nil, nil, false, fmt.Errorf("%s at %d: %w", s.path, b.off, err)
		}
		n, found := slices.BinarySearchFunc(list, seq, func(e entry, seq int64) int { return int(min(max(e.seq-seq, -1), 1)) })
		if !found {
			continue
		}
		bodies, err := b.read(f, true)
		if err != nil || list[n].off+list[n].length > int64(len(bodies)) {
			return nil, nil, false, errors.Join(fmt.Errorf("%s at %d: its bodies cannot be read", s.path, b.off), err)
		}
		return list[n].summary, bodies[list[n].off : list[n].off+list[n].length], b.Statuses&bareBit != 0, nil
	}
	return nil, nil, false, nil
}

// Close seals what is being written.
func (h *History) Close() error {
	h.mu.RLock()
	var open []*day
	for d := range h.writers {
		open = append(open, d)
	}
	h.mu.RUnlock()
	var errs []error
	for _, d := range open {
		errs = append(errs, h.end(d))
	}
	return errors.Join(errs...)
}

// Copy is what there was at a moment, to be copied later. Nothing may be
// purged in between.
type Copy []source

type source struct {
	day, path string
	size      int64
}

// Copy notes what there is now.
func (h *History) Copy() Copy {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var all Copy
	for _, d := range h.days {
		for _, s := range d.segments {
			size := int64(-1) // all of it
			s.mu.Lock()
			if s.live {
				size = s.size
			}
			s.mu.Unlock()
			all = append(all, source{d.name, s.path, size})
		}
	}
	return all
}

// To writes it into a new folder, flushed.
func (all Copy) To(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, s := range all {
		to := filepath.Join(dir, s.day)
		if err := os.MkdirAll(to, 0o700); err != nil {
			return err
		}
		if err := copyFile(s.path, filepath.Join(to, filepath.Base(s.path)), s.size); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := (disk.OS{}).SyncDir(to); err != nil {
			return err
		}
	}
	return disk.OS{}.SyncDir(dir)
}

func copyFile(from, to string, size int64) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := disk.OS{}.Create(to)
	if err != nil {
		return err
	}
	var r io.Reader = in
	if size >= 0 {
		r = io.LimitReader(in, size)
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Sync(), out.Close())
}
