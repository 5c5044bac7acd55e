// Package history stores ended executions. Each day on which executions ended
// is a folder of append-only segments, so purging deletes files, and a long
// history does not slow down live executions. There is no index: each block of
// a segment has a header with its sequence numbers, processes and statuses. A
// segment torn by a crash is cut back to its last complete block.
package history

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/store/sqlite/disk"
)

// Options configures a history.
type Options struct {
	FS       disk.FS
	Log      *slog.Logger
	Keep     int   // default retention in days
	MaxBytes int64 // maximum size; above it the oldest day is deleted; 0: unlimited
	// AnyDay leaves the segments of all days open, for executions in any order.
	AnyDay bool
	// Ledger records each segment; it may be nil.
	Ledger Ledger
	// SegmentBytes is the size at which a segment is sealed; 0 means 64 MiB.
	SegmentBytes int64
}

// Ledger records which segments exist, by their path in the history, so that a
// missing one is noticed. A recorded segment is on disk already. A History
// calls one method at a time, except Sealed.
type Ledger interface {
	Created(segment string) error
	// Sealed records complete segments with their sizes.
	Sealed(sizes map[string]int64) error
	// Deleting is called before segments are deleted.
	Deleting(segments []string) error
}

// noLedger records nothing.
type noLedger struct{}

func (noLedger) Created(string) error          { return nil }
func (noLedger) Sealed(map[string]int64) error { return nil }
func (noLedger) Deleting([]string) error       { return nil }

// Sizes of blocks and caches.
const (
	blockBytes = 256 << 10
	blockItems = 2000
	maxLoaded  = 16            // directories of sealed segments in memory
	lateAge    = time.Hour     // executions older than this go to separate blocks
	dayFormat  = time.DateOnly // of a folder's name, followed by "." and its retention in days
)

// History is a folder of days. Append and Purge must not run concurrently; all
// other methods may.
type History struct {
	dir   string
	o     Options
	bytes atomic.Int64

	mu      sync.RWMutex
	days    []*day // by date, then by retention
	recent  []*segment
	writers map[*day]*writer
}

// day is the folder of executions that ended on one day and have the same
// retention.
type day struct {
	name     string
	date     time.Time
	keepDays int
	next     int
	segments []*segment
	bytes    int64
}

