package sqlite_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

// waitsPlot: executions wait for signals, by place and by name; some come
// early, twice or late.
type waitsPlot struct {
	waits []*waited
	kept  []string // bodies of signals by name, in order
}

type waited struct {
	p     *played
	place int64
	named bool
	state atom.Landing // what a signal by place would find
}

func (w *waitsPlot) key(a *act) []byte { return []byte("key-" + a.name) }

// awake notes that a signal came.
func (w *waited) awake(body string) {
	w.state = atom.Repeated
	w.p.journal = append(w.p.journal, fmt.Sprintf("wait%d=%s", w.place, body))
	if w.p.status == "waiting" {
		w.p.status = "accepted"
	}
}

func (w *waitsPlot) step(a *act) error {
	s := a.c.s
	p := a.one()
	if p == nil || a.r.IntN(5) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	mine := slices.DeleteFunc(slices.Clone(w.waits), func(x *waited) bool { return x.p != p })
	switch a.r.IntN(6) {
	case 0, 1: // it waits
		x := &waited{p: p, place: int64(len(mine) + 1), named: a.r.IntN(2) == 0, state: atom.Woke}
		early := a.r.IntN(4) == 0
		body := a.id()
		if early {
			landing, err := s.Signal(ctx, &atom.Signal{Seq: p.seq, Place: x.place, Entry: atom.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}})
			if err != nil || landing != atom.Kept {
				return errors.Join(err, fmt.Errorf("early: %s", landing))
			}
			w.waits = append(w.waits, x)
			x.state, x.named = "early "+atom.Landing(body), false
			return nil
		}
		w.waits = append(w.waits, x)
		return w.enter(a, x, mine)
	case 2, 3:
		if len(mine) == 0 {
			return nil
		}
		x := mine[a.r.IntN(len(mine))]
		if strings.HasPrefix(string(x.state), "early ") {
			return w.enter(a, x, slices.DeleteFunc(mine, func(y *waited) bool { return y == x }))
		}
		body := a.id()
		landing, err := s.Signal(ctx, &atom.Signal{Seq: p.seq, Place: x.place, Entry: atom.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}})
		if err != nil {
			return err
		}
		if landing != x.state {
			return fmt.Errorf("a signal for a wait that is %s: %s", x.state, landing)
		}
		if landing == atom.Woke {
			x.awake(body)
		}
	case 4:
		if len(mine) > 0 && a.r.IntN(3) > 0 {
			return w.giveUp(a, mine[a.r.IntN(len(mine))])
		}
		status := []atom.Status{atom.Completed, atom.Failed, atom.Cancelled}[a.r.IntN(3)]
		err := a.end(p, status, nil)
		for _, x := range mine {
			if err == nil && x.state != atom.Repeated {
				x.state = atom.Over
			}
		}
		return err
	case 5:
		return w.byName(a)
	}
	return nil
}

// enter has an execution wait.
func (w *waitsPlot) enter(a *act, x *waited, others []*waited) error {
	known := 0
	for _, y := range others {
		if y.state == atom.Repeated {
			known++
		}
	}
	n := atom.Wait{Path: fmt.Sprint("wait", x.place), Place: x.place}
	if x.named {
		n.Match = w.key(a)
	}
	err := a.c.s.Apply(ctx, &atom.Change{Seq: x.p.seq, Waits: []atom.Wait{n}, Park: &atom.Park{State: atom.Waiting, Signal: true, Signals: known}})
	if err != nil {
		w.waits = slices.DeleteFunc(w.waits, func(y *waited) bool { return y == x && !strings.HasPrefix(string(x.state), "early ") })
		return err
	}
	x.p.status = "waiting"
	if body, ok := strings.CutPrefix(string(x.state), "early "); ok {
		x.awake(body)
	} else if x.named && len(w.kept) > 0 {
		x.awake(w.kept[0])
		w.kept = w.kept[1:]
	}
	return nil
}

func (w *waitsPlot) giveUp(a *act, x *waited) error {
	err := a.c.s.Apply(ctx, &atom.Change{Seq: x.p.seq, GaveUp: []int64{x.place}, Entries: []atom.Entry{{Path: fmt.Sprint("gaveup", x.place), Kind: "call", At: time.Now()}}})
	if x.state == atom.Repeated || strings.HasPrefix(string(x.state), "early ") {
		if errors.Is(err, atom.ErrSignalled) {
			return nil
		}
		return errors.Join(err, errors.New("it gave up what had come"))
	}
	if err == nil {
		x.state = atom.Over
		x.p.journal = append(x.p.journal, fmt.Sprintf("gaveup%d=", x.place))
	}
	return err
}

