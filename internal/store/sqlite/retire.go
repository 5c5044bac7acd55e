package sqlite

import (
	"time"

	"valence/internal/sqlitedb"
)

// retirement is what left the database in a transaction.
type retirement struct {
	packs    []*pack
	rows     []*young
	promoted map[int64]bool
	unref    map[int64]int
}

// retireOp deletes what moved to the history, and gives the members of old
// packs that live on rows of their own.
type retireOp struct {
	s     *Store
	packs []*pack
	rows  []*young
}

func (o *retireOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	r := &retirement{promoted: map[int64]bool{}, unref: map[int64]int{}}
	gone := map[*pack]bool{}
	for _, p := range o.packs {
		ok, err := b.retire(tx, p, r)
		if err != nil {
			return err
		}
		gone[p] = ok
	}
	for _, y := range o.rows {
		b.s.mu.Lock()
		p := b.s.mem.at[y.seq]
		b.s.mu.Unlock()
		if p != nil && !gone[p] || b.touches[y.seq] != nil {
			continue // what is written of it in change needs the row to be known as ended
		}
		if _, err := tx.Exec("DELETE FROM execution WHERE seq = ?", y.seq); err != nil {
			return err
		}
		if _, err := tx.Exec("DELETE FROM journal WHERE id BETWEEN ? AND ?", y.seq<<journalBits, y.seq<<journalBits|(1<<journalBits-1)); err != nil {
			return err
		}
		free, err := freeFiles(tx, y.seq, y.seq, nil)
		if err != nil {
			return err
		}
		b.unlinks = append(b.unlinks, free...)
		r.rows = append(r.rows, y)
		r.unref[y.change]++
	}
	for id, n := range r.unref {
		b.s.mu.Lock()
		left := b.s.mem.refs[id] - n
		b.s.mu.Unlock()
		if left > 0 {
			continue
		}
		if _, err := tx.Exec("DELETE FROM change WHERE id = ?", id); err != nil {
			return err
		}
	}
	b.retired = r
	return nil
}

// retire deletes a pack, unless some of it changed since it was looked at.
func (b *batch) retire(tx *sqlitedb.Tx, p *pack, r *retirement) (bool, error) {
	var live []int64
	for seq := p.first; seq <= p.last; seq++ {
		if b.touches[seq] != nil {
			return false, nil
		}
		b.s.mu.Lock()
		f, y := p.fate(seq), b.s.mem.young[seq]
		b.s.mu.Unlock()
		switch {
		case f == ended && !y.moved:
			return false, nil
		case f == waits || f == runs:
			live = append(live, seq)
		}
	}
	keep := map[int64]bool{}
	for i, f := range p.fates {
		keep[p.first+int64(i)] = f == left
	}
	for _, seq := range live {
		t, err := b.find(tx, seq)
		if err != nil {
			return false, err
		}
		if err := b.promote(tx, t, stAccepted, 0, 0, nil, nil); err != nil {
			return false, err
		}
		t.leaves = nil // nothing needs to know: the pack goes with it
		r.promoted[seq] = true
		keep[seq] = true
	}
	if _, err := tx.Exec("DELETE FROM intake WHERE first = ?", p.first); err != nil {
		return false, err
	}
	free, err := freeFiles(tx, p.first, p.last, func(seq int64) bool { return keep[seq] })
	if err != nil {
		return false, err
	}
	b.unlinks = append(b.unlinks, free...)
	for _, id := range p.changes {
		r.unref[id]++
	}
	r.packs = append(r.packs, p)
	return true, nil
}

// forget takes what left the database out of memory.
func (r *retirement) forget(m *memory, now time.Time) {
	if r == nil {
		return
	}
	gone := func(y *young, f fate) {
		m.tombs.add(y.seq, f, now)
		m.movable -= y.bytes
		delete(m.young, y.seq)
	}
	for _, p := range r.packs {
		for seq := p.first; seq <= p.last; seq++ {
			switch y := m.young[seq]; {
			case r.promoted[seq]:
				m.tombs.add(seq, runs, now)
			case p.fate(seq) == left:
				m.tombs.add(seq, left, now)
			case y != nil && y.home == p:
				gone(y, ended)
			}
		}
		m.forget(p)
		delete(m.watched, p)
	}
	for _, y := range r.rows {
		gone(y, ended)
	}
	for id, n := range r.unref {
		if m.refs[id] -= n; m.refs[id] <= 0 {
			delete(m.refs, id)
		}
	}
}
