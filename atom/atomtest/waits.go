package atomtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom"
)

// atOnce is the due of what is to run as soon as it can.
var atOnce = time.Unix(0, 1).UTC()

type place struct{ seq, place int64 }

// wait is one that is entered, or a place that something happened to.
type wait struct {
	atom.Wait
	open, signalled, over bool
	early                 *atom.Entry
}

type keptSignal struct {
	match string
	until time.Time
	entry atom.Entry
}

// waits is what executions wait for. Its zero value is empty.
type waits struct {
	at      map[place]*wait
	kept    []keptSignal
	origins map[string]bool
	ready   []atom.Ready
}

func (w *waits) put(p place, x *wait) {
	if w.at == nil {
		w.at = map[place]*wait{}
	}
	w.at[p] = x
}

func (w *waits) signalled(seq int64) (n int) {
	for p, x := range w.at {
		if p.seq == seq && x.signalled {
			n++
		}
	}
	return n
}

func (w *waits) end(seq int64) {
	for p, x := range w.at {
		if p.seq == seq {
			x.open, x.early, x.over = false, nil, true
		}
	}
}

// Signal is atom.Waits'.
func (s *Store) Signal(ctx context.Context, g *atom.Signal) (atom.Landing, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return "", fmt.Errorf("%w: %w", atom.ErrUnavailable, err)
	}
	landing, err := s.signal(g)
	s.tellReady()
	return landing, err
}

func (s *Store) signal(g *atom.Signal) (atom.Landing, error) {
	w := &s.waits
	if g.Origin != "" && w.origins[g.Origin] {
		return atom.Repeated, nil
	}
	landing, err := s.land(g)
	if g.Origin != "" && err == nil {
		if w.origins == nil {
			w.origins = map[string]bool{}
		}
		w.origins[g.Origin] = true
	}
	return landing, err
}

func (s *Store) land(g *atom.Signal) (atom.Landing, error) {
	w := &s.waits
	if g.Match != nil {
		var first *place
		for p, x := range w.at {
			if x.open && string(x.Match) == string(g.Match) && (first == nil || p.seq < first.seq || p.seq == first.seq && p.place < first.place) {
				first = &p
			}
		}
		if first != nil {
			s.wake(*first, g.Entry)
			return atom.Woke, nil
		}
		if g.Keep.IsZero() {
			return "", atom.ErrNobody
		}
		w.kept = append(w.kept, keptSignal{string(g.Match), g.Keep, g.Entry})
		return atom.Kept, nil
	}
	p := place{g.Seq, g.Place}
	x := w.at[p]
	live := s.live[g.Seq]
	switch {
	case x != nil && x.signalled:
		return atom.Repeated, nil
	case x != nil && x.over, live == nil, live.Outcome != nil:
		return atom.Over, nil
	case x == nil:
		w.put(p, &wait{early: &g.Entry})
		return atom.Kept, nil
	case x.early != nil:
		return atom.Repeated, nil
	}
	s.wake(p, g.Entry)
	return atom.Woke, nil
}

func (s *Store) wake(p place, e atom.Entry) {
	x := s.waits.at[p]
	x.open, x.signalled = false, true
	e.Path = x.Path
	live := s.live[p.seq]
	live.Journal = append(live.Journal, e)
	if s.parked[p.seq] {
		s.release(live)
	}
}

func (s *Store) release(x *atom.Execution) {
	x.State, x.Due, x.Why = atom.Accepted, atOnce, ""
	s.waits.ready = append(s.waits.ready, atom.Ready{Process: x.Process, Seq: x.Seq})
}

func (s *Store) tellReady() {
	list := s.waits.ready
	s.waits.ready = nil
	if len(list) > 0 && s.ready != nil {
		s.ready(list)
	}
}

// applyWaits does what a change says of waits and signals, or refuses it.
func (s *Store) applyWaits(x *atom.Execution, c *atom.Change) error {
	w := &s.waits
	for _, at := range c.GaveUp {
		if y := w.at[place{x.Seq, at}]; y != nil && y.signalled {
			return atom.ErrSignalled
		}
	}
	if c.Signal != nil {
		if _, err := s.signal(c.Signal); err != nil {
			return err
		}
	}
	for _, at := range c.GaveUp {
		w.put(place{x.Seq, at}, &wait{over: true})
	}
	for _, n := range c.Waits {
		p := place{x.Seq, n.Place}
		y := w.at[p]
		if y != nil && y.early == nil {
			continue
		}
		entered := &wait{Wait: n, open: true}
		w.put(p, entered)
		var early *atom.Entry
		if y != nil {
			early = y.early
		} else if i := slices.IndexFunc(w.kept, func(k keptSignal) bool {
			return n.Match != nil && k.match == string(n.Match) && k.until.After(time.Now())
		}); i >= 0 {
			early = &w.kept[i].entry
			w.kept = slices.Delete(slices.Clone(w.kept), i, i+1)
		}
		if early != nil {
			entered.open, entered.signalled = false, true
			e := *early
			e.Path = n.Path
			x.Journal = append(x.Journal, e)
		}
	}
	return nil
}
