package sqlite_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// waitsModel opens waits and sends signals by id and by name, some early, twice
// or late.
type waitsModel struct {
	waits       []*trackedWait
	keptSignals []string // bodies of kept signals, in order
}

type trackedWait struct {
	execution *trackedExecution
	place     int64
	named     bool
	state     store.SignalResult // expected result of a signal by id
}

func (w *waitsModel) key(a *worker) []byte { return []byte("key-" + a.name) }

// signalArrived updates the expected state for a signal.
func (w *trackedWait) signalArrived(body string) {
	w.state = store.SignalRepeated
	w.execution.journal = append(w.execution.journal, fmt.Sprintf("wait%d=%s", w.place, body))
	if w.execution.status == "waiting" {
		w.execution.status = "accepted"
	}
}

func (w *waitsModel) step(a *worker) error {
	s := a.h.store
	p := a.pickLive()
	if p == nil || a.r.IntN(5) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	mine := slices.DeleteFunc(slices.Clone(w.waits), func(x *trackedWait) bool { return x.execution != p })
	switch a.r.IntN(6) {
	case 0, 1: // it waits
		x := &trackedWait{execution: p, place: int64(len(mine) + 1), named: a.r.IntN(2) == 0, state: store.SignalDelivered}
		early := a.r.IntN(4) == 0
		body := a.id()
		if early {
			result, err := s.Signal(ctx, &store.Signal{Seq: p.seq, WaitID: x.place, Entry: store.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}})
			if err != nil || result != store.SignalKept {
				return errors.Join(err, fmt.Errorf("an early signal: got %s, want %s", result, store.SignalKept))
			}
			w.waits = append(w.waits, x)
			x.state, x.named = "early "+store.SignalResult(body), false
			return nil
		}
		w.waits = append(w.waits, x)
		return w.openWait(a, x)
	case 2, 3:
		if len(mine) == 0 {
			return nil
		}
		x := mine[a.r.IntN(len(mine))]
		if strings.HasPrefix(string(x.state), "early ") {
			return w.openWait(a, x)
		}
		body := a.id()
		result, err := s.Signal(ctx, &store.Signal{Seq: p.seq, WaitID: x.place, Entry: store.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}})
		if err != nil {
			return err
		}
		if result != x.state {
			return fmt.Errorf("a signal by id: got %s, want %s", result, x.state)
		}
		if result == store.SignalDelivered {
			x.signalArrived(body)
		}
	case 4:
		if len(mine) > 0 && a.r.IntN(3) > 0 {
			return w.giveUp(a, mine[a.r.IntN(len(mine))])
		}
		status := []store.Status{store.Completed, store.Failed, store.Cancelled}[a.r.IntN(3)]
		err := a.end(p, status, nil)
		for _, x := range mine {
			if err == nil && x.state != store.SignalRepeated {
				x.state = store.SignalLate
			}
		}
		return err
	case 5:
		return w.byName(a)
	}
	return nil
}

// openWait opens a wait and suspends the execution.
func (w *waitsModel) openWait(a *worker, x *trackedWait) error {
	n := store.Wait{Path: fmt.Sprint("wait", x.place), ID: x.place}
	if x.named {
		n.Match = w.key(a)
	}
	err := a.h.store.Apply(ctx, &store.Change{Seq: x.execution.seq, Waits: []store.Wait{n}, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{x.place}}})
	if err != nil {
		w.waits = slices.DeleteFunc(w.waits, func(y *trackedWait) bool { return y == x && !strings.HasPrefix(string(x.state), "early ") })
		return err
	}
	x.execution.status = "waiting"
	if body, ok := strings.CutPrefix(string(x.state), "early "); ok {
		x.signalArrived(body)
	} else if x.named && len(w.keptSignals) > 0 {
		x.signalArrived(w.keptSignals[0])
		w.keptSignals = w.keptSignals[1:]
	}
	return nil
}

