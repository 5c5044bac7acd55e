package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"valence/atom/store"
)

// dueNow is the Due of an execution that is ready.
var dueNow = time.Unix(0, 1).UTC()

type waitKey struct{ seq, place int64 }

// wait is an open wait, or the remains of a closed one.
type wait struct {
	store.Wait
	open, signaled, over bool
	early                *store.Entry
}

type keptSignal struct {
	match string
	until time.Time
	entry store.Entry
}

// waitTable holds waits and kept signals. Its zero value is empty.
type waitTable struct {
	at          map[waitKey]*wait
	keptSignals []keptSignal
	origins     map[string]bool
	ready       []store.Wakeup
}

func (w *waitTable) put(p waitKey, x *wait) {
	if w.at == nil {
		w.at = map[waitKey]*wait{}
	}
	w.at[p] = x
}

func (w *waitTable) signaled(p waitKey) bool {
	x := w.at[p]
	return x != nil && x.signaled
}

// oldest returns the open wait of the oldest execution with this match, or nil
// if there is none.
func (w *waitTable) oldest(match []byte) (first *waitKey) {
	for p, x := range w.at {
		if x.open && string(x.Match) == string(match) && (first == nil || p.seq < first.seq || p.seq == first.seq && p.place < first.place) {
			first = &p
		}
	}
	return first
}

func (w *waitTable) end(seq int64) {
	for p, x := range w.at {
		if p.seq == seq {
			x.open, x.early, x.over = false, nil, true
		}
	}
}

// Signal implements store.Waits.
func (s *Store) Signal(ctx context.Context, g *store.Signal) (store.SignalResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.err, ctx.Err()); err != nil {
		return "", fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	result, err := s.signal(g)
	s.notifyReady()
	return result, err
}

func (s *Store) signal(g *store.Signal) (store.SignalResult, error) {
	w := &s.waits
	if g.Origin != "" && w.origins[g.Origin] {
		return store.SignalRepeated, nil
	}
	result, err := s.deliver(g)
	if g.Origin != "" && err == nil {
		if w.origins == nil {
			w.origins = map[string]bool{}
		}
		w.origins[g.Origin] = true
	}
	return result, err
}

func (s *Store) deliver(g *store.Signal) (store.SignalResult, error) {
	w := &s.waits
	if g.Match != nil {
		if first := w.oldest(g.Match); first != nil {
			s.wake(*first, g.Entry)
			return store.SignalDelivered, nil
		}
		if g.Keep.IsZero() {
			return "", store.ErrNoWaiter
		}
		w.keptSignals = append(w.keptSignals, keptSignal{string(g.Match), g.Keep, g.Entry})
		return store.SignalKept, nil
	}
	p := waitKey{g.Seq, g.WaitID}
	x := w.at[p]
	live := s.live[g.Seq]
	switch {
	case x != nil && x.signaled:
		return store.SignalRepeated, nil
	case x != nil && x.over, live == nil, live.Outcome != nil:
		return store.SignalLate, nil
	case x == nil:
		w.put(p, &wait{early: &g.Entry})
		return store.SignalKept, nil
	case x.early != nil:
		return store.SignalRepeated, nil
	}
	s.wake(p, g.Entry)
	return store.SignalDelivered, nil
}

func (s *Store) wake(p waitKey, e store.Entry) {
	x := s.waits.at[p]
	x.open, x.signaled = false, true
	e.Path = x.Path
	live := s.live[p.seq]
	live.Journal = append(live.Journal, e)
	if s.suspended[p.seq] {
		s.makeReady(live)
	}
}

func (s *Store) makeReady(x *store.Execution) {
	x.State, x.Due, x.Reason = store.Accepted, dueNow, ""
	s.waits.ready = append(s.waits.ready, store.Wakeup{Process: x.Process, Seq: x.Seq})
}

func (s *Store) notifyReady() {
	list := s.waits.ready
	s.waits.ready = nil
	if len(list) > 0 && s.ready != nil {
		s.ready(list)
	}
}

// enterWaits opens waits, and ends those whose signal arrived early.
func (s *Store) enterWaits(x *store.Execution, waits []store.Wait) {
	w := &s.waits
	for _, n := range waits {
		p := waitKey{x.Seq, n.ID}
		y := w.at[p]
		if y != nil && y.early == nil {
			continue
		}
		entered := &wait{Wait: n, open: true}
		w.put(p, entered)
		var early *store.Entry
		if y != nil {
			early = y.early
		} else if i := slices.IndexFunc(w.keptSignals, func(k keptSignal) bool {
			return n.Match != nil && k.match == string(n.Match) && k.until.After(s.now())
		}); i >= 0 {
			early = &w.keptSignals[i].entry
			w.keptSignals = slices.Delete(slices.Clone(w.keptSignals), i, i+1)
		}
		if early != nil {
			entered.open, entered.signaled = false, true
			e := *early
			e.Path = n.Path
			x.Journal = append(x.Journal, e)
		}
	}
}
