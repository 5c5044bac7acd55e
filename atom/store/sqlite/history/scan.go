package history

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Scan iterates over executions, newest first. It opens a segment or block only
// when everything newer has been returned.
type Scan struct {
	h        *History
	before   int64
	want     func(*Block) bool
	segments []*segment // not loaded yet, by max, newest first
	pending  blockHeap  // loaded, but not read
	open     entryHeap
	last     int64
}

type pendingBlock struct {
	Block
	s *segment
}

type blockHeap []pendingBlock

func (h blockHeap) Len() int           { return len(h) }
func (h blockHeap) Less(i, j int) bool { return h[i].max > h[j].max }
func (h blockHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *blockHeap) Push(x any)        { *h = append(*h, x.(pendingBlock)) }
func (h *blockHeap) Pop() any {
	x := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = pendingBlock{}
	*h = (*h)[:len(*h)-1]
	return x
}

type entryHeap [][]summaryEntry // each in order of seq; compared by its last entry

func (h entryHeap) newest(i int) int64 { return h[i][len(h[i])-1].seq }
func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h.newest(i) > h.newest(j) }
func (h entryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *entryHeap) Push(x any)        { *h = append(*h, x.([]summaryEntry)) }
func (h *entryHeap) Pop() any {
	x := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return x
}

// Scan starts below a sequence number. It skips blocks for which want returns
// false; a nil want reads all.
func (h *History) Scan(before int64, want func(*Block) bool) (*Scan, error) {
	s := &Scan{h: h, before: before, want: want, last: -1}
	for _, g := range h.segments(time.Time{}) {
		err := g.inspect(h.o.FS)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		if lo, hi := g.bounds(); lo < before && hi >= 0 {
			s.segments = append(s.segments, g)
		}
	}
	slices.SortFunc(s.segments, func(a, b *segment) int {
		_, x := a.bounds()
		_, y := b.bounds()
		return cmp.Compare(y, x)
	})
	return s, nil
}

// Next returns the next execution; ok is false at the end.
func (s *Scan) Next() (seq int64, summary []byte, ok bool, err error) {
	for {
		if err := s.fill(); err != nil {
			return 0, nil, false, err
		}
		if len(s.open) == 0 {
			return 0, nil, false, nil
		}
		list := s.open[0]
		e := list[len(list)-1]
		list[len(list)-1] = summaryEntry{}
		if list = list[:len(list)-1]; len(list) == 0 {
			heap.Pop(&s.open)
		} else {
			s.open[0] = list
			heap.Fix(&s.open, 0)
		}
		if e.seq == s.last {
			continue // recorded twice: a crash came before it was deleted from the database
		}
		s.last = e.seq
		return e.seq, e.summary, true, nil
	}
}

// fill opens every block that may hold something newer than the open ones.
func (s *Scan) fill() error {
	for {
		top := int64(-1)
		if len(s.open) > 0 {
			top = s.open.newest(0)
		}
		if len(s.segments) > 0 {
			_, hi := s.segments[0].bounds()
			if min(hi, s.before-1) >= top && (len(s.pending) == 0 || hi >= s.pending[0].max) {
				if err := s.load(); err != nil {
					return err
				}
				continue
			}
		}
		if len(s.pending) == 0 || min(s.pending[0].max, s.before-1) < top {
			return nil
		}
		if err := s.read(heap.Pop(&s.pending).(pendingBlock)); err != nil {
			return err
		}
	}
}

func (s *Scan) load() error {
	g := s.segments[0]
	s.segments = s.segments[1:]
	blocks, err := g.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // purged meanwhile
	} else if err != nil {
		return err
	}
	s.h.markUsed(g)
	for _, b := range blocks {
		if b.min < s.before && (s.want == nil || s.want(&b)) {
			heap.Push(&s.pending, pendingBlock{b, g})
		}
	}
	return nil
}

func (s *Scan) read(b pendingBlock) error {
	f, err := os.Open(b.s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer f.Close()
	var list []summaryEntry
	summaries, err := b.read(f, false)
	if err == nil {
		list, err = b.entries(summaries)
	}
	if errors.Is(err, errTorn) { // damage must not hide the rest
		s.h.o.Log.Error("skipping a damaged part of the history", "file", b.s.path, "offset", b.off, "executions", b.count)
		return nil
	} else if err != nil {
		return fmt.Errorf("%s at %d: %w", b.s.path, b.off, err)
	}
	n, _ := slices.BinarySearchFunc(list, s.before, func(e summaryEntry, seq int64) int { return cmp.Compare(e.seq, seq) })
	if n > 0 {
		heap.Push(&s.open, list[:n])
	}
	return nil
}