func (w *waitsModel) giveUp(a *worker, x *trackedWait) error {
	err := a.h.store.Apply(ctx, &store.Change{Seq: x.execution.seq, Require: []store.Condition{store.GiveUp{WaitID: x.place}}, Entries: []store.Entry{{Path: fmt.Sprint("gaveup", x.place), Kind: "call", At: time.Now()}}})
	if x.state == store.SignalRepeated || strings.HasPrefix(string(x.state), "early ") {
		if errors.Is(err, store.ErrSignaled) {
			return nil
		}
		return errors.Join(err, errors.New("it gave up what had come"))
	}
	if err == nil {
		x.state = store.SignalLate
		x.execution.journal = append(x.execution.journal, fmt.Sprintf("gaveup%d=", x.place))
	}
	return err
}

func (w *waitsModel) byName(a *worker) error {
	body := a.id()
	g := &store.Signal{Match: w.key(a), Keep: time.Now().Add(time.Hour), Origin: body, Entry: store.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}}
	result, err := a.h.store.Signal(ctx, g)
	if err != nil {
		return err
	}
	var first *trackedWait
	for _, x := range w.waits {
		if x.named && x.state == store.SignalDelivered && (first == nil || x.execution.seq < first.execution.seq || x.execution.seq == first.execution.seq && x.place < first.place) {
			first = x
		}
	}
	switch {
	case first == nil && result == store.SignalKept:
		w.keptSignals = append(w.keptSignals, body)
	case first != nil && result == store.SignalDelivered:
		first.signalArrived(body)
	default:
		return fmt.Errorf("a signal by name: got %s, with a waiting execution: %v", result, first != nil)
	}
	if result, err := a.h.store.Signal(ctx, g); err == nil && result != store.SignalRepeated {
		return fmt.Errorf("the same signal again: got %s, want %s", result, store.SignalRepeated)
	}
	return nil
}

func (w *waitsModel) expect(f facts) {
	for _, x := range w.waits {
		state := x.state
		if strings.HasPrefix(string(state), "early ") {
			state = store.SignalRepeated
		}
		f[fmt.Sprintf("wait %s %d", x.execution.id, x.place)] = string(state)
	}
	f["kept"] = strings.Join(w.keptSignals, ",")
}

func (w *waitsModel) observe(a *worker, s *sqlite.Store, f facts) error {
	for _, x := range w.waits {
		result, err := s.Signal(ctx, &store.Signal{Seq: x.execution.seq, WaitID: x.place, Entry: store.Entry{Kind: "signal", At: time.Now()}})
		if err != nil {
			return err
		}
		if result == store.SignalKept || f[x.execution.id] == "" {
			continue // the execution did not exist
		}
		f[fmt.Sprintf("wait %s %d", x.execution.id, x.place)] = string(result)
	}
	in, p := a.newExecution(true)
	in.Seq = s.Reserve()
	r, err := s.Accept(ctx, in)
	if err != nil {
		return err
	}
	p.seq = r.Seq
	var bodies []string
	for place := int64(1); ; place++ {
		if err := s.Apply(ctx, &store.Change{Seq: p.seq, Waits: []store.Wait{{Path: "x", ID: place, Match: w.key(a)}}}); err != nil {
			return err
		}
		entries, err := s.Entries(ctx, p.seq)
		if err != nil {
			return err
		}
		if len(entries) < int(place) {
			break
		}
		bodies = append(bodies, string(entries[place-1].Body))
	}
	f["kept"] = strings.Join(bodies, ",")
	return nil
}

// laneQueueModel runs messages of one key in order.
type laneQueueModel struct {
	block   bool
	queue   []*trackedExecution
	blocked bool // by its head
	exempt  int  // this many executions do not block it
}

func (l *laneQueueModel) lane(a *worker) *store.Lane {
	return &store.Lane{Scope: "s", Key: a.name, Block: l.block}
}

