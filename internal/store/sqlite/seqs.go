package sqlite

import (
	"sync"
	"sync/atomic"

	"valence/internal/sqlitedb"
)

// The settings in the database.
const (
	settingSeq   = "seq"   // no number from here on was ever given
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

// Numbers are reserved on disk ahead of being given, so that none is given
// twice whatever happens.
const (
	seqBlock  = 1 << 20
	seqMargin = seqBlock / 2
)

type seqs struct {
	next    atomic.Int64
	ceiling atomic.Int64
	mu      sync.Mutex
	raised  *sync.Cond
	closed  bool
	more    func() // asks for the ceiling to be raised
}

func newSeqs(next, ceiling int64, more func()) *seqs {
	s := &seqs{more: more}
	s.raised = sync.NewCond(&s.mu)
	s.next.Store(next)
	s.ceiling.Store(ceiling)
	return s
}

// take gives n numbers in a row, for use in the transaction that also writes
// what wants gives.
func (s *seqs) take(n int64) (first int64) { return s.next.Add(n) - n }

// reserve gives one number. It waits only if half a million were given while
// the database could not be written.
func (s *seqs) reserve() int64 {
	n := s.next.Add(1) - 1
	if n < s.ceiling.Load() {
		return n
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n >= s.ceiling.Load() && !s.closed {
		s.more()
		s.raised.Wait()
	}
	return n
}

// wants gives the ceiling that is due, 0 if the present one will do.
func (s *seqs) wants() int64 {
	if next := s.next.Load(); next+seqMargin > s.ceiling.Load() {
		return next + seqBlock
	}
	return 0
}

func (s *seqs) raise(ceiling int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ceiling.Store(ceiling)
	s.raised.Broadcast()
}

func (s *seqs) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.raised.Broadcast()
}

// Reserve gives a number; see atom.Reservations.
func (s *Store) Reserve() int64 { return s.seqs.reserve() }