// Open opens the history in a folder, and creates it if needed. Segments that a
// crash left unsealed are repaired by Check, or when first read.
func Open(dir string, o Options) (*History, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.Ledger == nil {
		o.Ledger = noLedger{}
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
		if strings.HasPrefix(e.Name(), purged) { // a crash interrupted a purge
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
	if d.keepDays, err = strconv.Atoi(keep); err != nil || d.keepDays < 1 {
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

// Bytes returns the size of the history on disk.
func (h *History) Bytes() int64 { return h.bytes.Load() }

// Append appends records of executions that ended on the day of now. With sync,
// they are flushed when it returns. A record may be appended twice: readers
// return it once.
func (h *History) Append(records []*Record, now time.Time, sync bool) error {
	slices.SortStableFunc(records, func(a, b *Record) int { return int(min(max(a.Seq-b.Seq, -1), 1)) })
	groups := map[int][]*Record{}
	for _, r := range records {
		keep := r.Keep
		if keep <= 0 {
			keep = h.o.Keep
		}
		groups[keep] = append(groups[keep], r)
	}
	for keep, group := range groups {
		if err := h.appendGroup(group, now, keep, sync); err != nil {
			return fmt.Errorf("write to the history: %w", err)
		}
	}
	return nil
}

func (h *History) appendGroup(records []*Record, now time.Time, keep int, sync bool) error {
	w, d, err := h.writer(now, keep)
	if err != nil {
		return err
	}
	before := w.seg.size
	// Old executions would widen the range of a block and slow down every
	// search, so they get blocks of their own.
	late := slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return r.Received >= now.Add(-lateAge).UnixNano() })
	soon := slices.DeleteFunc(slices.Clone(records), func(r *Record) bool { return r.Received < now.Add(-lateAge).UnixNano() })
	for _, list := range [][]*Record{soon, late} {
		for len(list) > 0 && err == nil {
			n := nextBlock(list)
			err = w.append(list[:n])
			list = list[n:]
		}
	}
	if err == nil && sync {
		err = w.f.Sync()
	}
	h.addBytes(d, w.seg.size-before)
	if err != nil { // continue in a new segment
		h.mu.Lock()
		delete(h.writers, d)
		h.mu.Unlock()
		return errors.Join(err, w.f.Truncate(w.seg.size), w.f.Close())
	}
	if w.seg.size >= h.o.SegmentBytes {
		return h.sealDay(d)
	}
	return nil
}

func (h *History) addBytes(d *day, n int64) {
	h.mu.Lock()
	d.bytes += n
	h.mu.Unlock()
	h.bytes.Add(n)
}

// nextBlock returns how many records go into the next block.
func nextBlock(records []*Record) int {
	bytes := 0
	for i, r := range records {
		bytes += len(r.Summary) + len(r.Body)
		if i+1 == blockItems || bytes >= blockBytes {
			return i + 1
		}
	}
	return len(records)
}

// writer returns the open segment of a day, and seals those of other days.
func (h *History) writer(now time.Time, keep int) (*writer, *day, error) {
	name := now.UTC().Format(dayFormat) + "." + strconv.Itoa(keep)
	h.mu.RLock()
	var d *day
	var old []*day
	for o := range h.writers {
		if o.name == name {
			d = o
		} else if o.keepDays == keep && !h.o.AnyDay {
			old = append(old, o)
		}
	}
	w := h.writers[d]
	h.mu.RUnlock()
	for _, o := range old {
		if err := h.sealDay(o); err != nil {
			return nil, nil, err
		}
	}
	if w != nil {
		return w, d, nil
	}
	return h.startSegment(name)
}

// startSegment creates a segment, and its day if needed, and flushes their
// names.
func (h *History) startSegment(name string) (*writer, *day, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, found := slices.BinarySearchFunc(h.days, name, func(d *day, name string) int { return strings.Compare(d.name, name) })
	folder := filepath.Join(h.dir, name)
	if !found {
		if err := h.o.FS.Mkdir(folder); err != nil {
			return nil, nil, err
		}
		if err := h.o.FS.SyncDir(h.dir); err != nil {
			return nil, nil, err
		}
		h.days = slices.Insert(h.days, i, parseDay(name))
	}
	d := h.days[i]
	w, err := create(h.o.FS, filepath.Join(folder, fmt.Sprintf("%06d.seg", d.next)))
	if err != nil {
		return nil, nil, err
	}
	d.next++
	if err := h.o.FS.SyncDir(folder); err != nil {
		return nil, nil, errors.Join(err, w.f.Close())
	}
	if err := h.o.Ledger.Created(h.name(w.seg)); err != nil {
		return nil, nil, errors.Join(err, w.f.Close())
	}
	d.segments = append(d.segments, w.seg)
	h.writers[d] = w
	return w, d, nil
}

// sealDay seals the open segment of a day.
func (h *History) sealDay(d *day) error {
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
	h.markUsed(w.seg)
	return h.recordSealed([]*segment{w.seg})
}

// name returns the path of a segment in the history.
func (h *History) name(s *segment) string {
	return path.Join(filepath.Base(filepath.Dir(s.path)), filepath.Base(s.path))
}

// recordSealed records the sizes of segments that are sealed and still exist.
func (h *History) recordSealed(segments []*segment) error {
	sizes := map[string]int64{}
	for _, s := range segments {
		s.mu.Lock()
		sealed := s.sealed
		s.mu.Unlock()
		if info, err := os.Stat(s.path); err == nil && sealed {
			sizes[h.name(s)] = info.Size()
		}
	}
	if len(sizes) == 0 {
		return nil
	}
	return h.o.Ledger.Sealed(sizes)
}

// OpenSegments returns the sizes of the segments that are being written, by
// their path in the history. That much of them is complete.
func (h *History) OpenSegments() map[string]int64 {
	h.mu.RLock()
	defer h.mu.RUnlock()
	sizes := map[string]int64{}
	for _, w := range h.writers {
		w.seg.mu.Lock()
		sizes[h.name(w.seg)] = w.seg.size
		w.seg.mu.Unlock()
	}
	return sizes
}

// Highest returns the highest number of an execution in the history, or 0.
func (h *History) Highest() (highest int64, err error) {
	for _, s := range h.segments(time.Time{}) {
		if err := s.inspect(h.o.FS); err != nil {
			return 0, err
		}
		_, hi := s.bounds()
		highest = max(highest, hi)
	}
	return highest, nil
}

// markUsed caches the directories of recently used segments in memory.
func (h *History) markUsed(s *segment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.recent, s); i >= 0 {
		h.recent = slices.Delete(h.recent, i, i+1)
	}
	h.recent = append(h.recent, s)
	if len(h.recent) > maxLoaded {
		h.recent[0].drop()
		h.recent = slices.Delete(h.recent, 0, 1)
	}
}

// Check repairs segments that a crash left unsealed.
func (h *History) Check() error {
	var errs []error
	segments := h.segments(time.Time{})
	for _, s := range segments {
		if err := s.inspect(h.o.FS); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, h.recordSealed(segments))...)
}

// segments returns the segments of days from a date on, oldest first.
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

// Close seals the open segments.
func (h *History) Close() error {
	h.mu.RLock()
	var open []*day
	for d := range h.writers {
		open = append(open, d)
	}
	h.mu.RUnlock()
	var errs []error
	for _, d := range open {
		errs = append(errs, h.sealDay(d))
	}
	return errors.Join(errs...)
}
