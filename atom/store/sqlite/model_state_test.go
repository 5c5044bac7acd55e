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

// stateModel updates the state of a process.
type stateModel struct {
	version, snapshotVersion int64
	value                    string
	keys                     []string
}

func (l *stateModel) step(a *worker) error {
	p := a.pickLive()
	if p == nil {
		in, p := a.newExecution(false)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	value, key := a.id(), a.id()
	m := &store.StateUpdate{
		States: []store.StateChange{{Process: a.name, Version: l.version, Set: []store.Property{{Name: "v", Value: []byte(value)}}}},
		Snapshots: []store.SnapshotChange{{Process: a.name, Name: "s", Version: l.snapshotVersion, Digests: []store.Digest{
			{Key: key, Hash: []byte("h")}, {Key: key + "/2", Hash: []byte("h")}, {Key: key + "/3", Hash: []byte("h")},
		}}},
	}
	stale := l.version > 0 && a.r.IntN(4) == 0
	if stale {
		m.Snapshots[0].Version--
	}
	var err error
	switch a.r.IntN(3) {
	case 0:
		err = a.h.store.UpdateState(ctx, m)
	case 1:
		err = a.h.store.Apply(ctx, &store.Change{Seq: p.seq, Require: []store.Condition{m}, Entries: []store.Entry{{Path: value, Kind: "call", At: time.Now()}}})
		if err == nil {
			p.journal = append(p.journal, value+"=")
		}
	default:
		err = a.end(p, store.Completed, func(c *store.Change) { c.Require = []store.Condition{m} })
	}
	if stale {
		if errors.Is(err, store.ErrConflict) {
			return nil
		}
		return errors.Join(err, errors.New("a stale version was accepted"))
	}
	if err == nil {
		l.version++
		l.snapshotVersion++
		l.value, l.keys = value, append(l.keys, key, key+"/2", key+"/3")
	}
	return err
}

func (l *stateModel) expect(f facts) {
	if l.version > 0 {
		slices.Sort(l.keys)
		f["state"] = fmt.Sprint(l.version, l.value, l.snapshotVersion, l.keys)
	}
}

func (l *stateModel) observe(a *worker, s *sqlite.Store, f facts) error {
	state, err := s.State(ctx, a.name)
	if err != nil || state.Version == 0 {
		return err
	}
	digests, version, err := s.Snapshot(ctx, a.name, "s", "", 10000)
	var keys []string
	for _, p := range digests {
		keys = append(keys, p.Key)
	}
	f["state"] = fmt.Sprint(state.Version, string(state.Properties[0].Value), version, keys)
	return err
}

// coalesceModel supersedes messages of one key.
type coalesceModel struct{ last *trackedExecution }

func (l *coalesceModel) step(a *worker) error {
	if l.last != nil && l.last.live() && a.r.IntN(4) == 0 { // it begins
		err := a.h.store.Apply(ctx, &store.Change{Seq: l.last.seq, Require: []store.Condition{store.Begin{}}, Entries: []store.Entry{{Path: "begun", Kind: "call", At: time.Now()}}})
		if err == nil {
			l.last.journal = append(l.last.journal, "begun=")
			l.last = nil
		}
		return err
	}
	in, p := a.newExecution(true)
	in.Process, in.Due = "p0", time.Now().Add(time.Hour)
	in.Coalesce = &store.Coalesce{Key: a.name, Superseded: store.Outcome{Status: store.Superseded, Started: time.Now(), Ended: time.Now()}}
	p.process = "p0"
	if _, err := a.accept(in, p, "waiting"); err != nil {
		return err
	}
	if l.last != nil {
		l.last.status = "superseded"
	}
	l.last = p
	return nil
}

func (*coalesceModel) expect(facts) {}

func (*coalesceModel) observe(*worker, *sqlite.Store, facts) error { return nil }

// expiryModel accepts executions with a start deadline.
type expiryModel struct{ withDeadline []*withDeadline }

type withDeadline struct {
	*trackedExecution
	expired bool
}

func (l *expiryModel) step(a *worker) error {
	if len(l.withDeadline) == 0 || a.r.IntN(2) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		x := &withDeadline{p, a.r.IntN(2) == 0}
		in.Expires = time.Now().Add(time.Hour)
		if x.expired {
			in.Expires = time.Now().Add(-time.Second)
		}
		_, err := a.accept(in, p, "accepted")
		if err == nil {
			l.withDeadline = append(l.withDeadline, x)
		}
		return err
	}
	i := a.r.IntN(len(l.withDeadline))
	x := l.withDeadline[i]
	if !x.expired {
		err := a.h.store.Apply(ctx, &store.Change{Seq: x.seq, Require: []store.Condition{store.Begin{}}})
		if err == nil {
			l.withDeadline = slices.Delete(slices.Clone(l.withDeadline), i, i+1)
		}
		return err
	}
	if err := a.h.store.Apply(ctx, &store.Change{Seq: x.seq, Require: []store.Condition{store.Begin{}}}); !errors.Is(err, store.ErrExpired) {
		return errors.Join(err, errors.New("it began too late"))
	}
	err := a.end(x.trackedExecution, store.Expired, func(c *store.Change) { c.Require = []store.Condition{store.NotBegun{}} })
	if err == nil {
		l.withDeadline = slices.Delete(slices.Clone(l.withDeadline), i, i+1)
	}
	return err
}

