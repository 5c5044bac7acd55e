package sqlite

import (
	"sync"
	"sync/atomic"

	"valence/internal/sqlitedb"
)

// Settings in the database.
const (
	settingSeq   = "seq"   // every number from here on is unused
	settingClean = "clean" // 1 after a clean stop
)

func setSetting(tx *sqlitedb.Tx, name string, value int64) error {
	_, err := tx.Exec("INSERT OR REPLACE INTO setting(name, value) VALUES(?,?)", name, value)
	return err
}

func setting(tx *sqlitedb.Tx, name string) (value int64, err error) {
	_, err = tx.One("SELECT value FROM setting WHERE name = ?", []any{name}, func(r sqlitedb.Row) { value = r.Int(0) })
	return value, err
}

// Numbers are reserved on disk before they are used, so that none is used twice
// after a crash.
const (
	seqBlock  = 1 << 20
	seqMargin = seqBlock / 2
)

type sequence struct {
	next     atomic.Int64
	ceiling  atomic.Int64
	mu       sync.Mutex
	raised   *sync.Cond
	closed   bool
	wantMore func() // requests a commit that raises the ceiling
}

func newSequence(next, ceiling int64, more func()) *sequence {
	s := &sequence{wantMore: more}
	s.raised = sync.NewCond(&s.mu)
	s.next.Store(next)
	s.ceiling.Store(ceiling)
	return s
}

// allocate returns the first of n consecutive numbers, for the transaction that
// also writes wantedCeiling.
func (s *sequence) allocate(n int64) (first int64) { return s.next.Add(n) - n }

// reserve returns a number. It blocks only if half a million were reserved
// while the database could not be written.
func (s *sequence) reserve() int64 {
	n := s.next.Add(1) - 1
	if n < s.ceiling.Load() {
		return n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n >= s.ceiling.Load() && !s.closed {
		s.wantMore()
		s.raised.Wait()
	}
	return n
}

// wantedCeiling returns the ceiling to write, or 0 if the current one is high
// enough.
func (s *sequence) wantedCeiling() int64 {
	if next := s.next.Load(); next+seqMargin > s.ceiling.Load() {
		return next + seqBlock
	}
	return 0
}

func (s *sequence) raise(ceiling int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ceiling.Store(ceiling)
	s.raised.Broadcast()
}

func (s *sequence) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.raised.Broadcast()
}

// Reserve implements store.Reservations.
func (s *Store) Reserve() int64 { return s.seqs.reserve() }
