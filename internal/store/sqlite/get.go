package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb"
)

// summarised gives what packer.item put into the summary; the head is for unpack.
func summarised(seq int64, summary []byte) (*atom.Execution, []byte, error) {
	d := &decoder{b: summary}
	process, head := d.text(), d.blob()
	attempt, unclean := int(d.byte()), int(d.byte())
	e := d.ending()
	if d.err != nil {
		return nil, nil, fmt.Errorf("read execution %d in the history: %w", seq, d.err)
	}
	members, err := decodeHeads(head, nil, seq, process)
	if err != nil || len(members) != 1 {
		return nil, nil, fmt.Errorf("read execution %d in the history: %w", seq, errDamaged)
	}
	return &atom.Execution{Record: atom.Record{Acceptance: *members[0].Acceptance, Attempt: attempt, Unclean: unclean}, Outcome: &e.Outcome}, head, nil
}

func unpack(seq int64, summary, body []byte) (*atom.Execution, error) {
	x, head, err := summarised(seq, summary)
	if err != nil {
		return nil, err
	}
	d := &decoder{b: body}
	docs := d.blob()
	lines := d.lines()
	x.Outcome.Trace, _ = d.doc(d)
	if d.err != nil {
		return nil, fmt.Errorf("read execution %d in the history: %w", seq, d.err)
	}
	members, err := decodeHeads(head, docs, seq, x.Process)
	if err != nil {
		return nil, fmt.Errorf("read execution %d in the history: %w", seq, err)
	}
	x.Acceptance = *members[0].Acceptance
	x.Journal = entriesOf(lines)
	return x, nil
}

// Get gives one execution; see atom.History. What ends goes from packs or rows
// to the history and is there before it is deleted here, so looking in that
// order misses nothing.
func (s *Store) Get(ctx context.Context, seq int64, received time.Time) (*atom.Execution, error) {
	x, err := s.hot(ctx, seq, true)
	if errors.Is(err, fs.ErrNotExist) { // it forgot a part of its journal, or moved, before its files were read
		x, err = s.hot(ctx, seq, true)
	}
	moved := errors.Is(err, fs.ErrNotExist)
	if !moved && (x != nil || err != nil) {
		return x, err
	}
	summary, body, e := s.history.Get(seq, received)
	if e != nil {
		return nil, e
	}
	if summary != nil {
		return unpack(seq, summary, body)
	}
	if moved {
		return nil, err
	}
	if f := s.keeper.pending(seq); f != nil {
		return &atom.Execution{Record: f.Record, Outcome: &f.Outcome, Journal: f.Entries}, nil
	}
	return nil, atom.ErrUnknown
}

// pending finds an execution that is about to be recorded.
func (k *keeper) pending(seq int64) *atom.Finished {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, list := range [][]*atom.Finished{k.records, k.writing} {
		for _, f := range list {
			if f.Seq == seq {
				return f
			}
		}
	}
	return nil
}

// hot gives an execution that is in the database, nil if it is not. Documents
// that are files may be left out.
func (s *Store) hot(ctx context.Context, seq int64, documents bool) (*atom.Execution, error) {
	s.mu.Lock()
	var lines []line
	var end *ending
	y := s.mem.young[seq]
	if y != nil {
		lines, end = slices.Clone(y.lines), y.ending
	}
	s.mu.Unlock()
	x := &row{state: stAccepted}
	err := s.db.Read(ctx, func(tx *sqlitedb.Tx) error {
		r, err := readRow(tx, seq)
		if err != nil {
			return err
		}
		if r != nil {
			*x = *r
			if x.lines, err = readLines(tx, seq); err != nil {
				return err
			}
			if y == nil || y.home == nil { // the last entries of one that ended
				x.lines = append(x.lines, lines...)
			}
			return nil
		}
		x.lines = lines
		first, last := int64(0), int64(-1)
		_, err = tx.One("SELECT first, last FROM intake WHERE first <= ? ORDER BY first DESC LIMIT 1", []any{seq}, func(r sqlitedb.Row) {
			first, last = r.Int(0), r.Int(1)
		})
		if err != nil || last < seq {
			return err
		}
		members, err := readPack(tx, first, true)
		if err == nil && int64(len(members)) <= seq-first {
			err = errDamaged
		}
		if err == nil {
			x.held = members[seq-first]
		}
		return err
	})
	if err != nil || x.held == nil {
		return nil, err
	}
	if end != nil {
		copied := *end
		x.ending = &copied
	}
	if documents {
		if err := s.blobs.fill(x.held, x.lines, x.ending); err != nil {
			return nil, err
		}
	}
	out := &atom.Execution{Record: *x.record(), Journal: entriesOf(x.lines)}
	if x.ending != nil {
		out.Outcome = &x.ending.Outcome
		out.State, out.Due, out.Why = "", time.Time{}, ""
	}
	return out, nil
}
