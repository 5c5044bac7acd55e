package run

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// Why Admit dropped a message.
const (
	Filtered = "filtered" // by the process' filter
	Echo     = "echo"     // by its echo guard
)

// maxKey bounds dedupe, sequence and coalesce keys; longer ones are hashed.
const maxKey = 512

// Admit applies the checks of a process to a message: profile, filter, dedupe,
// echo guard, coalesce and sequence. It returns the message to store, or why
// it was dropped.
func (g *Engine) Admit(ctx context.Context, d Deployed, in *Message) (admitted *store.Message, dropped string, err error) {
	ctx = blob.Into(ctx, g.Blobs)
	p := d.Plan.Process
	if err := steps.Match(p.Delivery.Profile, in.Doc); err != nil {
		return nil, "", err
	}
	e := g.prepare(d, in)
	admitted = &store.Message{Process: p.Name, Plan: d.Plan.Name(), Env: d.EnvHash, Received: in.Received}
	if d := p.Delivery.Expires.Request; d > 0 {
		admitted.Expires = g.Clock.Now().Add(d)
	}
	if needsFrame(&p.Delivery) {
		f := steps.NewFrame(ctx, e, p, in.Doc, in.Props, in.Received)
		if dropped, err := e.check(ctx, f, in, admitted); err != nil || dropped != "" {
			return nil, dropped, err
		}
	}
	m := *e.meta
	m.Coalesced = admitted.Coalesce != nil
	if in.Request != nil {
		m.Request = appendRequest(nil, in)
	}
	if in.Props != nil {
		m.Props = document.AppendJSON(nil, in.Props)
	}
	if in.Deferred != nil {
		m.Deferred = &metaDeferred{Callback: in.Deferred.Callback}
		if admitted.Dedupe != nil {
			m.Deferred.Key = admitted.Dedupe.Key
		}
	}
	admitted.Meta = m.Append(make([]byte, 0, 512))
	SetDocument(admitted, in.Doc, e.redact)
	return admitted, "", nil
}

// needsFrame reports whether a check evaluates an expression.
func needsFrame(d *processes.Delivery) bool {
	return d.Filter != nil || d.Dedupe != nil || d.Sequence != nil || d.EchoGuard != nil || d.Coalesce != nil || len(d.Track) > 0
}

// check makes the checks that evaluate expressions, and sets the fields that
// they compute.
func (e *execution) check(ctx context.Context, f *steps.Frame, in *Message, m *store.Message) (dropped string, err error) {
	g, p := e.engine, e.plan.Process
	if err := g.loadState(ctx, f, p); err != nil {
		return "", err
	}
	if filtered, err := filter(f, &p.Delivery); err != nil || filtered {
		return Filtered, err
	}
	if m.Dedupe, err = g.dedupeOf(f, p.Delivery.Dedupe, in); err != nil {
		return "", err
	}
	if echo, err := g.isEcho(ctx, f, p.Delivery.EchoGuard); err != nil || echo {
		return Echo, err
	}
	if err := g.coalesce(f, p, in, m); err != nil {
		return "", err
	}
	if m.Lane, err = laneFor(f, e.plan.Release, p); err != nil {
		return "", err
	}
	m.Track, err = e.track(f)
	return "", err
}

// prepare returns the execution of a message that is not accepted yet.
func (g *Engine) prepare(d Deployed, in *Message) *execution {
	meta := &Meta{Correlation: in.CorrelationID, Trace: in.Traceparent, Principal: in.Principal, SHA256: in.SHA256, By: in.By, RequestID: in.RequestID, ReplyTo: in.ReplyTo}
	e := newExecution(g, d.Plan, meta, in.Received, inputs{env: d.Env, envHash: d.EnvHash, redact: d.Plan.redact()})
	if in.Request != nil {
		var request any
		e.request = func() any {
			e.mu.Lock()
			defer e.mu.Unlock()
			if request == nil {
				request = document.Raw(appendRequest(nil, in))
			}
			return request
		}
	}
	return e
}

// Replace puts another document in the place of the one of m, which runs on a
// plan again. With inLane it computes the lane anew.
func (g *Engine) Replace(ctx context.Context, m *store.Message, p *Plan, meta *Meta, doc *document.Document, inLane bool) error {
	env, err := g.Deployments.Env(ctx, m.Env)
	if err != nil {
		return err
	}
	e := newExecution(g, p, meta, m.Received, inputs{env: env, redact: p.redact()})
	SetDocument(m, doc, e.redact)
	if meta.Call != nil {
		return nil
	}
	f := steps.NewFrame(blob.Into(ctx, g.Blobs), e, p.Process, doc, meta.props(), m.Received)
	if inLane {
		if m.Lane, err = laneFor(f, p.Release, p.Process); err != nil {
			return err
		}
	}
	m.Track, err = e.track(f)
	return err
}

// loadState lets the checks of a process read its current state.
func (g *Engine) loadState(ctx context.Context, f *steps.Frame, p *processes.Process) error {
	if !p.State {
		return nil
	}
	state, err := g.Store.State(ctx, p.Name)
	if err != nil {
		return unavailable(err)
	}
	f.SetState(stateObject(state))
	return nil
}

