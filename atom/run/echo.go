package run

import (
	"context"
	"strconv"
	"sync"
	"time"

	"valence/atom/connection"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/expression"
	"valence/processes"
)

const (
	markTTL  = 24 * time.Hour   // how long a written version is known
	echoWait = 10 * time.Second // how long an event waits for the call that may have caused it
	writeTTL = time.Minute      // how long after its timeout a call counts as under way
)

// isEcho reports whether an event was caused by a call of this atom. An event
// that overtakes the answer to such a call waits for it, up to echoWait.
func (g *Engine) isEcho(ctx context.Context, f *steps.Frame, guard *processes.EchoGuard) (bool, error) {
	if guard == nil {
		return false, nil
	}
	record, err := optionalText(f, guard.Record)
	if err != nil || record == "" {
		return false, err
	}
	version, err := optionalText(f, guard.Version)
	if err != nil || version == "" {
		return false, err
	}
	marked, err := g.Store.Marked(ctx, guard.System, record, version)
	if err != nil || marked {
		return marked, err
	}
	if !g.writes.wait(ctx, guard.System, record, g.Clock.Now(), echoWait) {
		return false, nil
	}
	return g.Store.Marked(ctx, guard.System, record, version)
}

// optionalText evaluates an expression to text; null is "".
func optionalText(f *steps.Frame, x *expression.Expr) (string, error) {
	v, err := x.Eval(f.Env())
	if err != nil || v == nil {
		return "", err
	}
	return expression.Text(v)
}

// writes are the calls with marks that are being made.
type writes struct {
	mu   sync.Mutex
	open map[string]map[string]*write // by system, by writeName
}

// write is one call that is being made.
type write struct {
	record string // "": only the answer names it
	until  time.Time
	done   chan struct{}
}

func writeName(seq int64, path string) string { return strconv.FormatInt(seq, 36) + " " + path }

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
		x.until = until // another attempt
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

// wait blocks until the calls that may change a record are done, for at most a
// time. It reports whether there were any. now is the time of Engine.Clock.
func (w *writes) wait(ctx context.Context, system, record string, now time.Time, atMost time.Duration) bool {
	var pending []*write
	w.mu.Lock()
	for name, x := range w.open[system] {
		switch {
		case x.until.Before(now): // not attempted again, such as a cancelled one
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
	timer := time.NewTimer(atMost)
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

// loadWrites loads the calls that were being made when the last run of the atom
// ended. They are made again, and their events may arrive first.
func (g *Engine) loadWrites(ctx context.Context) error {
	list, err := g.Store.Writes(ctx)
	if err != nil {
		return err
	}
	for _, w := range list {
		g.writes.begin(writeName(w.Seq, w.Path), w.System, w.Record, w.Until)
	}
	return nil
}

// doMarked performs a call that changes a record of another system, and
// marks the version that it made.
func (x callRun) doMarked() (*connectors.Result, error) {
	if err := x.beginWrite(); err != nil {
		return nil, err
	}
	r, err := x.do()
	switch {
	case err == nil:
	case steps.EndsRun(err):
		// A failed attempt that is made again may have written all the same.
		if s, ok := err.(*steps.Suspended); ok && s.Held != "" {
			x.endWrite()
		}
		return nil, err
	default:
		if err := x.mark("", ""); err != nil {
			return nil, err
		}
		return nil, err
	}
	record, version, err := x.c.Mark.Version(r)
	if err != nil {
		x.endWrite()
		return nil, err
	}
	if record == "" {
		version = ""
	}
	return r, x.mark(record, version)
}

// beginWrite records that a call is about to change a record. In a durable
// execution that is on disk when it returns.
func (x callRun) beginWrite() error {
	if _, ok := x.journaled(KindMark, x.key); ok {
		return nil
	}
	timeout := x.c.Timeout
	if timeout == 0 {
		timeout = connection.DefaultTimeout
	}
	until := x.engine.Clock.Now().Add(timeout + writeTTL)
	x.engine.writes.begin(writeName(x.seq, x.key), x.c.Mark.System, x.c.Mark.Record, until)
	if !x.durable {
		return nil
	}
	if _, ok := x.journaled(KindCall, x.key); ok {
		return nil
	}
	x.mu.Lock()
	p := x.change()
	p.Writes = append(p.Writes, store.Write{Path: x.key, System: x.c.Mark.System, Record: x.c.Mark.Record, Until: until})
	x.mu.Unlock()
	return x.flush()
}

// endWrite ends a call whose version is not known, or that was not made.
func (x callRun) endWrite() {
	x.engine.writes.end(writeName(x.seq, x.key), x.c.Mark.System)
}

// mark stores the version that a call made ("" for none), and lets the events
// continue that waited for it.
func (x callRun) mark(record, version string) error {
	defer x.endWrite()
	if _, ok := x.journaled(KindMark, x.key); ok {
		return nil
	}
	m := store.Mark{Path: x.key, System: x.c.Mark.System, Record: record, Version: version, Until: x.engine.Clock.Now().Add(markTTL)}
	if !x.durable {
		if version == "" {
			return nil
		}
		ctx, stop := Detach(x.f.Context()) // the call was made, also if the client has hung up
		defer stop()
		if err := x.engine.Store.Mark(ctx, m); err != nil {
			return unavailable(err)
		}
		return nil
	}
	if err := x.appendEntry(store.Entry{Path: x.key, Kind: KindMark, At: x.clock(x.f)}, nil); err != nil {
		return err
	}
	x.mu.Lock()
	p := x.change()
	p.Marks = append(p.Marks, m)
	x.mu.Unlock()
	return x.flush()
}