func (l *expiryModel) expect(f facts) {
	for _, x := range l.withDeadline {
		if x.expired {
			f["overdue "+x.id] = "yes"
		}
	}
}

func (l *expiryModel) observe(a *worker, s *sqlite.Store, f facts) error {
	over, _, err := s.Overdue(ctx, 1000)
	for _, o := range over {
		for _, p := range a.executions {
			if p.seq == o.Seq {
				f["overdue "+p.id] = "yes"
			}
		}
	}
	return err
}

// repliesModel stores replies and settles dedupe keys.
type repliesModel struct{ replies, keys map[string]string }

func (l *repliesModel) step(a *worker) error {
	if l.replies == nil {
		l.replies, l.keys = map[string]string{}, map[string]string{}
	}
	p := a.pickLive()
	if p == nil || a.r.IntN(3) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		in.Process, p.process = "p0", "p0"
		in.Dedupe = &store.Dedupe{Key: p.id, Until: time.Now().Add(time.Hour)}
		_, err := a.accept(in, p, "accepted")
		if err == nil {
			l.keys[p.id] = "runs"
		}
		return err
	}
	body := docOf(a.r, a.id())
	switch a.r.IntN(3) {
	case 0: // early
		err := a.h.store.Apply(ctx, &store.Change{Seq: p.seq, Reply: &store.DeferredReply{Body: body}})
		if err == nil {
			l.replies[p.id] = short(body) + " open"
		}
		return err
	case 1: // with the end of the execution
		until := time.Now().Add(time.Hour)
		err := a.end(p, store.Completed, func(c *store.Change) { c.Reply = &store.DeferredReply{Until: until} })
		if err == nil && l.replies[p.id] != "" {
			l.replies[p.id] = strings.TrimSuffix(l.replies[p.id], " open") + " until"
		}
		return err
	}
	err := a.end(p, store.Failed, func(c *store.Change) {
		c.Reply = &store.DeferredReply{Body: body, Until: time.Now().Add(time.Hour)}
		c.ClaimResult = &store.ClaimResult{Key: p.id, Reply: []byte(p.id)}
	})
	if err == nil {
		l.replies[p.id], l.keys[p.id] = short(body)+" until", "settled"
	}
	return err
}

func (l *repliesModel) expect(f facts) {
	for id, body := range l.replies {
		f["reply "+id] = body
	}
	for id, state := range l.keys {
		f["key "+id] = state
	}
}

func (l *repliesModel) observe(a *worker, s *sqlite.Store, f facts) error {
	for _, p := range a.executions {
		if f[p.id] == "" {
			continue
		}
		taken, err := s.Claim(ctx, "p0", &store.Dedupe{Key: p.id, Until: time.Now().Add(time.Hour)}, s.Reserve())
		switch {
		case err != nil || taken == nil:
			return errors.Join(err, fmt.Errorf("the key of %s: got it free, want it taken", p.id))
		case taken.Reply == nil:
			f["key "+p.id] = "runs"
		case string(taken.Reply) == p.id:
			f["key "+p.id] = "settled"
		}
		k, err := s.DeferredReply(ctx, p.seq)
		if errors.Is(err, store.ErrUnknown) {
			continue
		} else if err != nil {
			return err
		}
		f["reply "+p.id] = short(k.Body) + " until"
		if k.Until.IsZero() {
			f["reply "+p.id] = short(k.Body) + " open"
		}
	}
	return nil
}

