package postgres

import (
	"slices"
	"sync"
)

// blockBits is the size of a block of sequence numbers.
const blockBits = 20

func blockOf(seq int64) int64 { return seq >> blockBits }

// numbers assigns sequence numbers from blocks that the member holds, and knows
// these blocks.
type numbers struct {
	mu     sync.Mutex
	more   *sync.Cond     // signals a new block, or the end
	next   int64          // the number to assign
	left   int64          // numbers left in its block
	spare  int64          // block to continue with; 0: none
	held   []int64        // blocks that the member holds, in order; it runs their executions
	own    map[int64]bool // blocks of this lease: whatever is in them, this start has accepted
	closed bool
}

// take returns a number that is never assigned again. It waits only if two
// blocks were used while the database could not be reached.
func (n *numbers) take() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.left == 0 && !n.closed {
		if n.spare != 0 {
			n.start()
			break
		}
		n.more.Wait()
	}
	if n.left == 0 {
		return n.next // the store is closed: nothing is committed with it
	}
	n.left--
	n.next++
	return n.next - 1
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
	n.own[block] = true
	n.hold(block)
	n.more.Broadcast()
}

// first starts to assign numbers from the spare block.
func (n *numbers) first() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.start()
}

func (n *numbers) start() {
	n.next, n.left, n.spare = n.spare<<blockBits, 1<<blockBits, 0
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
	n.held, n.left, n.spare, n.own = nil, 0, 0, map[int64]bool{}
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

func (n *numbers) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.more.Broadcast()
}

// Reserve implements store.Reservations.
func (s *Store) Reserve() int64 { return s.numbers.take() }

// Fresh implements store.Leases.
func (s *Store) Fresh(seq int64) bool {
	s.numbers.mu.Lock()
	defer s.numbers.mu.Unlock()
	return s.numbers.own[blockOf(seq)]
}