func (l *laneQueueModel) step(a *worker) error {
	if len(l.queue) == 0 || a.r.IntN(3) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		in.Lane = l.lane(a)
		r, err := a.accept(in, p, "accepted")
		if err != nil {
			return err
		}
		if r.WaitsInLane != (len(l.queue) > 0) {
			return fmt.Errorf("WaitsInLane: got %v with %d ahead", r.WaitsInLane, len(l.queue))
		}
		l.queue = append(l.queue, p)
		return nil
	}
	if i := a.r.IntN(len(l.queue)); i > 0 && a.r.IntN(3) == 0 {
		err := a.end(l.queue[i], store.Cancelled, nil)
		if err == nil {
			l.queue = slices.Delete(slices.Clone(l.queue), i, i+1)
			if i < l.exempt {
				l.exempt--
			}
		}
		return err
	}
	if l.blocked {
		return l.resolveHead(a)
	}
	switch a.r.IntN(4) {
	case 0:
		err := a.h.store.Apply(ctx, &store.Change{Seq: l.queue[0].seq, Disposition: &store.Suspension{State: store.Waiting, Due: time.Now().Add(time.Hour)}})
		if err == nil {
			l.queue[0].status = "waiting"
		}
		return err
	case 1:
		return l.endFirst(a, store.Failed)
	}
	return l.endFirst(a, store.Completed)
}

func (l *laneQueueModel) endFirst(a *worker, status store.Status) error {
	before := a.h.readyCounts()
	if err := a.end(l.queue[0], status, nil); err != nil {
		return err
	}
	if l.blocked = status == store.Failed && l.block && l.exempt == 0; l.blocked {
		return nil
	}
	return l.removeHead(a, before, nil)
}

// removeHead removes the head, or replaces it.
func (l *laneQueueModel) removeHead(a *worker, before map[int64]int, instead *trackedExecution) error {
	l.blocked = false
	if instead != nil {
		l.queue = append([]*trackedExecution{instead}, l.queue[1:]...)
		return nil
	}
	l.queue, l.exempt = l.queue[1:], max(l.exempt-1, 0)
	if len(l.queue) == 0 {
		return nil
	}
	seq := l.queue[0].seq
	if now := a.h.readyCounts(); now[seq] != before[seq]+1 {
		return fmt.Errorf("%s became the head: got %d reports, want 1", l.queue[0].id, now[seq]-before[seq])
	}
	return nil
}

// resolveHead unblocks the lane.
func (l *laneQueueModel) resolveHead(a *worker) error {
	before, p := a.h.readyCounts(), l.queue[0]
	switch a.r.IntN(3) {
	case 0:
		all := a.r.IntN(2) == 0
		seq, err := a.h.store.Unblock(ctx, p.process, a.name, all)
		if err != nil {
			return err
		}
		if seq != p.seq {
			return fmt.Errorf("Unblock: got head %d, want %d", seq, p.seq)
		}
		if all {
			l.exempt = len(l.queue)
		}
		return l.removeHead(a, before, nil)
	case 1:
		if err := a.h.store.Resolve(ctx, &store.Resolution{Seq: p.seq, Note: []byte("deleted")}); err != nil {
			return err
		}
		p.status = "failed deleted"
		return l.removeHead(a, before, nil)
	}
	in, q := a.newExecution(true)
	in.Lane = l.lane(a)
	if err := a.h.store.Resolve(ctx, &store.Resolution{Seq: p.seq, Note: []byte("again"), Next: in}); err != nil {
		return err
	}
	p.status, q.status, q.seq = "failed again", "accepted", in.Seq
	a.executions = append(a.executions, q)
	return l.removeHead(a, before, q)
}

func (l *laneQueueModel) expect(f facts) {
	var ids []string
	for _, p := range l.queue {
		ids = append(ids, p.id)
	}
	if l.blocked {
		ids = append(ids, "blocked")
	}
	f["lane"] = strings.Join(ids, ",")
}

