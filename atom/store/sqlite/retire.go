package sqlite

import (
	"time"

	"valence/internal/sqlitedb"
)

// retired lists the deletions of a transaction after archiving.
type retired struct {
	packs      []*pack
	rows       []*activeMember
	promoted   map[int64]bool
	changeRefs map[int64]int
}

// retireOp deletes archived executions. Members of old packs that are still
// live get rows of their own.
type retireOp struct {
	s     *Store
	packs []*pack
	rows  []*activeMember
}

func (o *retireOp) Do(tx *sqlitedb.Tx) error {
	b := o.s.batch
	r := &retired{promoted: map[int64]bool{}, changeRefs: map[int64]int{}}
	deleted := map[*pack]bool{}
	for _, p := range o.packs {
		ok, err := b.retire(tx, p, r)
		if err != nil {
			return err
		}
		deleted[p] = ok
	}
	for _, y := range o.rows {
		b.s.mu.Lock()
		p, archived := b.s.index.packOf[y.seq], y.archived
		b.s.mu.Unlock()
		if !archived || p != nil && !deleted[p] || b.mutations[y.seq] != nil {
			continue // its row of change needs the row to restore it as ended
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
		unused, err := endFiles(tx, y.seq, y.seq, nil, func(int64) retention { return b.s.retentionOf(y.outcome) })
		if err != nil {
			return err
		}
		b.removals = append(b.removals, unused...)
		r.rows = append(r.rows, y)
		r.changeRefs[y.changeID]++
	}
	for id, n := range r.changeRefs {
		b.s.mu.Lock()
		left := b.s.index.changeRefs[id] - n
		b.s.mu.Unlock()
		if left > 0 {
			continue
		}
		if _, err := tx.Exec("DELETE FROM change WHERE id = ?", id); err != nil {
			return err
		}
	}
	b.retired = r
	return o.s.writeOpenSegments(tx)
}

// retire deletes a pack and reports true, unless a member has changed since it
// was collected.
func (b *batch) retire(tx *sqlitedb.Tx, p *pack, r *retired) (bool, error) {
	var live []int64
	for seq := p.first; seq <= p.last; seq++ {
		if b.mutations[seq] != nil {
			return false, nil
		}
		b.s.mu.Lock()
		f, member := p.state(seq), b.s.index.active[seq]
		b.s.mu.Unlock()
		switch {
		case f == memberEnded && !member.archived:
			return false, nil
		case f == memberUntouched || f == memberRunning:
			live = append(live, seq)
		}
	}
	keep := map[int64]bool{}
	for i, f := range p.states {
		keep[p.first+int64(i)] = f == memberPromoted
	}
	for _, seq := range live {
		m, err := b.mutate(tx, seq)
		if err != nil {
			return false, err
		}
		if err := b.promote(tx, m, codeAccepted, 0, 0, nil); err != nil {
			return false, err
		}
		m.formerPack = nil // the pack is deleted as well
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
	unused, err := endFiles(tx, p.first, p.last, func(seq int64) bool { return keep[seq] }, func(seq int64) retention {
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		if member := b.s.index.active[seq]; member != nil {
			return b.s.retentionOf(member.outcome)
		}
		return retention{}
	})
	if err != nil {
		return false, err
	}
	b.removals = append(b.removals, unused...)
	for _, id := range p.changes {
		r.changeRefs[id]++
	}
	r.packs = append(r.packs, p)
	return true, nil
}

// removeFrom removes deleted executions from the live index.
func (r *retired) removeFrom(idx *liveIndex, now time.Time) {
	if r == nil {
		return
	}
	remove := func(member *activeMember, f memberState) {
		idx.tombstones.add(member.seq, f, now)
		idx.unarchived -= member.bytes
		delete(idx.active, member.seq)
		delete(idx.trims, member.seq)
	}
	for _, p := range r.packs {
		for seq := p.first; seq <= p.last; seq++ {
			switch member := idx.active[seq]; {
			case r.promoted[seq]:
				idx.tombstones.add(seq, memberRunning, now)
			case p.state(seq) == memberPromoted:
				idx.tombstones.add(seq, memberPromoted, now)
			case member != nil && member.pack == p:
				remove(member, memberEnded)
			}
		}
		idx.remove(p)
		delete(idx.changedPacks, p)
	}
	for _, member := range r.rows {
		remove(member, memberEnded)
	}
	for id, n := range r.changeRefs {
		if idx.changeRefs[id] -= n; idx.changeRefs[id] <= 0 {
			delete(idx.changeRefs, id)
		}
	}
}
