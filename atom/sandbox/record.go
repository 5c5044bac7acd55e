package sandbox

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"valence/atom/run"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/testrun"
)

// recorder collects the calls, logs and steps of a run.
type recorder struct {
	clock      *clock.Clock
	calls      map[callKey]*testrun.MadeCall
	made       []*testrun.MadeCall
	unanswered []*testrun.Call
	broken     []error
	logs       map[int64][]string
	makers     map[*document.Document]*processes.Step // of documents
	ran        map[int64]map[fault.Pos]int            // by execution, in its latest run
	replied    map[int64]*processes.Step              // the last reply
	trace      map[int64][]testrun.TracedStep         // likewise
	ordinals   map[int64]int                          // executions, in the order in which they began
	documents  map[testrun.Occurrence]testrun.MadeDocument
	size       int64 // of the steps, see sizeOf
}

// callKey identifies a call with its attempts.
type callKey struct {
	execution int64
	key, page string
}

func newRecorder(c *clock.Clock) recorder {
	return recorder{clock: c, calls: map[callKey]*testrun.MadeCall{}, logs: map[int64][]string{}, makers: map[*document.Document]*processes.Step{}, ran: map[int64]map[fault.Pos]int{}, replied: map[int64]*processes.Step{},
		trace: map[int64][]testrun.TracedStep{}, ordinals: map[int64]int{}, documents: map[testrun.Occurrence]testrun.MadeDocument{}}
}

// ordinal returns the place of an execution in the order in which they began.
func (r *recorder) ordinal(execution int64) int {
	n, known := r.ordinals[execution]
	if !known {
		n = len(r.ordinals)
		r.ordinals[execution] = n
	}
	return n
}

// begin begins a run of an execution, which repeats its steps.
func (r *recorder) begin(execution int64) {
	delete(r.logs, execution)
	delete(r.ran, execution)
	delete(r.trace, execution)
}

// isFirst reports whether an execution began first.
func (r *recorder) isFirst(execution int64) bool {
	n, known := r.ordinals[execution]
	return known && n == 0
}

// sizeOf returns about the number of bytes that the record of a step occupies.
func sizeOf(s steps.StepTrace) int64 {
	const step = 100
	n := step + len(s.Log)
	if s.Doc != nil {
		n += len(s.Doc.Body())
	}
	return int64(n)
}

func (r *recorder) traced(execution int64, s steps.StepTrace) {
	if s.Outcome == "ok" || s.Outcome == "failed" {
		r.trace[execution] = append(r.trace[execution], testrun.TracedStep{Key: s.Key, Step: s.Step, Doc: s.Doc})
	}
	switch s.Outcome {
	case "log":
		r.logs[execution] = append(r.logs[execution], s.Log)
		return
	case "skipped":
		return
	}
	if r.ran[execution] == nil {
		r.ran[execution] = map[fault.Pos]int{}
	}
	r.ran[execution][s.Step.Pos]++
	if s.Step.Kind == "reply" && s.Outcome == "ok" {
		r.replied[execution] = s.Step
	}
	if s.Doc != nil {
		r.makers[s.Doc] = s.Step
		of := testrun.Occurrence{Execution: r.ordinal(execution), Key: s.Key}
		r.documents[of] = testrun.MadeDocument{Of: of, Step: s.Step, Doc: s.Doc}
	}
}

// called records an attempt.
func (r *recorder) called(a *run.Attempt, c *testrun.Call) {
	key := callKey{a.Execution, a.Key, a.Call.Page}
	if made := r.calls[key]; made != nil {
		made.Attempts++
		return
	}
	made := &testrun.MadeCall{Call: *c, Of: testrun.Occurrence{Execution: r.ordinal(a.Execution), Key: a.Key + a.Call.Page}, At: r.clock.Now(), Attempts: 1, BodyFrom: c.Step}
	if maker := r.makers[c.Body]; maker != nil && c.Body == a.Frame.Doc() {
		made.BodyFrom = maker
	}
	r.calls[key], r.made = made, append(r.made, made)
}