// holdModel holds and releases executions, and writes marks.
type holdModel struct {
	held    []*trackedExecution
	writes  []string
	writers []*trackedExecution
	marks   []string
}

func (l *holdModel) step(a *worker) error {
	p := a.pickLive()
	switch {
	case p == nil || a.r.IntN(4) == 0:
		in, p := a.newExecution(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	case a.r.IntN(5) == 0 && len(l.held) > 0:
		if _, _, err := a.h.store.Release(ctx, a.name, 0, 1000); err != nil {
			return err
		}
		for _, p := range l.held {
			if p.status == "held" {
				p.status = "accepted"
			}
		}
		l.held = nil
		return nil
	case a.r.IntN(2) == 0 && p.status != "held":
		err := a.h.store.Apply(ctx, &store.Change{Seq: p.seq, Disposition: &store.Suspension{State: store.Held, For: []string{a.name}, Reason: "x"}})
		if err == nil {
			p.status = "held"
			l.held = append(l.held, p)
		}
		return err
	case a.r.IntN(5) == 0:
		return a.end(p, store.Cancelled, nil)
	}
	until := time.Now().Add(time.Hour)
	if n := len(l.marks); n < len(l.writes) && l.writers[n].live() && a.r.IntN(2) == 0 {
		id := l.writes[n]
		err := a.h.store.Apply(ctx, &store.Change{Seq: l.writers[n].seq, Marks: []store.Mark{{Path: id, System: a.name, Record: id, Version: "1", Until: until}}})
		if err == nil {
			l.marks = append(l.marks, id)
		}
		return err
	}
	id := a.id()
	err := a.h.store.Apply(ctx, &store.Change{Seq: p.seq, Writes: []store.Write{{Path: id, System: a.name, Record: id, Until: until}}})
	if err == nil {
		l.writes, l.writers = append(l.writes, id), append(l.writers, p)
	}
	return err
}

func (l *holdModel) expect(f facts) {
	n := 0
	for _, p := range l.held {
		if p.status == "held" {
			n++
		}
	}
	if n > 0 {
		f["held"] = fmt.Sprint(n)
	}
	for _, id := range l.writes {
		f["write "+id] = "under way"
	}
	for _, id := range l.marks {
		f["write "+id] = "marked"
	}
}

func (l *holdModel) observe(a *worker, s *sqlite.Store, f facts) error {
	held, err := s.HeldFor(ctx)
	if err != nil {
		return err
	}
	if n := held[a.name]; n > 0 {
		f["held"] = fmt.Sprint(n)
	}
	writes, err := s.Writes(ctx)
	for _, w := range writes {
		if w.System == a.name {
			f["write "+w.Record] = "under way"
		}
	}
	for _, id := range l.writes {
		ours, err := s.Marked(ctx, a.name, id, "1")
		if err != nil {
			return err
		}
		if ours && f["write "+id] != "" {
			return fmt.Errorf("%s: got a mark and a pending write", id)
		}
		if ours {
			f["write "+id] = "marked"
		}
	}
	return err
}

// journalModel grows and trims journals, in rows and packs.
type journalModel struct{}

func (*journalModel) step(a *worker) error {
	p := a.pickLive()
	if p == nil || a.r.IntN(6) == 0 {
		in, p := a.newExecution(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	if a.r.IntN(8) == 0 {
		return a.end(p, []store.Status{store.Completed, store.Failed}[a.r.IntN(2)], nil)
	}
	body := docOf(a.r, a.id())
	e := store.Entry{Path: fmt.Sprintf("3.steps.0[%d]", len(p.journal)), Kind: "call", At: time.Now(), Body: body}
	c := &store.Change{Seq: p.seq, Entries: []store.Entry{e}}
	kept := p.journal
	if a.r.IntN(3) == 0 {
		c.Trim = []store.JournalTrim{{Scope: store.Scope{Within: "3.steps."}, Key: "3"}}
		kept = nil
	}
	if a.r.IntN(3) == 0 {
		c.Disposition = &store.Suspension{State: store.Waiting, Due: time.Now().Add(time.Hour)}
	}
	err := a.h.store.Apply(ctx, c)
	if err == nil {
		p.journal = append(slices.Clone(kept), e.Path+"="+short(body))
		if c.Suspension() != nil {
			p.status = "waiting"
		}
	}
	return err
}

func (*journalModel) expect(facts) {}

func (*journalModel) observe(*worker, *sqlite.Store, facts) error { return nil }
