package postgres

import (
	"slices"
	"sync"
)

// blockBits is the size of a block of sequence numbers.
const blockBits = 20

func blockOf(seq int64) int64 { return seq >> blockBits }

// numbers assigns sequence numbers from blocks that the member holds, and knows
// these blocks. Nothing in it waits.
type numbers struct {
	mu     sync.Mutex
	own    numberRange    // numbers left of the current block
	spare  int64          // block to continue with; 0: none
	former numberRange    // numbers left of an earlier lease, for executions in memory only
	held   []int64        // blocks that the member holds, in order; it runs their executions
	fresh  map[int64]bool // blocks of this lease: whatever is in them, this start has accepted
}

// numberRange is a range of numbers that are not assigned yet.
type numberRange struct{ next, left int64 }

func (r *numberRange) take() int64 {
	if r.left == 0 {
		return 0
	}
	r.left--
	r.next++
	return r.next - 1
}

// take returns a number that is never assigned again, in a block of the lease;
// 0 if two blocks were used while the database could not be reached, or the
// lease has ended.
func (n *numbers) take() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.takeOwn()
}

// reserve is take. Without a lease it returns a number of an earlier one, in
// whose block no other member assigns numbers.
func (n *numbers) reserve() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if seq := n.takeOwn(); seq != 0 {
		return seq
	}
	return n.former.take()
}

// takeOwn is take. The caller holds n.mu.
func (n *numbers) takeOwn() int64 {
	if n.own.left == 0 && n.spare != 0 {
		n.start()
	}
	return n.own.take()
}

// wantsBlock reports whether a spare block is missing.
func (n *numbers) wantsBlock() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spare == 0
}

// add adds a block of this start, from which numbers are assigned.
func (n *numbers) add(block int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.spare = block
	n.fresh[block] = true
	n.hold(block)
}

// first starts to assign numbers from the spare block.
func (n *numbers) first() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.start()
}

func (n *numbers) start() {
	n.own, n.spare = numberRange{n.spare << blockBits, 1 << blockBits}, 0
}

// adopt adds blocks of another member.
func (n *numbers) adopt(blocks []int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range blocks {
		n.hold(b)
	}
}

func (n *numbers) hold(block int64) {
	if i, found := slices.BinarySearch(n.held, block); !found {
		n.held = slices.Insert(slices.Clone(n.held), i, block)
	}
}

// drop forgets all blocks.
func (n *numbers) drop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own.left > n.former.left {
		n.former = n.own
	}
	n.held, n.own, n.spare, n.fresh = nil, numberRange{}, 0, map[int64]bool{}
}

// unknown returns those of the blocks that the member does not know yet.
func (n *numbers) unknown(blocks []int64) []int64 {
	held := n.blocks()
	return slices.DeleteFunc(blocks, func(b int64) bool { _, known := slices.BinarySearch(held, b); return known })
}

// blocks returns the blocks that the member holds, in order. The result is
// immutable.
func (n *numbers) blocks() []int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held
}

// holds reports whether the member runs an execution.
func (n *numbers) holds(seq int64) bool {
	_, found := slices.BinarySearch(n.blocks(), blockOf(seq))
	return found
}

// Reserve implements store.Reservations.
func (s *Store) Reserve() int64 { return s.numbers.reserve() }

// Fresh implements store.Leases.
func (s *Store) Fresh(seq int64) bool {
	s.numbers.mu.Lock()
	defer s.numbers.mu.Unlock()
	return s.numbers.fresh[blockOf(seq)]
}
