package history

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Get returns an execution, given its number and the time it was received, or
// any time up to the day before it ended. If there are two records, it returns
// the fuller one. Summary is nil if there is none.
func (h *History) Get(seq int64, received time.Time) (summary, body []byte, err error) {
	from := received.UTC().Truncate(24*time.Hour).AddDate(0, 0, -1) // the clock may have been set back
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

// Oldest returns a time before which no execution in the history was received,
// or now if the history is empty.
func (h *History) Oldest(now time.Time) (time.Time, error) {
	oldest := now.UnixNano()
	for _, s := range h.segments(time.Time{}) {
		err := s.inspect(h.o.FS)
		var blocks []Block
		if err == nil {
			if blocks, err = s.load(); err == nil {
				h.markUsed(s)
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

// Has reports whether the history contains an execution.
func (h *History) Has(seq int64) (bool, error) {
	summary, _, err := h.Get(seq, time.Unix(0, 0))
	return summary != nil, err
}

// find searches one segment. bare reports whether another segment may have a
// fuller record.
func (h *History) find(s *segment, seq int64) (summary, body []byte, bare bool, err error) {
	blocks, err := s.load()
	if err != nil {
		return nil, nil, false, err
	}
	h.markUsed(s)
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
		n, found := slices.BinarySearchFunc(list, seq, func(e summaryEntry, seq int64) int { return int(min(max(e.seq-seq, -1), 1)) })
		if !found {
			continue
		}
		bodies, err := b.read(f, true)
		if err != nil || list[n].off+list[n].length > int64(len(bodies)) {
			return nil, nil, false, errors.Join(fmt.Errorf("%s at %d: cannot read its bodies", s.path, b.off), err)
		}
		return list[n].summary, bodies[list[n].off : list[n].off+list[n].length], b.Statuses&bareBit != 0, nil
	}
	return nil, nil, false, nil
}
