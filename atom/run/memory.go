package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// ErrStopping means that the atom stops: the message was not accepted and may
// be sent again.
var ErrStopping = errors.New("the atom is stopping")

// Request runs a request/reply process in memory, on the caller's time, and
// returns its reply. With an error the reply holds only the execution's id, or
// is nil if nothing was recorded. If steps follow the reply, everything done so
// far is committed before Request returns, and they run durably. The execution
// is recorded afterwards, off the caller's path.
func (g *Engine) Request(ctx context.Context, d Deployed, in *Message) (*Reply, error) {
	ctx, release := blob.Ensure(ctx, g.Blobs)
	defer release()
	p := d.Plan.Process
	if err := steps.Match(p.Delivery.Profile, in.Doc); err != nil {
		return nil, err
	}
	e := g.prepare(d, in)
	if e.seq = g.Store.Reserve(); e.seq == 0 {
		return nil, store.ErrUnavailable
	}
	e.started = g.Clock.Wall()
	f := steps.NewFrame(ctx, e, p, in.Doc, in.Props, in.Received)
	if err := g.loadState(ctx, f, p); err != nil {
		return nil, err
	}
	if filtered, err := filter(f, &p.Delivery); err != nil {
		return nil, err
	} else if filtered {
		return &Reply{None: true}, nil
	}
	if echo, err := g.isEcho(ctx, f, p.Delivery.EchoGuard); err != nil {
		return nil, err
	} else if echo {
		return &Reply{None: true}, nil
	}
	key, err := g.dedupeOf(f, p.Delivery.Dedupe, in)
	if err != nil {
		return nil, err
	}
	if key != nil {
		taken, err := g.Store.Claim(ctx, p.Name, key, e.seq)
		if err != nil {
			return nil, err
		}
		if taken != nil {
			return repeatedReply(taken, key, p.Delivery.Dedupe.Shared)
		}
		e.dedupe = key
	}
	run := memoryRun{e, f}
	reply, err := run.run()
	if key != nil {
		if err := run.settle(ctx, key.Key, reply, err); err != nil {
			return nil, err
		}
	}
	return reply, err
}

// memoryRun is the run of an execution in memory.
type memoryRun struct {
	*execution
	f *steps.Frame
}

// settle ends the claim on a dedupe key: with the reply, or by freeing the key
// if the request failed.
func (m memoryRun) settle(ctx context.Context, key string, reply *Reply, failed error) error {
	var stored []byte
	var unstored error
	if failed == nil {
		r := reply
		if r.Doc == nil {
			r = &Reply{Doc: document.New(nil, "", "")}
		}
		stored, unstored = m.engine.packRepeat(ctx, r)
	}
	ctx, stop := Detach(ctx)
	defer stop()
	err := m.engine.Store.Settle(ctx, m.plan.Process.Name, key, m.seq, stored)
	if err != nil && stored != nil { // the sender sends again
		err = errors.Join(err, m.engine.Store.Settle(ctx, m.plan.Process.Name, key, m.seq, nil))
	}
	return cmp.Or(unstored, err)
}

// run runs the steps and records the execution.
func (m memoryRun) run() (*Reply, error) {
	err := steps.RunProcess(m.f)
	switch {
	case err == steps.Detached:
		return m.reply, nil
	case err == steps.Interrupted:
		return nil, ErrStopping
	}
	if err == nil {
		err = m.commitState(m.f.Context()) // before the reply
	}
	var fail *fault.Failure
	reply := m.reply
	if err != nil {
		fail = m.checkDetail(m.f.Context(), fault.AsFailure(err))
	} else if reply == nil {
		reply = &Reply{Execution: m.id(), None: true}
		m.warnings = append(m.warnings, m.missingReply())
	}
	if fail != nil && IsUnavailable(fail) {
		m.logFailure(slog.LevelWarn, "request not accepted", "", fail)
		return nil, fail // the caller sends again, so there is nothing to resubmit
	}
	m.record(fail)
	if fail != nil {
		return &Reply{Execution: m.id(), None: true}, fail // so that the caller can name it
	}
	return reply, nil
}

