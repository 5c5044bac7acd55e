package atom

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"valence/atom/steps"
	"valence/internal/expression"
	"valence/processes"
)

const (
	// markKept is how long it is known that a version is ours.
	markKept = 24 * time.Hour
	// echoWait is how long an event waits at most for the answer to a call of
	// ours that may have caused it.
	echoWait = 10 * time.Second
	// writeKept is how long after a call's own time it is taken to be made.
	writeKept = time.Minute
)

// coalesceFor makes a message the newest of its key, to run when the window of
// the first is over.
func (a *Atom) coalesceFor(f *steps.Frame, p *processes.Process, taken *Acceptance) error {
	c := p.Delivery.Coalesce
	if c == nil {
		return nil
	}
	v, err := c.Key.Eval(f.Env())
	if err != nil {
		return err
	}
	key, err := keyText(c.Key, v, "coalesce", "the message carries no key to bring messages together by")
	if err != nil {
		return err
	}
	taken.Seq, taken.Due = a.store.Reserve(), taken.Received.Add(c.Window)
	note, err := json.Marshal(&ResolutionView{How: "superseded", Execution: a.ExecutionID(taken.Seq, taken.Received), At: taken.Received})
	if err != nil {
		return err
	}
	taken.Coalesce = &Coalesce{Key: key, Superseded: Outcome{
		Status: Superseded, Started: taken.Received, Ended: taken.Received, Trace: []byte(`{"steps":[]}`), Resolved: note,
		DropDocuments: p.Delivery.Retention.Documents == 0, Keep: a.retention(p).Records,
	}}
	return nil
}

// echo reports whether an event was caused by a call of ours. An event that
// overtakes the answer to such a call waits for it, for a while.
func (a *Atom) echo(ctx context.Context, f *steps.Frame, g *processes.EchoGuard) (bool, error) {
	if g == nil {
		return false, nil
	}
	record, err := textOrNone(f, g.Record)
	if err != nil || record == "" {
		return false, err
	}
	version, err := textOrNone(f, g.Version)
	if err != nil || version == "" {
		return false, err
	}
	ours, err := a.store.Marked(ctx, g.System, record, version)
	if err != nil || ours {
		return ours, err
	}
	if !a.writes.wait(ctx, g.System, record, echoWait) {
		return false, nil
	}
	return a.store.Marked(ctx, g.System, record, version)
}

func textOrNone(f *steps.Frame, x *expression.Expr) (string, error) {
	v, err := x.Eval(f.Env())
	if err != nil || v == nil {
		return "", err
	}
	return expression.Text(v)
}

func writeName(seq int64, path string) string { return strconv.FormatInt(seq, 36) + " " + path }

// writes are the calls with marks that are being made now.
type writes struct {
	mu   sync.Mutex
	open map[string]map[string]*write // by system, by execution and path
}

type write struct {
	record string // "": the answer names it
	until  time.Time
	done   chan struct{}
}

func (w *writes) begin(name, system, record string, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[string]map[string]*write{}
	}
	if w.open[system] == nil {
		w.open[system] = map[string]*write{}
	}
	if x := w.open[system][name]; x != nil {
		x.until = until // it is made again
		return
	}
	w.open[system][name] = &write{record: record, until: until, done: make(chan struct{})}
}

func (w *writes) end(name, system string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.open[system][name]; x != nil {
		close(x.done)
		delete(w.open[system], name)
		if len(w.open[system]) == 0 {
			delete(w.open, system)
		}
	}
}

// wait waits for the calls that may change a record, and reports whether there
// were any.
func (w *writes) wait(ctx context.Context, system, record string, most time.Duration) bool {
	var pending []*write
	now := time.Now()
	w.mu.Lock()
	for name, x := range w.open[system] {
		switch {
		case x.until.Before(now): // it was not made again: cancelled, perhaps
			close(x.done)
			delete(w.open[system], name)
		case x.record == "" || x.record == record:
			pending = append(pending, x)
		}
	}
	w.mu.Unlock()
	if len(pending) == 0 {
		return false
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	for _, x := range pending {
		select {
		case <-x.done:
		case <-timer.C:
			return true
		case <-ctx.Done():
			return true
		}
	}
	return true
}

// loadWrites remembers the calls that were being made when the last run ended:
// they are made again, and their events may come first.
func (a *Atom) loadWrites(ctx context.Context) error {
	list, err := a.store.Writes(ctx)
	if err != nil {
		return err
	}
	for _, w := range list {
		a.writes.begin(writeName(w.Seq, w.Path), w.System, w.Record, w.Until)
	}
	return nil
}

// Writes notes that a call is about to change a record of another system. It
// is on disk before the call is made.
func (e *execution) Writes(f *steps.Frame, system, record string, timeout time.Duration) error {
	key := f.Key()
	if _, ok := e.journaled(kindMark, key); ok {
		return nil
	}
	if timeout == 0 {
		timeout = defaultTimeout
	}
	until := time.Now().Add(timeout + writeKept)
	e.atom.writes.begin(writeName(e.seq, key), system, record, until)
	if !e.durable {
		return nil
	}
	if _, ok := e.journaled(kindCall, key); ok {
		return nil
	}
	e.mu.Lock()
	e.writing = append(e.writing, Write{Path: key, System: system, Record: record, Until: until})
	e.mu.Unlock()
	return e.flush()
}

// Unwritten ends what Writes began without a version: the call was not made,
// or nobody can tell what it made.
func (e *execution) Unwritten(f *steps.Frame, system string) {
	e.atom.writes.end(writeName(e.seq, f.Key()), system)
}

// Marks notes the version that a call made, on disk, and lets events go on
// that waited for it.
func (e *execution) Marks(f *steps.Frame, system, record, version string) error {
	key := f.Key()
	defer e.atom.writes.end(writeName(e.seq, key), system)
	if _, ok := e.journaled(kindMark, key); ok {
		return nil
	}
	m := Mark{Path: key, System: system, Record: record, Version: version, Until: time.Now().Add(markKept)}
	if !e.durable {
		if version == "" {
			return nil
		}
		if err := e.atom.store.Mark(f.Context(), m); err != nil {
			return unavailable(err)
		}
		return nil
	}
	if err := e.note(Entry{Path: key, Kind: kindMark, At: e.clock(f)}, nil); err != nil {
		return err
	}
	e.mu.Lock()
	e.marks = append(e.marks, m)
	e.mu.Unlock()
	return e.flush()
}
