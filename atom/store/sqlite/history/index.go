package history

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"
)

// Index finds every execution of a history, in order of number. It needs some
// 32 bytes of memory for each.
type Index struct {
	blocks  []indexBlock
	records []indexRecord
	cached  map[int32]*openBlock
	order   []int32 // of cached, the oldest first
}

type indexBlock struct {
	Block
	path string
	day  time.Time
}

type indexRecord struct {
	seq    int64
	length int64 // of its body
	block  int32
	n      int32 // in the block
}

// openBlock is a block in memory.
type openBlock struct {
	entries []summaryEntry
	bodies  []byte
}

// maxOpenBlocks is the number of blocks in memory. Executions with nearby numbers
// are in few blocks.
const maxOpenBlocks = 24

// Index reads the summaries of all blocks. A damaged one is an error.
func (h *History) Index() (*Index, error) {
	x := &Index{cached: map[int32]*openBlock{}}
	h.mu.RLock()
	days := slices.Clone(h.days)
	h.mu.RUnlock()
	for _, d := range days {
		for _, s := range d.segments {
			if err := x.add(h, d, s); err != nil {
				return nil, err
			}
		}
	}
	// Of two records of an execution, the fuller one is first.
	slices.SortFunc(x.records, func(a, b indexRecord) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(b.length, a.length), cmp.Compare(a.block, b.block))
	})
	x.records = slices.CompactFunc(x.records, func(a, b indexRecord) bool { return a.seq == b.seq })
	return x, nil
}

func (x *Index) add(h *History, d *day, s *segment) error {
	if err := s.inspect(h.o.FS); err != nil {
		return err
	}
	blocks, err := s.load()
	if err != nil {
		return err
	}
	h.markUsed(s)
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range blocks {
		b := indexBlock{blocks[i], s.path, d.date}
		summaries, err := b.read(f, false)
		var entries []summaryEntry
		if err == nil {
			entries, err = b.entries(summaries)
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", s.path, b.off, err)
		}
		for n, e := range entries {
			x.records = append(x.records, indexRecord{e.seq, e.length, int32(len(x.blocks)), int32(n)})
		}
		x.blocks = append(x.blocks, b)
	}
	return nil
}

// Len returns the number of executions.
func (x *Index) Len() int { return len(x.records) }

// Seq returns the number of an execution.
func (x *Index) Seq(i int) int64 { return x.records[i].seq }

// Find returns the first execution with a number greater than after.
func (x *Index) Find(after int64) int {
	i, _ := slices.BinarySearchFunc(x.records, after+1, func(r indexRecord, seq int64) int { return cmp.Compare(r.seq, seq) })
	return i
}

// Read returns an execution, and the day on which it was archived. It is fast
// in order of number.
func (x *Index) Read(i int) (summary, body []byte, day time.Time, err error) {
	r := x.records[i]
	b := &x.blocks[r.block]
	o := x.cached[r.block]
	if o == nil {
		if o, err = b.open(); err != nil {
			return nil, nil, time.Time{}, fmt.Errorf("%s at %d: %w", b.path, b.off, err)
		}
		if len(x.order) == maxOpenBlocks {
			delete(x.cached, x.order[0])
			x.order = slices.Delete(x.order, 0, 1)
		}
		x.cached[r.block] = o
		x.order = append(x.order, r.block)
	}
	e := o.entries[r.n]
	if e.off+e.length > int64(len(o.bodies)) {
		return nil, nil, time.Time{}, fmt.Errorf("%s at %d: %w", b.path, b.off, errTorn)
	}
	return e.summary, o.bodies[e.off : e.off+e.length : e.off+e.length], b.day, nil
}

func (b *indexBlock) open() (*openBlock, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	o := &openBlock{}
	summaries, err := b.read(f, false)
	if err == nil {
		o.entries, err = b.entries(summaries)
	}
	if err == nil {
		o.bodies, err = b.read(f, true)
	}
	return o, err
}
