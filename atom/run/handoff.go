package run

import (
	"errors"
	"strconv"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// CallbackProcess is the built-in process that delivers reply callbacks.
const CallbackProcess = "valence-callback"

// Handoff creates an execution of its own, in the commit of the step.
func (e *execution) Handoff(f *steps.Frame, h *steps.Handoff) error {
	key := f.Key()
	if x, ok := e.journaled(KindHandoff, key); ok {
		f.AdvanceClock(x.At)
		if len(x.Body) > 0 {
			e.addLaneMate(string(x.Body))
		}
		return nil
	}
	if err := e.refuse(f, "this hand-off"); err != nil {
		return err
	}
	now := e.clock(f)
	m, err := handoff{execution: e, f: f, h: h, now: now}.message()
	if err != nil {
		return err
	}
	x := store.Entry{Path: key, Kind: KindHandoff, At: now}
	if m != nil && m.Lane != nil && e.lane != nil && m.Lane.Scope == e.lane.Scope && m.Lane.Key == e.lane.Key {
		x.Body = []byte(m.Process)
		e.addLaneMate(m.Process)
	}
	if e.durable {
		f.AdvanceClock(now)
		return e.appendEntry(x, m)
	}
	if m != nil { // committed at its step
		if _, err := e.engine.Store.Accept(f.Context(), m); err != nil {
			return unavailable(err)
		}
	}
	f.AdvanceClock(now)
	return e.appendEntry(x, nil)
}

// handoff is one occurrence of a hand-off.
type handoff struct {
	*execution
	f   *steps.Frame
	h   *steps.Handoff
	now time.Time
}

// message returns the message of the execution to create; nil if the checks of
// its process dropped it.
func (x handoff) message() (*store.Message, error) {
	if x.h.Call != nil {
		return x.ofCall(), nil
	}
	return x.ofProcess()
}

// newMeta returns the metadata of a hand-off and its origin.
func (x handoff) newMeta() (*Meta, string) {
	return &Meta{Correlation: x.meta.Correlation, Trace: x.meta.Trace, Principal: x.meta.Principal, Parent: x.id(), Alarm: x.meta.Alarm},
		DeriveText("handoff", x.root(), x.f.Key())
}

// ofCall returns the hand-off of one call.
func (x handoff) ofCall() *store.Message {
	meta, origin := x.newMeta()
	m := &store.Message{Process: x.plan.Process.Name, Plan: x.plan.Name(), Received: x.now, Env: x.envHash, Origin: origin}
	meta.Root = x.root()
	meta.Call = &metaCall{Path: x.f.Step().Path, Key: x.f.Key()}
	if x.h.Call.Settings != nil {
		meta.Call.With = document.AppendJSON(nil, x.h.Call.Settings)
	}
	if owner := x.f.Process(); owner != x.plan.Process { // a step of a called process
		m.Process, m.Plan = owner.Name, (&Plan{Process: owner, Release: x.plan.Release, Files: x.plan.Files}).Name()
	}
	SetDocument(m, x.h.Call.Body, x.redact)
	m.Meta = meta.Append(nil)
	return m
}

// ofProcess returns the message that starts a process; nil if the process'
// checks dropped it.
func (x handoff) ofProcess() (*store.Message, error) {
	d, ok := x.engine.Deployments.Deployed(x.h.Process)
	if !ok {
		return nil, fault.Failf(fault.CodeInternal, "the process %s is not deployed any more", x.h.Process)
	}
	meta, origin := x.newMeta()
	in := &Message{Doc: x.h.Body, CorrelationID: meta.Correlation, Traceparent: meta.Trace, Principal: meta.Principal, Received: x.now, Props: x.h.Props}
	m, dropped, err := x.engine.Admit(x.f.Context(), d, in)
	if err != nil || dropped != "" {
		return nil, err
	}
	m.Origin = origin
	if m.Lane != nil {
		m.Lane.Limit = 0 // a finished step is not refused
	}
	meta.Coalesced = m.Coalesce != nil
	if x.h.Props != nil {
		meta.Props = document.AppendJSON(nil, x.h.Props)
	}
	m.Meta = meta.Append(nil)
	return m, nil
}

// addLaneMate records that a hand-off to a process waits in the lane of this
// execution.
func (j *journal) addLaneMate(process string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.laneMates == nil {
		j.laneMates = map[string]bool{}
	}
	j.laneMates[process] = true
}

// checkLaneMates fails a wait whose signal would come from a hand-off in the
// lane of this execution: the hand-off does not begin before this execution ends.
func (j *journal) checkLaneMates(wait string) error {
	j.mu.Lock()
	names := make([]string, 0, len(j.laneMates))
	for name := range j.laneMates {
		names = append(names, name)
	}
	j.mu.Unlock()
	find := func(name string) *processes.Process {
		if d, ok := j.engine.Deployments.Deployed(name); ok {
			return d.Plan.Process
		}
		return nil
	}
	for _, name := range names {
		if steps.Resumes(find(name), wait, find) {
			return fault.Failf(fault.CodeOwnKey, "`wait: %s` would never end: `%s`, which resumes it, was handed off with the same sequence key and does not begin before this execution has ended", wait, name)
		}
	}
	return nil
}

// callbackOrigin is the origin of the message that delivers the reply.
func (e *execution) callbackOrigin() string { return DeriveText("callback", e.id()) }

// replyCallback returns the message that delivers a reply to the URL that the
// sender named; nil if there is none. Its origin makes it unique, however often
// its commit is tried.
func (e *execution) replyCallback(r *StoredReply, now time.Time) *store.Message {
	url := e.meta.Deferred.Callback
	if url == "" || e.engine.Callbacks == nil {
		return nil
	}
	props := &document.Object{}
	props.Set("url", url)
	props.Set("process", e.plan.Process.Name)
	props.Set("execution", e.id())
	props.Set("status", strconv.Itoa(r.Status))
	m := &Meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Parent: e.id(), Props: document.AppendJSON(nil, props)}
	return &store.Message{
		Process: CallbackProcess, Plan: e.engine.Callbacks.Name(), Env: e.envHash, Received: now.UTC().Truncate(time.Millisecond),
		Origin: e.callbackOrigin(), Meta: m.Append(nil), DocType: r.Media, Doc: r.Body,
	}
}

var errNoSuchStep = errors.New("there is no such step")