// filter reports whether the process' filter drops a message.
func filter(f *steps.Frame, d *processes.Delivery) (bool, error) {
	if d.Filter == nil {
		return false, nil
	}
	yes, err := d.Filter.Bool(f.Env())
	return !yes, err
}

// keyText returns the value of a key as text. A null key is an invalid message.
func keyText(key *expression.Expr, v any, what, detail string) (string, error) {
	if v == nil {
		return "", &fault.Failure{Code: fault.CodeInvalid, Pos: key.Pos(), Message: "the " + what + " key " + key.Source() + " is null",
			Problems: []fault.Violation{{Detail: detail}}}
	}
	text, err := expression.Text(v)
	if err != nil {
		return "", err
	}
	if len(text) > maxKey {
		return "sha256:" + Hash([]byte(text)), nil
	}
	return text, nil
}

// laneFor returns the lane of a message; nil if its process has no sequence.
func laneFor(f *steps.Frame, release string, p *processes.Process) (*store.Lane, error) {
	s := p.Delivery.Sequence
	if s == nil {
		return nil, nil
	}
	v, err := s.Key.Eval(f.Env())
	if err != nil {
		return nil, err
	}
	key, err := keyText(s.Key, v, "sequence", "the message has no key to order it by")
	if err != nil {
		return nil, err
	}
	return &store.Lane{Scope: laneScope(release, p), Key: key, Block: !s.Skip, Limit: s.Limit}, nil
}

// laneScope returns the scope of the lanes of a process: the process, or a
// slash and the qualified name that several processes share.
func laneScope(release string, p *processes.Process) string {
	if s := p.Delivery.Sequence; s != nil && s.Scope != "" {
		return "/" + Qualify(release, s.Scope)
	}
	return p.Name
}

// coalesce makes m the newest message of its key, due when the window of the
// first one ends.
func (g *Engine) coalesce(f *steps.Frame, p *processes.Process, in *Message, m *store.Message) error {
	c := p.Delivery.Coalesce
	if c == nil {
		return nil
	}
	v, err := c.Key.Eval(f.Env())
	if err != nil {
		return err
	}
	key, err := keyText(c.Key, v, "coalesce", "the message has no key to merge it by")
	if err != nil {
		return err
	}
	m.Seq, m.Due = g.Store.Reserve(), g.Clock.Now().Add(c.Window)
	if m.Seq == 0 {
		return store.ErrUnavailable
	}
	note, err := json.Marshal(&ResolutionView{How: ResolvedSuperseded, Execution: g.IDs.ExecutionID(m.Seq, m.Received), At: m.Received})
	if err != nil {
		return err
	}
	m.Coalesce = &store.Coalesce{Key: scopedKey(key, in.Principal, c.Shared), Superseded: store.Outcome{
		Status: store.Superseded, Started: m.Received, Ended: m.Received, Trace: emptyTrace, Resolved: note,
		DropDocuments: p.Delivery.Retention.Documents == 0, Keep: g.retentionOf(p).Records,
	}}
	return nil
}

// track computes the searchable fields from the input.
func (e *execution) track(f *steps.Frame) (map[string]string, error) {
	fields := e.plan.Process.Delivery.Track
	if len(fields) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(fields))
	for _, t := range fields {
		v, err := t.Value.Eval(f.Env())
		if err != nil {
			return nil, err
		}
		if v != nil {
			out[t.Name] = strings.Trim(string(document.AppendJSON(nil, v)), `"`)
		}
	}
	return out, nil
}

// Answer computes the acknowledgement that the `ack:` of a listener describes.
func (g *Engine) Answer(ctx context.Context, d Deployed, in *Message, ack *processes.Ack) (*Answer, error) {
	f := steps.NewFrame(blob.Into(ctx, g.Blobs), g.prepare(d, in), d.Plan.Process, in.Doc, in.Props, in.Received)
	out := &Answer{Status: ack.Status}
	if ack.Body != nil {
		text, err := ack.Body.Append(nil, f.Env())
		if err != nil {
			return nil, err
		}
		out.Body = document.FromJSON(text)
		if s, ok := out.Body.Value().(string); ok {
			out.Body = document.FromText(s)
		}
	}
	if ack.Headers != nil {
		v, err := ack.Headers.Value(f.Env())
		if err != nil {
			return nil, err
		}
		o, _ := document.Decode(v).(*document.Object)
		out.Headers = headerList(o)
	}
	return out, nil
}

// unavailable returns an error of the store as a failure that means "send again".
func unavailable(err error) error {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f
	}
	return &fault.Failure{Code: fault.CodeUnavailable, Source: fault.FromAtom, Message: err.Error(), Cause: err, Retryable: true}
}

// IsUnavailable reports whether err means that a message was not accepted and
// may be sent again, because of the store or a full lane.
func IsUnavailable(err error) bool {
	var f *fault.Failure
	if errors.As(err, &f) && f.Code == fault.CodeUnavailable && f.Source == fault.FromAtom {
		return true
	}
	for _, e := range []error{store.ErrUnavailable, store.ErrFull, store.ErrLaneFull, ErrStopping} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
