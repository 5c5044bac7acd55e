package atom

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
)

// settleTime bounds the commit that ends a dedupe claim after its request.
const settleTime = 30 * time.Second

// Request runs a request/reply process in memory, on the caller's time, and
// gives its reply; of one that failed, only its id. With steps after the reply, everything is committed before
// it returns, and they run durably. What it did is recorded off its path.
func (a *Atom) Request(ctx context.Context, d *Deployed, in *Arrival) (*Reply, error) {
	if err := a.open(d); err != nil {
		return nil, err
	}
	p := d.Process
	if err := steps.Match(p.Delivery.Profile, in.Doc); err != nil {
		return nil, err
	}
	e := a.prepare(d, in)
	e.seq = a.store.Reserve()
	e.started = time.Now()
	f := steps.NewFrame(ctx, e, p, in.Doc, in.Props, in.Received)
	if err := a.reads(ctx, f, p); err != nil {
		return nil, err
	}
	if filtered, err := filter(f, &p.Delivery); err != nil {
		return nil, err
	} else if filtered {
		return &Reply{None: true}, nil
	}
	if ours, err := a.echo(ctx, f, p.Delivery.EchoGuard); err != nil {
		return nil, err
	} else if ours {
		return &Reply{None: true}, nil
	}
	key, err := dedupeKey(f, p.Delivery.Dedupe)
	if err != nil {
		return nil, err
	}
	if key != "" {
		claimed, before, err := a.store.Claim(ctx, p.Name, key, e.seq, in.Received.Add(p.Delivery.Dedupe.Window))
		if err != nil {
			return nil, err
		}
		if !claimed {
			return repeated(before)
		}
		e.dedupe = &Dedupe{Key: key, Until: in.Received.Add(p.Delivery.Dedupe.Window)}
	}
	reply, err := e.run(f)
	if key != "" {
		if err := e.settle(ctx, key, reply, err); err != nil {
			return nil, err
		}
	}
	return reply, err
}

// repeated answers a request whose key belongs to an earlier one.
func repeated(before []byte) (*Reply, error) {
	if before == nil {
		return nil, &fault.Failure{Code: CodeInProgress, Origin: fault.FromAtom, Status: 409, RetryAfter: time.Second, Retryable: true,
			Message: "the same request is being worked on"}
	}
	r, err := unpackReply(before)
	if err != nil {
		return nil, err
	}
	if r.Doc == nil || r.Doc.MediaType() == "" && len(r.Doc.Body()) == 0 && r.Status == 0 {
		r.None = true
	}
	r.Duplicate = true
	return r, nil
}

// settle ends the claim: with the reply, or freeing the key if there is none.
func (e *execution) settle(ctx context.Context, key string, reply *Reply, failed error) error {
	var stored []byte
	if failed == nil {
		r := reply
		if r.Doc == nil {
			r = &Reply{Doc: document.New(nil, "", "")}
		}
		var err error
		if stored, err = packReply(r); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	return e.atom.store.Settle(ctx, e.plan.process.Name, key, e.seq, stored)
}

// run executes in memory and records it.
func (e *execution) run(f *steps.Frame) (*Reply, error) {
	err := steps.RunProcess(f)
	switch {
	case err == steps.Detached:
		e.atom.queue(e.accepted.Process).offer(&Record{Acceptance: *e.accepted, State: Accepted})
		return e.reply, nil
	case err == steps.Interrupted:
		return nil, ErrStopping
	}
	if err == nil {
		err = e.remembered(f.Context()) // before the answer
	}
	var fail *fault.Failure
	reply := e.reply
	if err != nil {
		fail = fault.AsFailure(err)
	} else if reply == nil {
		reply = &Reply{Execution: e.id(), None: true}
		e.warnings = append(e.warnings, noReply)
	}
	if fail != nil && IsUnavailable(fail) {
		return nil, fail // the caller is told to send again: there is nothing to mend
	}
	e.record(f, fail)
	if fail != nil {
		return &Reply{Execution: e.id(), None: true}, fail // so that the caller can name it
	}
	return reply, nil
}

// record keeps what an execution in memory did.
func (e *execution) record(f *steps.Frame, fail *fault.Failure) {
	p := e.plan.process
	keep := p.Delivery.Retention
	rec := &Finished{Record: Record{Acceptance: Acceptance{Seq: e.seq, Process: p.Name, Plan: e.plan.name(), Env: e.envHash, Received: e.received}}}
	if keep.Documents > 0 || fail != nil {
		setDocument(&rec.Acceptance, f.Input(), e.redact)
	}
	m := *e.meta
	if fail != nil { // what it takes to run it again
		m.Memory = true
		if e.request != nil {
			m.Request = document.AppendJSON(nil, e.request())
		}
		if p, _ := f.Name("props"); p != nil {
			m.Props = document.AppendJSON(nil, p)
		}
	}
	rec.Meta = m.append(make([]byte, 0, 160))
	if track, err := e.track(f); err == nil {
		rec.Track, e.tracked = track, track
	}
	rec.Outcome = e.outcome(fail, keep.Documents > 0)
	e.plan.stats.Ended(string(rec.Outcome.Status), rec.Outcome.Ended.Sub(e.started))
	e.atom.store.Record(rec)
	e.atom.tellEnded(e, f.Input(), &rec.Outcome, fail)
	if alarm := e.atom.alarm(e, &rec.Outcome); alarm != nil {
		if _, err := e.atom.store.Accept(context.WithoutCancel(f.Context()), alarm); err != nil {
			e.atom.log.Error("on_failure could not be started", "process", p.Name, "execution", e.id(), "error", err)
		}
	}
}

// outcome says how the run ended.
func (e *execution) outcome(fail *fault.Failure, documents bool) Outcome {
	if fail != nil {
		e.failed = fail.Keys
	}
	o := Outcome{
		Status: Completed, Started: e.started.UTC(), Ended: time.Now().UTC(), Trace: e.pack(documents),
		DropDocuments: !documents,
	}
	keep := e.atom.retention(e.plan.process)
	if o.Keep = keep.Records; keep.Documents < keep.Records {
		o.Documents = keep.Documents
	}
	switch {
	case fail == nil && len(e.warnings) > 0:
		o.Status = CompletedWithWarnings
	case fail == nil:
	case fail.Code == fault.CodeCancelled:
		o.Status = Cancelled
	default:
		o.Status = Failed
		o.Fingerprint = fingerprint(e.plan.process.Name, fail)
	}
	if fail != nil {
		text, err := json.Marshal(errorView(fail))
		if err == nil {
			o.Error = text
		}
	}
	return o
}

// fingerprint groups failures of one cause: by process, step, code, and the
// message without what differs from one message to the next.
func fingerprint(process string, f *fault.Failure) string {
	b := derive("fingerprint", process, f.Step, f.Code, normal(f.Message))
	return hex.EncodeToString(b[:8])
}

// normal replaces every run of characters with a digit in it by #.
func normal(message string) string {
	out := make([]byte, 0, len(message))
	word, digits := 0, false
	flush := func() {
		if digits {
			out = append(out[:word], '#')
		}
		word, digits = len(out), false
	}
	for i := 0; i < len(message); i++ {
		c := message[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c >= 0x80 || c == '-' || c == '_'
		if !letter {
			flush()
			out = append(out, c)
			word = len(out)
			continue
		}
		digits = digits || c >= '0' && c <= '9'
		out = append(out, c)
	}
	flush()
	return string(out)
}

func hashBody(d *document.Document) string {
	sum := sha256.Sum256(d.Body())
	return hex.EncodeToString(sum[:])
}
