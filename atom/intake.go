package atom

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// The status words of an acknowledgement.
const (
	ackAccepted  = "accepted"
	ackDuplicate = "duplicate"
	ackFiltered  = "filtered"
	ackEcho      = "echo"
)

// open reports whether a process' trigger may take anything in now.
func (a *Atom) open(d *Deployed) error {
	switch {
	case a.stopping.Load():
		return ErrStopping
	case !a.started.Load():
		return ErrStarting
	case d.Paused():
		return ErrPaused
	}
	return nil
}

// Accept takes a message on for a fire-and-forget process: once it returns
// without an error, the message is on disk. It fails with a *fault.Failure if
// the message is not what the process asks for, and with an error that means
// "send again" if it cannot be taken now.
func (a *Atom) Accept(ctx context.Context, d *Deployed, in *Arrival) (*Acknowledgement, error) {
	if err := a.open(d); err != nil {
		return nil, err
	}
	ack, err := a.take(ctx, d, in, "")
	if err != nil {
		return nil, err
	}
	if ack.Execution != "" {
		ack.ReplyToken = a.replyToken(ack.Execution)
	}
	if l := d.Process.Listen; l != nil && l.Ack != nil {
		if ack.Answer, err = a.answer(ctx, d, in, l.Ack); err != nil {
			a.log.Error("the acknowledgement could not be computed; the receipt was sent", "process", d.Process.Name, "error", err)
		}
	}
	return ack, nil
}

// take makes the process' own checks, stores what passes them, and tells what
// became of it. With an origin that was seen, nothing is stored.
func (a *Atom) take(ctx context.Context, d *Deployed, in *Arrival, origin string) (*Acknowledgement, error) {
	if a.queue(d.Process.Name).full(d.Process.Delivery.Backlog) {
		return nil, ErrBusy
	}
	taken, out, err := a.intake(ctx, d, in)
	if err != nil {
		return nil, err
	}
	ack := &Acknowledgement{Process: d.Process.Name, Status: out, ReceivedAt: in.Received, SHA256: in.SHA256, CorrelationID: in.CorrelationID}
	if out != "" {
		return ack, nil
	}
	taken.Origin = origin
	a.taking.Add(1)
	r, err := a.store.Accept(ctx, taken)
	a.taking.Add(-1)
	if err != nil {
		return nil, err
	}
	return a.acknowledge(ack, r), nil
}

// intake makes the process' own checks, in order: profile, filter, dedupe, echo
// guard, coalesce, sequence. It gives what is to be stored, or why nothing is.
func (a *Atom) intake(ctx context.Context, d *Deployed, in *Arrival) (taken *Acceptance, out string, err error) {
	p := d.Process
	if err := steps.Match(p.Delivery.Profile, in.Doc); err != nil {
		return nil, "", err
	}
	e := a.prepare(d, in)
	taken = &Acceptance{Process: p.Name, Plan: d.plan.name(), Env: d.release.envHash, Received: in.Received}
	if d := p.Delivery.Expires.Request; d > 0 {
		taken.Expires = in.Received.Add(d)
	}
	if needsFrame(&p.Delivery) {
		f := steps.NewFrame(ctx, e, p, in.Doc, in.Props, in.Received)
		if err := a.reads(ctx, f, p); err != nil {
			return nil, "", err
		}
		if filtered, err := filter(f, &p.Delivery); err != nil || filtered {
			return nil, ackFiltered, err
		}
		key, err := dedupeKey(f, p.Delivery.Dedupe)
		if err != nil {
			return nil, "", err
		}
		if key != "" {
			taken.Dedupe = &Dedupe{Key: key, Until: in.Received.Add(p.Delivery.Dedupe.Window)}
		}
		if ours, err := a.echo(ctx, f, p.Delivery.EchoGuard); err != nil || ours {
			return nil, ackEcho, err
		}
		if err := a.coalesceFor(f, p, taken); err != nil {
			return nil, "", err
		}
		if taken.Lane, err = laneFor(f, d.plan.release, p); err != nil {
			return nil, "", err
		}
		if taken.Track, err = e.track(f); err != nil {
			return nil, "", err
		}
	}
	m := *e.meta
	m.Coalesced = taken.Coalesce != nil
	if in.Request != nil {
		m.Request = appendRequest(nil, in)
	}
	if in.Props != nil {
		m.Props = document.AppendJSON(nil, in.Props)
	}
	if in.Later != nil {
		m.Later = &metaLater{Callback: in.Later.Callback}
		if taken.Dedupe != nil {
			m.Later.Key = taken.Dedupe.Key
		}
	}
	taken.Meta = m.append(make([]byte, 0, 512))
	setDocument(taken, in.Doc, e.redact)
	return taken, "", nil
}

func needsFrame(d *processes.Delivery) bool {
	return d.Filter != nil || d.Dedupe != nil || d.Sequence != nil || d.EchoGuard != nil || d.Coalesce != nil || len(d.Track) > 0
}