// drop removes the documents from a failure that is not kept.
func (m memoryRun) drop(rec *store.Finished) {
	rec.Doc, rec.Data, rec.Meta = nil, nil, m.meta.Append(nil)
	rec.Outcome.DropDocuments, rec.Outcome.Trace = true, BareTrace(rec.Outcome.Trace)
	rec.Outcome.Resolved = dropped(Now())
}

// record hands an execution that ran in memory to the store's recorder.
func (m memoryRun) record(fail *fault.Failure) {
	p := m.plan.Process
	keep := p.Delivery.Retention
	rec := &store.Finished{Record: store.Record{Message: store.Message{Seq: m.seq, Process: p.Name, Plan: m.plan.Name(), Env: m.envHash, Received: m.received}}}
	failed := fail != nil && !m.rejects(fail)
	documents := keep.Documents > 0
	if documents || failed {
		SetDocument(&rec.Message, m.f.Input(), m.redact)
	}
	meta := *m.meta
	if failed {
		meta.Memory = true
		m.addInputs(&meta, m.f)
	}
	rec.Meta = meta.Append(make([]byte, 0, 160))
	if track, err := m.track(m.f); err == nil {
		rec.Track, m.tracked = track, track
	}
	rec.Outcome = m.outcome(fail, documents)
	if failed {
		rec.FileBytes = m.engine.fileBytes(rec)
	}
	if failed && !m.engine.kept.admit(m.f.Context(), p.Name, int64(rec.Size())+rec.FileBytes, time.Now()) {
		m.plan.Stats.FailureDropped()
		m.drop(rec)
	}
	m.plan.Stats.Ended(string(rec.Outcome.Status), rec.Outcome.Ended.Sub(m.started))
	m.engine.Store.Record(rec)
	m.logEnd(rec.Outcome.Status, fail)
	m.engine.reportEnd(m.execution, m.f.Input(), &rec.Outcome, fail)
	if alarm := m.engine.onFailure(m.execution, &rec.Outcome); alarm != nil {
		if _, err := m.engine.Store.Accept(context.WithoutCancel(m.f.Context()), alarm); err != nil {
			m.engine.Log.Error("cannot start the on_failure process", "process", p.Name, "execution", m.id(), "error", err)
		}
	}
}

// fileBytes returns the size of the stored files that an execution refers to.
func (g *Engine) fileBytes(rec *store.Finished) (size int64) {
	if g.Blobs == nil {
		return 0
	}
	names := blob.Names(blob.Names(blob.Names(nil, rec.Doc), rec.Data), rec.Meta)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if r, n, err := g.Blobs.OpenFile(name); err == nil {
			size += n
			_ = r.Close() // nothing was read
		}
	}
	return size
}

// addInputs adds the request and the properties to m.
func (e *execution) addInputs(m *Meta, f *steps.Frame) {
	if e.request != nil {
		m.Request = document.AppendJSON(nil, e.request())
	}
	if p, _ := f.Name("props"); p != nil {
		m.Props = document.AppendJSON(nil, p)
	}
}

// detach commits an execution in memory with its journal, so that the steps
// after an early reply run durably.
func (e *execution) detach(f *steps.Frame) error {
	m := *e.meta
	m.Replied = true
	e.addInputs(&m, f)
	a := &store.Message{Seq: e.seq, Process: e.plan.Process.Name, Plan: e.plan.Name(), Env: e.envHash, Received: e.received, Due: e.engine.Clock.Now(), Entries: e.entries, Dedupe: e.dedupe}
	a.Meta = m.Append(nil)
	SetDocument(a, f.Input(), e.redact)
	track, err := e.track(f)
	if err != nil {
		return err
	}
	a.Track = track
	if _, err := e.engine.Store.Accept(f.Context(), a); err != nil {
		return unavailable(err)
	}
	return nil
}

// commitState commits the state that an execution in memory has set.
func (m memoryRun) commitState(ctx context.Context) error {
	u := m.staged.update()
	if u == nil {
		return nil
	}
	switch err := m.engine.Store.UpdateState(ctx, u); {
	case errors.Is(err, store.ErrConflict):
		return m.staged.conflict(m.plan.Process.Name)
	case err != nil:
		return unavailable(fmt.Errorf("store the state: %w", err))
	}
	return nil
}
