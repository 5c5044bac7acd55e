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

// statePlot: what a process keeps is committed with what made it.
type statePlot struct {
	version, prints int64
	value           string
	keys            []string
}

func (l *statePlot) step(a *act) error {
	p := a.one()
	if p == nil {
		in, p := a.newcomer(false)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	value, key := a.id(), a.id()
	m := &atom.Memory{
		States: []atom.StateChange{{Process: a.name, Version: l.version, Set: []atom.Property{{Name: "v", Value: []byte(value)}}}},
		Snapshots: []atom.SnapshotChange{{Process: a.name, Name: "s", Version: l.prints, Prints: []atom.Print{
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
		err = a.c.s.Remember(ctx, m)
	case 1:
		err = a.c.s.Apply(ctx, &atom.Change{Seq: p.seq, Memory: m, Entries: []atom.Entry{{Path: value, Kind: "call", At: time.Now()}}})
		if err == nil {
			p.journal = append(p.journal, value+"=")
		}
	default:
		err = a.end(p, atom.Completed, func(c *atom.Change) { c.Memory = m })
	}
	if stale {
		if errors.Is(err, atom.ErrConflict) {
			return nil
		}
		return errors.Join(err, errors.New("a stale version was taken"))
	}
	if err == nil {
		l.version++
		l.prints++
		l.value, l.keys = value, append(l.keys, key, key+"/2", key+"/3")
	}
	return err
}

func (l *statePlot) expect(f facts) {
	if l.version > 0 {
		slices.Sort(l.keys)
		f["state"] = fmt.Sprint(l.version, l.value, l.prints, l.keys)
	}
}

func (l *statePlot) see(a *act, s *sqlite.Store, f facts) error {
	state, err := s.State(ctx, a.name)
	if err != nil || state.Version == 0 {
		return err
	}
	prints, version, err := s.Snapshot(ctx, a.name, "s", "", 10000)
	var keys []string
	for _, p := range prints {
		keys = append(keys, p.Key)
	}
	f["state"] = fmt.Sprint(state.Version, string(state.Properties[0].Value), version, keys)
	return err
}

// coalescePlot: of one key's messages the newest runs.
type coalescePlot struct{ last *played }

func (l *coalescePlot) step(a *act) error {
	if l.last != nil && l.last.live() && a.r.IntN(4) == 0 { // it begins
		err := a.c.s.Apply(ctx, &atom.Change{Seq: l.last.seq, Begins: true, Entries: []atom.Entry{{Path: "begun", Kind: "call", At: time.Now()}}})
		if err == nil {
			l.last.journal = append(l.last.journal, "begun=")
			l.last = nil
		}
		return err
	}
	in, p := a.newcomer(true)
	in.Process, in.Due = "p0", time.Now().Add(time.Hour)
	in.Coalesce = &atom.Coalesce{Key: a.name, Superseded: atom.Outcome{Status: atom.Superseded, Started: time.Now(), Ended: time.Now()}}
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

func (*coalescePlot) expect(facts) {}

func (*coalescePlot) see(*act, *sqlite.Store, facts) error { return nil }

// expiryPlot: some may not begin any more.
type expiryPlot struct{ xs []*expiring }

type expiring struct {
	*played
	over bool
}

func (l *expiryPlot) step(a *act) error {
	if len(l.xs) == 0 || a.r.IntN(2) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		x := &expiring{p, a.r.IntN(2) == 0}
		in.Expires = time.Now().Add(time.Hour)
		if x.over {
			in.Expires = time.Now().Add(-time.Second)
		}
		_, err := a.accept(in, p, "accepted")
		if err == nil {
			l.xs = append(l.xs, x)
		}
		return err
	}
	i := a.r.IntN(len(l.xs))
	x := l.xs[i]
	if !x.over {
		err := a.c.s.Apply(ctx, &atom.Change{Seq: x.seq, Begins: true})
		if err == nil {
			l.xs = slices.Delete(slices.Clone(l.xs), i, i+1)
		}
		return err
	}
	if err := a.c.s.Apply(ctx, &atom.Change{Seq: x.seq, Begins: true}); !errors.Is(err, atom.ErrExpired) {
		return errors.Join(err, errors.New("it began too late"))
	}
	err := a.end(x.played, atom.Expired, func(c *atom.Change) { c.Unbegun = true })
	if err == nil {
		l.xs = slices.Delete(slices.Clone(l.xs), i, i+1)
	}
	return err
}

func (l *expiryPlot) expect(f facts) {
	for _, x := range l.xs {
		if x.over {
			f["overdue "+x.id] = "yes"
		}
	}
}

func (l *expiryPlot) see(a *act, s *sqlite.Store, f facts) error {
	over, _, err := s.Overdue(ctx, 1000)
	for _, o := range over {
		for _, p := range a.xs {
			if p.seq == o.Seq {
				f["overdue "+p.id] = "yes"
			}
		}
	}
	return err
}

// repliesPlot: what senders may collect, and what repeats are answered.
type repliesPlot struct{ replies, keys map[string]string }

func (l *repliesPlot) step(a *act) error {
	if l.replies == nil {
		l.replies, l.keys = map[string]string{}, map[string]string{}
	}
	p := a.one()
	if p == nil || a.r.IntN(3) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		in.Process, p.process = "p0", "p0"
		in.Dedupe = &atom.Dedupe{Key: p.id, Until: time.Now().Add(time.Hour)}
		_, err := a.accept(in, p, "accepted")
		if err == nil {
			l.keys[p.id] = "runs"
		}
		return err
	}
	body := docOf(a.r, a.id())
	switch a.r.IntN(3) {
	case 0: // early
		err := a.c.s.Apply(ctx, &atom.Change{Seq: p.seq, Reply: &atom.KeptReply{Body: body}})
		if err == nil {
			l.replies[p.id] = short(body) + " open"
		}
		return err
	case 1: // its end says until when
		until := time.Now().Add(time.Hour)
		err := a.end(p, atom.Completed, func(c *atom.Change) { c.Reply = &atom.KeptReply{Until: until} })
		if err == nil && l.replies[p.id] != "" {
			l.replies[p.id] = strings.TrimSuffix(l.replies[p.id], " open") + " until"
		}
		return err
	}
	err := a.end(p, atom.Failed, func(c *atom.Change) {
		c.Reply = &atom.KeptReply{Body: body, Until: time.Now().Add(time.Hour)}
		c.Settled = &atom.Settled{Key: p.id, Reply: []byte(p.id)}
	})
	if err == nil {
		l.replies[p.id], l.keys[p.id] = short(body)+" until", "settled"
	}
	return err
}

func (l *repliesPlot) expect(f facts) {
	for id, body := range l.replies {
		f["reply "+id] = body
	}
	for id, state := range l.keys {
		f["key "+id] = state
	}
}

func (l *repliesPlot) see(a *act, s *sqlite.Store, f facts) error {
	for _, p := range a.xs {
		if f[p.id] == "" {
			continue
		}
		claimed, reply, err := s.Claim(ctx, "p0", p.id, s.Reserve(), time.Now().Add(time.Hour))
		switch {
		case err != nil || claimed:
			return errors.Join(err, fmt.Errorf("the key of %s is free", p.id))
		case reply == nil:
			f["key "+p.id] = "runs"
		case string(reply) == p.id:
			f["key "+p.id] = "settled"
		}
		k, err := s.KeptReply(ctx, p.seq)
		if errors.Is(err, atom.ErrUnknown) {
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

// holdPlot: executions are held until something lets them go, and calls are
// noted before and after they are made.
type holdPlot struct {
	held    []*played
	writes  []string
	writers []*played
	marks   []string
}

func (l *holdPlot) step(a *act) error {
	p := a.one()
	switch {
	case p == nil || a.r.IntN(4) == 0:
		in, p := a.newcomer(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	case a.r.IntN(5) == 0 && len(l.held) > 0:
		if _, _, err := a.c.s.Release(ctx, a.name, 0, 1000); err != nil {
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
		err := a.c.s.Apply(ctx, &atom.Change{Seq: p.seq, Park: &atom.Park{State: atom.Held, For: []string{a.name}, Why: "x"}})
		if err == nil {
			p.status = "held"
			l.held = append(l.held, p)
		}
		return err
	case a.r.IntN(5) == 0:
		return a.end(p, atom.Cancelled, nil)
	}
	until := time.Now().Add(time.Hour)
	if n := len(l.marks); n < len(l.writes) && l.writers[n].live() && a.r.IntN(2) == 0 {
		id := l.writes[n]
		err := a.c.s.Apply(ctx, &atom.Change{Seq: l.writers[n].seq, Marks: []atom.Mark{{Path: id, System: a.name, Record: id, Version: "1", Until: until}}})
		if err == nil {
			l.marks = append(l.marks, id)
		}
		return err
	}
	id := a.id()
	err := a.c.s.Apply(ctx, &atom.Change{Seq: p.seq, Writes: []atom.Write{{Path: id, System: a.name, Record: id, Until: until}}})
	if err == nil {
		l.writes, l.writers = append(l.writes, id), append(l.writers, p)
	}
	return err
}

func (l *holdPlot) expect(f facts) {
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

func (l *holdPlot) see(a *act, s *sqlite.Store, f facts) error {
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
			return fmt.Errorf("%s is marked and being made", id)
		}
		if ours {
			f["write "+id] = "marked"
		}
	}
	return err
}

// journalPlot: journals grow, in rows and packs, and forget.
type journalPlot struct{}

func (*journalPlot) step(a *act) error {
	p := a.one()
	if p == nil || a.r.IntN(6) == 0 {
		in, p := a.newcomer(a.r.IntN(3) == 0)
		_, err := a.accept(in, p, "accepted")
		return err
	}
	if a.r.IntN(8) == 0 {
		return a.end(p, []atom.Status{atom.Completed, atom.Failed}[a.r.IntN(2)], nil)
	}
	body := docOf(a.r, a.id())
	e := atom.Entry{Path: fmt.Sprintf("3.steps.0[%d]", len(p.journal)), Kind: "call", At: time.Now(), Body: body}
	c := &atom.Change{Seq: p.seq, Entries: []atom.Entry{e}}
	kept := p.journal
	if a.r.IntN(3) == 0 {
		c.Forget = []atom.Forget{{Scope: atom.Scope{Within: "3.steps."}, Key: "3"}}
		kept = nil
	}
	if a.r.IntN(3) == 0 {
		c.Park = &atom.Park{State: atom.Waiting, Due: time.Now().Add(time.Hour)}
	}
	err := a.c.s.Apply(ctx, c)
	if err == nil {
		p.journal = append(slices.Clone(kept), e.Path+"="+short(body))
		if c.Park != nil {
			p.status = "waiting"
		}
	}
	return err
}

func (*journalPlot) expect(facts) {}

func (*journalPlot) see(*act, *sqlite.Store, facts) error { return nil }