// prepare makes the execution of an arrival, as far as it is known before it
// is accepted.
func (a *Atom) prepare(d *Deployed, in *Arrival) *execution {
	e := &execution{
		atom: a, plan: d.plan, received: in.Received, env: d.release.env, envHash: d.release.envHash, redact: redactOf(d.plan),
		meta: &meta{Correlation: in.CorrelationID, Trace: in.Traceparent, Principal: in.Principal, SHA256: in.SHA256, By: in.By},
	}
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

func redactOf(p *plan) []string {
	own, all := p.process.Delivery.Redact, p.project.Defaults.Redact
	if len(all) == 0 {
		return own
	}
	return append(append([]string{}, all...), own...)
}

// filter reports whether the process' filter keeps a message out.
func filter(f *steps.Frame, d *processes.Delivery) (bool, error) {
	if d.Filter == nil {
		return false, nil
	}
	yes, err := d.Filter.Bool(f.Env())
	return !yes, err
}

func dedupeKey(f *steps.Frame, d *processes.Dedupe) (string, error) {
	if d == nil {
		return "", nil
	}
	v, err := d.Key.Eval(f.Env())
	if err != nil {
		return "", err
	}
	if v == nil && d.AcceptMissing {
		return "", nil
	}
	return keyText(d.Key, v, "dedupe", "the message carries no key to recognise repeats by")
}

// keyText gives the value of a key as text; a null one is the message's fault.
func keyText(key *expression.Expr, v any, what, detail string) (string, error) {
	if v == nil {
		return "", &fault.Failure{Code: fault.CodeInvalid, Pos: key.Pos(), Message: "the " + what + " key " + key.Source() + " is null",
			Problems: []fault.Violation{{Detail: detail}}}
	}
	text, err := expression.Text(v)
	if err != nil {
		return "", err
	}
	if len(text) > 512 {
		h := hashOf([]byte(text))
		return "sha256:" + h, nil
	}
	return text, nil
}

// answer computes the acknowledgement that a listener describes.
func (a *Atom) answer(ctx context.Context, d *Deployed, in *Arrival, ack *processes.Ack) (*Answer, error) {
	f := steps.NewFrame(ctx, a.prepare(d, in), d.Process, in.Doc, in.Props, in.Received)
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

// appendRequest writes what `request` reads, as JSON text.
func appendRequest(dst []byte, in *Arrival) []byte {
	r := in.Request
	dst = append(dst, `{"method":`...)
	dst = document.AppendString(dst, r.Method)
	dst = append(dst, `,"path":`...)
	dst = document.AppendString(dst, r.Path)
	dst = append(dst, `,"params":{`...)
	for _, p := range r.Params {
		dst = document.AppendString(member(dst, p.Name), p.Value)
	}
	dst = append(dst, `},"query":`...)
	dst = appendQuery(dst, r.Query)
	dst = append(dst, `,"headers":`...)
	dst = steps.AppendHeaders(dst, r.Header, r.Hidden)
	dst = append(dst, `,"user":`...)
	if r.User == "" {
		dst = append(dst, "null"...)
	} else {
		dst = document.AppendString(dst, r.User)
	}
	dst = append(dst, `,"correlation_id":`...)
	dst = document.AppendString(dst, in.CorrelationID)
	return append(dst, '}')
}

func appendQuery(dst []byte, values map[string][]string) []byte {
	if len(values) == 0 {
		return append(dst, "{}"...)
	}
	query := make(map[string]any, len(values))
	for k, v := range values {
		if len(v) == 1 {
			query[k] = v[0]
		} else {
			query[k] = v
		}
	}
	return document.AppendJSON(dst, document.FromPlain(query))
}

// Execute runs a process durably, whatever its trigger.
func (a *Atom) Execute(ctx context.Context, name string, props *document.Object, doc *document.Document) (*Acknowledgement, error) {
	return a.execute(ctx, "", name, props, doc)
}

func (a *Atom) execute(ctx context.Context, origin, name string, props *document.Object, doc *document.Document) (*Acknowledgement, error) {
	d, ok := a.Process(name)
	if !ok {
		return nil, ErrNoSuch
	}
	if a.stopping.Load() {
		return nil, ErrStopping
	}
	if !a.started.Load() {
		return nil, ErrStarting
	}
	if doc == nil {
		doc = document.Empty
	}
	in := &Arrival{Doc: doc, Received: now(), Props: props, CorrelationID: rand.Text(), SHA256: hashBody(doc)}
	return a.take(ctx, d, in, origin)
}

// now is the time as it is stored: in UTC, to the millisecond.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// unavailable turns an error of the store into a failure that says "send again".
func unavailable(err error) error {
	var f *fault.Failure
	if errors.As(err, &f) {
		return f
	}
	return &fault.Failure{Code: fault.CodeUnavailable, Origin: fault.FromAtom, Message: err.Error(), Cause: err, Retryable: true}
}
