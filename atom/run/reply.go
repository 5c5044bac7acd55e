package run

import (
	"context"
	"errors"
	"strconv"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/problem"
	"valence/processes"
)

// noReply is the warning of an execution that ended without a reply.
const noReply = "the path that was taken has no reply: the caller got an empty answer"

// Reply answers the caller. In memory, if steps follow (rest), everything done
// so far is committed first, and the rest runs durably.
func (e *execution) Reply(f *steps.Frame, r *steps.Reply, rest bool) error {
	key := f.Key()
	out := &Reply{Execution: e.id(), Doc: r.Doc, Status: r.Status, Headers: headerList(r.Headers)}
	x, journaled := e.journaled(KindReply, key)
	if !journaled {
		if err := e.refuse(f, "this reply"); err != nil {
			return err
		}
		if err := e.encodeReply(f, out, r.Blocks); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.reply, e.replied = out, true
	e.mu.Unlock()
	if journaled {
		f.AdvanceClock(x.At)
		return nil
	}
	if !e.durable && !rest {
		return nil
	}
	if e.durable && e.meta.Deferred != nil {
		return e.storeReply(f, out, rest)
	}
	if e.durable && e.plan.Process.Subscribe != nil {
		return e.sendReply(f, r, rest)
	}
	now := e.clock(f)
	body, err := packReply(out)
	if err != nil {
		return err
	}
	if err := e.appendEntry(store.Entry{Path: key, Kind: KindReply, At: now, Body: body}, nil); err != nil {
		return err
	}
	f.AdvanceClock(now)
	if e.durable {
		return nil
	}
	if err := e.detach(f); err != nil {
		return err
	}
	return steps.Detached
}

// storeReply adds a deferred reply to the next commit. With rest it commits at
// once.
func (e *execution) storeReply(f *steps.Frame, r *Reply, rest bool) error {
	claim, err := e.meta.Deferred.claimResult(f.Context(), e.engine, r)
	if err != nil {
		return err
	}
	now := e.clock(f)
	stored := renderReply(f.Context(), e, r)
	if err := e.appendEntry(store.Entry{Path: f.Key(), Kind: KindReply, At: now}, e.replyCallback(stored, now)); err != nil {
		return err
	}
	e.mu.Lock()
	c := e.change()
	c.Reply, c.ClaimResult = &store.DeferredReply{Body: stored.pack()}, claim
	e.mu.Unlock()
	f.AdvanceClock(now)
	if !rest {
		return nil
	}
	if err := e.flush(); err != nil {
		return err
	}
	e.engine.Watchers.Wake(e.seq)
	return nil
}

// claimResult returns the reply that repeats of a message receive; with a nil
// reply it frees the dedupe key. It returns nil if the message has no key.
func (d *metaDeferred) claimResult(ctx context.Context, g *Engine, r *Reply) (*store.ClaimResult, error) {
	if d.Key == "" {
		return nil, nil
	}
	c := &store.ClaimResult{Key: d.Key}
	if r == nil {
		return c, nil
	}
	if r.Doc == nil {
		r = &Reply{Doc: document.New(nil, "", "")}
	}
	var err error
	c.Reply, err = g.packRepeat(ctx, r)
	return c, err
}

// packRepeat encodes a reply for the repeats of its message, which come when its
// stored files may be deleted. So it contains them.
func (g *Engine) packRepeat(ctx context.Context, r *Reply) ([]byte, error) {
	doc, err := blob.Inline(blob.Into(ctx, g.Blobs), r.Doc)
	if err != nil {
		return nil, err
	}
	whole := *r
	whole.Doc = doc
	return packReply(&whole)
}

// concludeReply adds to the change that ends an execution the reply that its
// sender may collect from then on, and until when.
func (e *execution) concludeReply(c *store.Change, fail *fault.Failure) {
	ended := c.Outcome().Ended
	until := e.engine.Clock.Now().Add(e.plan.Process.Delivery.Expires.Response)
	switch {
	case c.Reply != nil:
		c.Reply.Until = until
		return
	case e.replied:
		c.Reply = &store.DeferredReply{Until: until}
		return
	}
	out := &StoredReply{Status: 200}
	var reply *Reply
	if fail != nil {
		out = problemReply(e.plan.Process, e.id(), fail)
	} else {
		reply = &Reply{None: true}
	}
	c.Reply = &store.DeferredReply{Until: until, Body: out.pack()}
	if claim, err := e.meta.Deferred.claimResult(context.Background(), e.engine, reply); err == nil {
		c.ClaimResult = claim
	}
	if m := e.replyCallback(out, ended); m != nil {
		c.Handoffs = append(c.Handoffs, m)
	}
}

// concludeReply does the same for a change that ends an execution which does
// not run: it was cancelled or expired.
func (g *Engine) concludeReply(ctx context.Context, r *store.Record, c *store.Change, why *fault.Failure) error {
	m, err := ParseMeta(r.Meta)
	if err != nil || m.Deferred == nil {
		return err
	}
	p, err := g.Deployments.Plan(ctx, r.Process, r.Plan)
	if err != nil {
		return err
	}
	e := newExecution(g, p, m, r.Received, inputs{envHash: r.Env})
	e.seq = r.Seq
	_, err = g.Store.DeferredReply(ctx, r.Seq)
	switch {
	case err == nil:
		e.replied = true
	case !errors.Is(err, store.ErrUnknown):
		return err
	}
	e.concludeReply(c, why)
	return nil
}

// renderReply returns a reply in the format of the listener.
func renderReply(ctx context.Context, e *execution, r *Reply) *StoredReply {
	status := r.Status
	if status == 0 {
		status = 200
	}
	body, media, err := convert.Render(blob.Into(ctx, e.engine.Blobs), r.Doc, outputOf(e.plan.Process), e.plan.Process.Namespaces)
	if err != nil {
		e.engine.Log.Error("cannot render a reply", "process", e.plan.Process.Name, "execution", e.id(), "error", err)
		return problemReply(e.plan.Process, e.id(), fault.Failf(fault.CodeInternal, "the reply cannot be rendered: %v", err))
	}
	return &StoredReply{Status: status, Headers: r.Headers, Media: media, Body: body}
}

// outputOf returns the reply format of a process.
func outputOf(p *processes.Process) string {
	if p.Listen == nil || p.Listen.Output == "" {
		return "json"
	}
	return p.Listen.Output
}

// problemReply returns the reply to a message whose execution failed.
func problemReply(p *processes.Process, id string, f *fault.Failure) *StoredReply {
	doc := problem.FromFailure(f)
	doc.Execution = id
	body, media := doc.Encode(outputOf(p) == "xml")
	return &StoredReply{Status: doc.Status, Media: media, Body: body, Problem: true}
}

// Repeat returns the reply to a message whose dedupe key belongs to an earlier
// one.
func (g *Engine) Repeat(ctx context.Context, d Deployed, in *Message) (*Reply, error) {
	p := d.Plan.Process
	f := steps.NewFrame(blob.Into(ctx, g.Blobs), g.prepare(d, in), p, in.Doc, in.Props, in.Received)
	key, err := g.dedupeOf(f, p.Delivery.Dedupe, in)
	if err != nil {
		return nil, err
	}
	seq := g.Store.Reserve()
	if seq == 0 {
		return nil, store.ErrUnavailable
	}
	taken, err := g.Store.Claim(ctx, p.Name, key, seq)
	if err != nil {
		return nil, err
	}
	if taken == nil { // the key has just become free: the sender sends again
		if err := g.Store.Settle(ctx, p.Name, key.Key, seq, nil); err != nil {
			return nil, err
		}
		taken = &store.Claimed{Holder: key.Holder}
	}
	return repeatedReply(taken, key, p.Delivery.Dedupe.Shared)
}

// noReplyTo is the warning of an execution whose message asked for no reply.
const noReplyTo = "the reply was not sent: the message names no address for a reply"

// sendReply hands the reply to a message of a subscription off to its
// connection, in the commit of the step.
func (e *execution) sendReply(f *steps.Frame, r *steps.Reply, rest bool) error {
	now := e.clock(f)
	var m *store.Message
	if e.meta.ReplyTo == "" {
		e.Warn(f, noReplyTo)
	} else {
		m = e.replyMessage(f, r, now)
	}
	if err := e.appendEntry(store.Entry{Path: f.Key(), Kind: KindReply, At: now}, m); err != nil {
		return err
	}
	f.AdvanceClock(now)
	if !rest {
		return nil
	}
	return e.flush()
}

// replyMessage returns the message that sends a reply. Its origin makes it
// unique, however often the execution runs again.
func (e *execution) replyMessage(f *steps.Frame, r *steps.Reply, now time.Time) *store.Message {
	with := &document.Object{}
	with.Set("to", e.meta.ReplyTo)
	if r.Status != 0 {
		with.Set("status", document.Number(strconv.Itoa(r.Status)))
	}
	headers := &document.Object{}
	for _, h := range headerList(r.Headers) {
		headers.Set(h.Name, h.Value)
	}
	with.Set("headers", headers)
	meta := &Meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Principal: e.meta.Principal, Parent: e.id(), Root: e.root(), Alarm: e.meta.Alarm,
		Call: &metaCall{Path: steps.ReplyPath, Key: f.Key(), With: document.AppendJSON(nil, with)}}
	m := &store.Message{Process: e.plan.Process.Name, Plan: e.plan.Name(), Env: e.envHash, Received: now.UTC().Truncate(time.Millisecond),
		Origin: DeriveText("reply", e.root(), f.Key())}
	SetDocument(m, r.Doc, e.redact)
	m.Meta = meta.Append(nil)
	return m
}