func (l *laneQueueModel) observe(a *worker, s *sqlite.Store, f facts) error {
	ids := make([]string, 0, len(a.executions))
	at := map[int64]*trackedExecution{}
	blocked := false
	for _, p := range a.executions {
		x, err := s.Get(ctx, p.seq, time.Now())
		if errors.Is(err, store.ErrUnknown) {
			continue
		} else if err != nil {
			return err
		}
		if x.Outcome != nil && (x.Outcome.Status != store.Failed || x.Outcome.Resolved != nil) {
			continue
		}
		place, err := s.Position(ctx, p.seq, x.Lane)
		if err != nil {
			return err
		}
		if place == nil {
			if x.Outcome == nil {
				return fmt.Errorf("%s is live: got no lane position", p.id)
			}
			continue
		}
		if at[place.Ahead] != nil {
			return fmt.Errorf("%s and %s: got the same lane position %d", p.id, at[place.Ahead].id, place.Ahead)
		}
		at[place.Ahead] = p
		blocked = blocked || !place.Since.IsZero()
	}
	for i := range int64(len(at)) {
		if at[i] == nil {
			return fmt.Errorf("%d executions in the lane: got none at position %d", len(at), i)
		}
		ids = append(ids, at[i].id)
	}
	if blocked {
		ids = append(ids, "blocked")
	}
	f["lane"] = strings.Join(ids, ",")
	return l.endAll(a, s, at, blocked)
}

// endAll ends all executions in order, and checks which are reported.
func (l *laneQueueModel) endAll(a *worker, s *sqlite.Store, at map[int64]*trackedExecution, blocked bool) error {
	for i := range int64(len(at)) {
		before := a.h.readyCounts()
		if i == 0 && blocked {
			if _, err := s.Unblock(ctx, at[0].process, a.name, false); err != nil {
				return err
			}
		} else if err := s.Apply(ctx, &store.Change{Seq: at[i].seq, Disposition: outcome()}); err != nil {
			return err
		}
		if next := at[i+1]; next != nil {
			if now := a.h.readyCounts(); now[next.seq] != before[next.seq]+1 {
				return fmt.Errorf("%s became the head after a restart: got %d reports, want 1", next.id, now[next.seq]-before[next.seq])
			}
		}
	}
	lanes, _, err := s.Blocked(ctx, "", 1000)
	for _, x := range lanes {
		if x.Key == a.name {
			err = fmt.Errorf("an empty lane: got it blocked by %d", x.Head)
		}
	}
	return err
}

// failureModel resolves failures, some with a successor.
type failureModel struct{ unresolved []*trackedExecution }

func (l *failureModel) step(a *worker) error {
	p := a.pickLive()
	if p == nil || a.r.IntN(3) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	if a.r.IntN(2) == 0 || len(l.unresolved) == 0 {
		status := []store.Status{store.Failed, store.Expired}[a.r.IntN(2)]
		err := a.end(p, status, nil)
		if err == nil {
			l.unresolved = append(l.unresolved, p)
		}
		return err
	}
	i := a.r.IntN(len(l.unresolved))
	p = l.unresolved[i]
	r := &store.Resolution{Seq: p.seq, Note: []byte("by " + a.id()), DropDocuments: a.r.IntN(3) == 0}
	var q *trackedExecution
	if a.r.IntN(2) == 0 {
		r.Next, q = a.newExecution(true)
	}
	if err := a.h.store.Resolve(ctx, r); err != nil {
		return err
	}
	l.unresolved = slices.Delete(slices.Clone(l.unresolved), i, i+1)
	p.status += " " + string(r.Note)
	p.dropped = r.DropDocuments
	if q != nil {
		q.seq, q.status = r.Next.Seq, "accepted"
		a.executions = append(a.executions, q)
	}
	if err := a.h.store.Resolve(ctx, &store.Resolution{Seq: p.seq, Note: []byte("twice")}); !errors.Is(err, store.ErrResolved) && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("a second resolution: got %w, want ErrResolved", err)
	}
	return nil
}

func (l *failureModel) expect(f facts) {
	if len(l.unresolved) > 0 {
		f["group"] = fmt.Sprint(len(l.unresolved))
	}
}

func (l *failureModel) observe(a *worker, s *sqlite.Store, f facts) error {
	groups, err := s.Groups(ctx, "", 1000)
	n := int64(0)
	for _, g := range groups {
		if g.Fingerprint == a.name {
			n += g.Count
		}
	}
	if n > 0 {
		f["group"] = fmt.Sprint(n)
	}
	return err
}