func (w *waitsPlot) byName(a *act) error {
	body := a.id()
	g := &atom.Signal{Match: w.key(a), Keep: time.Now().Add(time.Hour), Origin: body, Entry: atom.Entry{Kind: "signal", At: time.Now(), Body: []byte(body)}}
	landing, err := a.c.s.Signal(ctx, g)
	if err != nil {
		return err
	}
	var first *waited
	for _, x := range w.waits {
		if x.named && x.state == atom.Woke && (first == nil || x.p.seq < first.p.seq || x.p.seq == first.p.seq && x.place < first.place) {
			first = x
		}
	}
	switch {
	case first == nil && landing == atom.Kept:
		w.kept = append(w.kept, body)
	case first != nil && landing == atom.Woke:
		first.awake(body)
	default:
		return fmt.Errorf("a signal by name: %s", landing)
	}
	if landing, err := a.c.s.Signal(ctx, g); err == nil && landing != atom.Repeated {
		return fmt.Errorf("the same signal again: %s", landing)
	}
	return nil
}

func (w *waitsPlot) expect(f facts) {
	for _, x := range w.waits {
		state := x.state
		if strings.HasPrefix(string(state), "early ") {
			state = atom.Repeated
		}
		f[fmt.Sprintf("wait %s %d", x.p.id, x.place)] = string(state)
	}
	f["kept"] = strings.Join(w.kept, ",")
}