// outcome returns the outcome after the last event.
func (w *world) outcome(ctx context.Context, first started) (*testrun.Outcome, error) {
	r := &w.record
	out := &testrun.Outcome{Status: first.how, Unanswered: r.unanswered, Broken: r.broken, Steps: map[fault.Pos]int{}, Events: w.crash.events}
	for _, made := range r.documents {
		out.Documents = append(out.Documents, made)
	}
	slices.SortFunc(out.Documents, func(a, b testrun.MadeDocument) int {
		return cmp.Or(cmp.Compare(a.Of.Execution, b.Of.Execution), cmp.Compare(a.Step.Pos.Line, b.Step.Pos.Line), cmp.Compare(a.Of.Key, b.Of.Key))
	})
	for _, steps := range r.ran {
		for at, n := range steps {
			out.Steps[at] += n
		}
	}
	out.Calls = r.made
	slices.SortStableFunc(out.Calls, func(a, b *testrun.MadeCall) int { return a.At.Compare(b.At) })
	for i, used := range w.agenda.sent {
		if !used {
			out.Unused = append(out.Unused, i)
		}
	}
	out.Trace = r.trace[first.seq]
	if w.scenario.Alone && first.seq != 0 {
		out.IDs = []string{w.engine.IDs.ExecutionID(first.seq, w.began)}
	}
	if w.scenario.Crash != nil {
		out.IDs, out.CallerGone = w.ids(ctx), first.callerGone
	}
	if first.fail != nil {
		text, err := json.Marshal(run.NewErrorView(first.fail))
		if err != nil {
			return nil, err
		}
		out.Error = text
	}
	if first.seq != 0 {
		if err := w.describe(ctx, first, out); err != nil {
			return nil, err
		}
	}
	return out, w.describeOthers(ctx, first.seq, out)
}

// describe adds the execution of the target.
func (w *world) describe(ctx context.Context, first started, out *testrun.Outcome) error {
	x, err := w.store.Get(ctx, first.seq, time.Time{})
	if err != nil {
		return err
	}
	out.Log, out.ReplyFrom = w.record.logs[first.seq], w.record.replied[first.seq]
	if x.Outcome == nil {
		out.Status, out.Took = string(x.State), w.clock.Now().Sub(w.began)
		return nil
	}
	out.Status, out.Took, out.Error = string(x.Outcome.Status), x.Outcome.Ended.Sub(w.began), x.Outcome.Error
	switch {
	case first.reply != nil:
		out.Reply, out.ReplyStatus = first.reply.Doc, cmp.Or(first.reply.Status, 200)
	default:
		return w.storedReply(ctx, x, out)
	}
	return nil
}

// storedReply adds the reply of an execution that ran durably.
func (w *world) storedReply(ctx context.Context, x *store.Execution, out *testrun.Outcome) error {
	var t run.StoredTrace
	if err := json.Unmarshal(x.Outcome.Trace, &t); err != nil {
		return err
	}
	if t.Reply == nil {
		return nil
	}
	out.ReplyStatus = 200
	switch data, isJSON := t.Reply.Data.(json.RawMessage); {
	case isJSON:
		out.Reply = document.FromJSON(data)
	case t.Reply.Data != nil:
		out.Reply = document.FromValue(document.FromPlain(t.Reply.Data))
	default:
		out.Reply = document.FromText(t.Reply.Text)
	}
	if d, err := w.store.DeferredReply(ctx, x.Seq); err == nil {
		if stored, err := run.UnpackStoredReply(d.Body); err == nil {
			out.ReplyStatus = stored.Status
		}
	}
	return nil
}

// describeOthers adds the executions that the run has created.
func (w *world) describeOthers(ctx context.Context, target int64, out *testrun.Outcome) error {
	for _, seq := range w.agenda.order {
		if seq == target {
			continue
		}
		x, err := w.store.Get(ctx, seq, time.Time{})
		if err != nil {
			return err
		}
		h := testrun.HandedOff{Process: x.Process, Status: string(x.State)}
		if x.Outcome != nil {
			h.Status, h.Error = string(x.Outcome.Status), x.Outcome.Error
		}
		out.HandedOff = append(out.HandedOff, h)
		out.Log = append(out.Log, w.record.logs[seq]...)
	}
	return nil
}

// ids returns the ids of the executions, in the order in which they began.
func (w *world) ids(ctx context.Context) []string {
	list := make([]string, len(w.record.ordinals))
	for seq, n := range w.record.ordinals {
		received := w.began
		if x, err := w.store.Get(ctx, seq, time.Time{}); err == nil {
			received = x.Received
		}
		list[n] = w.engine.IDs.ExecutionID(seq, received)
	}
	return list
}
