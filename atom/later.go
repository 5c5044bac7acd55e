package atom

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"

	"valence/atom/steps"
	"valence/internal/answer"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// noReply is the warning of a process that ended without its caller's answer.
const noReply = "the path that was taken has no reply: the caller got an empty answer"

// Defer takes a message on whose reply is collected later (in.Later): it is on
// disk when Defer returns. For a repeat under `dedupe` that was answered
// already it gives that reply, and no acknowledgement; likewise for a message
// that is filtered out, or an echo, an empty one.
func (a *Atom) Defer(ctx context.Context, d *Deployed, in *Arrival) (*Acknowledgement, *Reply, error) {
	if err := a.open(d); err != nil {
		return nil, nil, err
	}
	if in.Later.Callback != "" {
		if err := a.checkCallback(ctx, d, in.Later.Callback); err != nil {
			return nil, nil, err
		}
	}
	ack, err := a.take(ctx, d, in, "")
	switch {
	case err != nil:
		return nil, nil, err
	case ack.Status == ackFiltered || ack.Status == ackEcho:
		return nil, &Reply{None: true}, nil
	case ack.Status == ackDuplicate:
		reply, err := a.repeat(ctx, d, in)
		return nil, reply, err
	}
	ack.ReplyToken = a.replyToken(ack.Execution)
	return ack, nil, nil
}

// repeat answers a message whose dedupe key belongs to an earlier one.
func (a *Atom) repeat(ctx context.Context, d *Deployed, in *Arrival) (*Reply, error) {
	f := steps.NewFrame(ctx, a.prepare(d, in), d.Process, in.Doc, in.Props, in.Received)
	key, err := dedupeKey(f, d.Process.Delivery.Dedupe)
	if err != nil {
		return nil, err
	}
	seq := a.store.Reserve()
	claimed, before, err := a.store.Claim(ctx, d.Process.Name, key, seq, in.Received.Add(d.Process.Delivery.Dedupe.Window))
	if err != nil {
		return nil, err
	}
	if claimed { // it has just become free: the sender is to send again
		if err := a.store.Settle(ctx, d.Process.Name, key, seq, nil); err != nil {
			return nil, err
		}
		before = nil
	}
	return repeated(before)
}

// keep makes the reply of a durable execution one that is collected: with the
// next commit, which with rest is made at once.
func (e *execution) keep(f *steps.Frame, r *Reply, rest bool) error {
	now := e.clock(f)
	c := e.collected(r)
	if err := e.note(Entry{Path: f.Key(), Kind: kindReply, At: now}, e.callback(c, now)); err != nil {
		return err
	}
	e.mu.Lock()
	e.kept = &KeptReply{Body: c.pack()}
	err := e.settleWith(r)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	f.Happened(now)
	if !rest {
		return nil
	}
	if err := e.flush(); err != nil {
		return err
	}
	e.atom.followers.tell(e.seq)
	return nil
}

// settleWith makes repeats get a reply; nil frees the key.
func (e *execution) settleWith(r *Reply) error {
	key := e.meta.Later.Key
	if key == "" {
		return nil
	}
	e.settled = &Settled{Key: key}
	if r == nil {
		return nil
	}
	if r.Doc == nil {
		r = &Reply{Doc: document.New(nil, "", "")}
	}
	var err error
	e.settled.Reply, err = packReply(r)
	return err
}

// conclude adds to the commit that ends an execution what its sender can
// collect from then on, and until when.
func (e *execution) conclude(c *Change, fail *fault.Failure) {
	until := c.Outcome.Ended.Add(e.plan.process.Delivery.Expires.Response)
	switch {
	case c.Reply != nil:
		c.Reply.Until = until
		return
	case e.given:
		c.Reply = &KeptReply{Until: until}
		return
	}
	out := &Collected{Status: 200}
	var reply *Reply
	if fail != nil {
		out = problemReply(e.plan.process, e.id(), fail)
	} else {
		reply = &Reply{None: true}
	}
	c.Reply = &KeptReply{Until: until, Body: out.pack()}
	if err := e.settleWith(reply); err == nil {
		c.Settled, e.settled = e.settled, nil
	}
	if callback := e.callback(out, c.Outcome.Ended); callback != nil {
		c.Handoffs = append(c.Handoffs, callback)
	}
}

// concluded adds to a change that ends a live execution from outside of its
// run (it was cancelled, it expired) what its sender can collect from then on.
// Whoever ends an execution that way calls it with the reason.
func (a *Atom) concluded(ctx context.Context, r *Record, c *Change, why *fault.Failure) error {
	m, err := parseMeta(r.Meta)
	if err != nil || m.Later == nil {
		return err
	}
	p, err := a.planOf(ctx, r.Process, r.Plan)
	if err != nil {
		return err
	}
	e := &execution{atom: a, plan: p, seq: r.Seq, received: r.Received, meta: m, envHash: r.Env}
	_, err = a.store.KeptReply(ctx, r.Seq)
	switch {
	case err == nil:
		e.given = true
	case !errors.Is(err, ErrUnknown):
		return err
	}
	e.conclude(c, why)
	return nil
}

// collected gives a reply as it is sent, in the format of the listener.
func (e *execution) collected(r *Reply) *Collected {
	status := r.Status
	if status == 0 {
		status = 200
	}
	body, media, err := answer.Render(r.Doc, outputOf(e.plan.process))
	if err != nil {
		e.atom.log.Error("a reply cannot be sent", "process", e.plan.process.Name, "execution", e.id(), "error", err)
		return problemReply(e.plan.process, e.id(), fault.Failf(fault.CodeInternal, "the reply cannot be sent: %v", err))
	}
	return &Collected{Status: status, Headers: r.Headers, Media: media, Body: body}
}

func outputOf(p *processes.Process) string {
	if p.Listen == nil || p.Listen.Output == "" {
		return "json"
	}
	return p.Listen.Output
}

// problemReply is what the sender of a message gets that came to a bad end.
func problemReply(p *processes.Process, id string, f *fault.Failure) *Collected {
	problem := answer.Of(f)
	problem.Execution = id
	body, media := problem.Body(outputOf(p) == "xml")
	return &Collected{Status: problem.Status, Media: media, Body: body, Problem: true}
}

// collectedHead is what stands before the body of a kept reply.
type collectedHead struct {
	Status  int    `json:"s"`
	Headers []KV   `json:"h,omitempty"`
	Media   string `json:"t,omitempty"`
	Problem bool   `json:"p,omitempty"`
}

func (c *Collected) pack() []byte {
	head, err := json.Marshal(collectedHead{c.Status, c.Headers, c.Media, c.Problem})
	if err != nil {
		panic(err) // numbers and texts
	}
	out := make([]byte, 0, 4+len(head)+len(c.Body))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	return append(append(out, head...), c.Body...)
}

func unpackCollected(b []byte) (*Collected, error) {
	if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
		return nil, errEntry
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	var h collectedHead
	if err := json.Unmarshal(b[4:n], &h); err != nil {
		return nil, errEntry
	}
	return &Collected{Status: h.Status, Headers: h.Headers, Media: h.Media, Body: b[n:], Problem: h.Problem}, nil
}

// collect fills in what a sender may collect.
func (a *Atom) collect(ctx context.Context, x *Execution, p *Progress) error {
	p.Later = true
	kept, err := a.store.KeptReply(ctx, x.Seq)
	switch {
	case err == nil:
		p.Reply, err = unpackCollected(kept.Body)
		return err
	case !errors.Is(err, ErrUnknown):
		return err
	}
	p.Gone = x.Outcome != nil // then it came with the same commit
	return nil
}