func (w *waitsPlot) see(a *act, s *sqlite.Store, f facts) error {
	for _, x := range w.waits {
		landing, err := s.Signal(ctx, &atom.Signal{Seq: x.p.seq, Place: x.place, Entry: atom.Entry{Kind: "signal", At: time.Now()}})
		if err != nil {
			return err
		}
		if landing == atom.Kept || f[x.p.id] == "" {
			continue // it was not known
		}
		f[fmt.Sprintf("wait %s %d", x.p.id, x.place)] = string(landing)
	}
	in, p := a.newcomer(true)
	in.Seq = s.Reserve()
	r, err := s.Accept(ctx, in)
	if err != nil {
		return err
	}
	p.seq = r.Seq
	var bodies []string
	for place := int64(1); ; place++ {
		if err := s.Apply(ctx, &atom.Change{Seq: p.seq, Waits: []atom.Wait{{Path: "x", Place: place, Match: w.key(a)}}}); err != nil {
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

// lanePlot: a key's messages go one after the other.
type lanePlot struct {
	block bool
	queue []*played
	since bool // blocked by the first
	free  int  // so many of the queue do not block it any more
}

func (l *lanePlot) lane(a *act) *atom.Lane {
	return &atom.Lane{Scope: "s", Key: a.name, Block: l.block}
}

func (l *lanePlot) step(a *act) error {
	if len(l.queue) == 0 || a.r.IntN(3) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		in.Lane = l.lane(a)
		r, err := a.accept(in, p, "accepted")
		if err != nil {
			return err
		}
		if r.Behind != (len(l.queue) > 0) {
			return fmt.Errorf("behind %v, with %d before it", r.Behind, len(l.queue))
		}
		l.queue = append(l.queue, p)
		return nil
	}
	if i := a.r.IntN(len(l.queue)); i > 0 && a.r.IntN(3) == 0 {
		err := a.end(l.queue[i], atom.Cancelled, nil)
		if err == nil {
			l.queue = slices.Delete(slices.Clone(l.queue), i, i+1)
			if i < l.free {
				l.free--
			}
		}
		return err
	}
	if l.since {
		return l.mend(a)
	}
	switch a.r.IntN(4) {
	case 0:
		err := a.c.s.Apply(ctx, &atom.Change{Seq: l.queue[0].seq, Park: &atom.Park{State: atom.Waiting, Due: time.Now().Add(time.Hour)}})
		if err == nil {
			l.queue[0].status = "waiting"
		}
		return err
	case 1:
		return l.endFirst(a, atom.Failed)
	}
	return l.endFirst(a, atom.Completed)
}

func (l *lanePlot) endFirst(a *act, status atom.Status) error {
	told := a.c.told()
	if err := a.end(l.queue[0], status, nil); err != nil {
		return err
	}
	if l.since = status == atom.Failed && l.block && l.free == 0; l.since {
		return nil
	}
	return l.next(a, told, nil)
}

// next takes the first out, or puts another in its place.
func (l *lanePlot) next(a *act, told map[int64]int, instead *played) error {
	l.since = false
	if instead != nil {
		l.queue = append([]*played{instead}, l.queue[1:]...)
		return nil
	}
	l.queue, l.free = l.queue[1:], max(l.free-1, 0)
	if len(l.queue) == 0 {
		return nil
	}
	seq := l.queue[0].seq
	if now := a.c.told(); now[seq] != told[seq]+1 {
		return fmt.Errorf("%s was told its turn %d times", l.queue[0].id, now[seq]-told[seq])
	}
	return nil
}

// mend deals with the first, which blocks.
func (l *lanePlot) mend(a *act) error {
	told, p := a.c.told(), l.queue[0]
	switch a.r.IntN(3) {
	case 0:
		all := a.r.IntN(2) == 0
		seq, err := a.c.s.Unblock(ctx, p.process, a.name, all)
		if err != nil {
			return err
		}
		if seq != p.seq {
			return fmt.Errorf("%d was unblocked, not %d", seq, p.seq)
		}
		if all {
			l.free = len(l.queue)
		}
		return l.next(a, told, nil)
	case 1:
		if err := a.c.s.Resolve(ctx, &atom.Resolution{Seq: p.seq, Note: []byte("gone")}); err != nil {
			return err
		}
		p.status = "failed gone"
		return l.next(a, told, nil)
	}
	in, q := a.newcomer(true)
	in.Lane = l.lane(a)
	if err := a.c.s.Resolve(ctx, &atom.Resolution{Seq: p.seq, Note: []byte("again"), Next: in}); err != nil {
		return err
	}
	p.status, q.status, q.seq = "failed again", "accepted", in.Seq
	a.xs = append(a.xs, q)
	return l.next(a, told, q)
}

func (l *lanePlot) expect(f facts) {
	var ids []string
	for _, p := range l.queue {
		ids = append(ids, p.id)
	}
	if l.since {
		ids = append(ids, "blocked")
	}
	f["lane"] = strings.Join(ids, ",")
}

func (l *lanePlot) see(a *act, s *sqlite.Store, f facts) error {
	ids := make([]string, 0, len(a.xs))
	at := map[int64]*played{}
	blocked := false
	for _, p := range a.xs {
		x, err := s.Get(ctx, p.seq, time.Now())
		if errors.Is(err, atom.ErrUnknown) {
			continue
		} else if err != nil {
			return err
		}
		if x.Outcome != nil && (x.Outcome.Status != atom.Failed || x.Outcome.Resolved != nil) {
			continue
		}
		place, err := s.Place(ctx, p.seq, x.Lane)
		if err != nil {
			return err
		}
		if place == nil {
			if x.Outcome == nil {
				return fmt.Errorf("%s has no place", p.id)
			}
			continue
		}
		if at[place.Ahead] != nil {
			return fmt.Errorf("%s and %s are both at %d", p.id, at[place.Ahead].id, place.Ahead)
		}
		at[place.Ahead] = p
		blocked = blocked || !place.Since.IsZero()
	}
	for i := range int64(len(at)) {
		if at[i] == nil {
			return fmt.Errorf("%d in the lane, nobody at %d", len(at), i)
		}
		ids = append(ids, at[i].id)
	}
	if blocked {
		ids = append(ids, "blocked")
	}
	f["lane"] = strings.Join(ids, ",")
	return l.drain(a, s, at, blocked)
}

// drain has all end in turn, and looks who is told.
func (l *lanePlot) drain(a *act, s *sqlite.Store, at map[int64]*played, blocked bool) error {
	for i := range int64(len(at)) {
		told := a.c.told()
		if i == 0 && blocked {
			if _, err := s.Unblock(ctx, at[0].process, a.name, false); err != nil {
				return err
			}
		} else if err := s.Apply(ctx, &atom.Change{Seq: at[i].seq, Outcome: outcome()}); err != nil {
			return err
		}
		if next := at[i+1]; next != nil {
			if now := a.c.told(); now[next.seq] != told[next.seq]+1 {
				return fmt.Errorf("after a restart %s is told %d times", next.id, now[next.seq]-told[next.seq])
			}
		}
	}
	lanes, _, err := s.Blocked(ctx, "", 1000)
	for _, x := range lanes {
		if x.Key == a.name {
			err = fmt.Errorf("the lane is empty and blocked by %d", x.Head)
		}
	}
	return err
}

// failurePlot: what fails is dealt with, some with a successor.
type failurePlot struct{ xs []*played }

func (l *failurePlot) step(a *act) error {
	p := a.one()
	if p == nil || a.r.IntN(3) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	if a.r.IntN(2) == 0 || len(l.xs) == 0 {
		status := []atom.Status{atom.Failed, atom.Expired}[a.r.IntN(2)]
		err := a.end(p, status, nil)
		if err == nil {
			l.xs = append(l.xs, p)
		}
		return err
	}
	i := a.r.IntN(len(l.xs))
	p = l.xs[i]
	r := &atom.Resolution{Seq: p.seq, Note: []byte("by " + a.id()), DropDocuments: a.r.IntN(3) == 0}
	var q *played
	if a.r.IntN(2) == 0 {
		r.Next, q = a.newcomer(true)
	}
	if err := a.c.s.Resolve(ctx, r); err != nil {
		return err
	}
	l.xs = slices.Delete(slices.Clone(l.xs), i, i+1)
	p.status += " " + string(r.Note)
	p.drops = r.DropDocuments
	if q != nil {
		q.seq, q.status = r.Next.Seq, "accepted"
		a.xs = append(a.xs, q)
	}
	if err := a.c.s.Resolve(ctx, &atom.Resolution{Seq: p.seq, Note: []byte("twice")}); !errors.Is(err, atom.ErrResolved) && !errors.Is(err, atom.ErrUnavailable) && !errors.Is(err, atom.ErrFull) {
		return fmt.Errorf("dealt with twice: %w", err)
	}
	return nil
}

func (l *failurePlot) expect(f facts) {
	if len(l.xs) > 0 {
		f["group"] = fmt.Sprint(len(l.xs))
	}
}

func (l *failurePlot) see(a *act, s *sqlite.Store, f facts) error {
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
