// Package sandbox runs processes in a real engine without a network, a disk or
// the clock of the machine: the store is in memory, another function answers the
// calls, and time is virtual.
package sandbox

import (
	"context"
	"log/slog"
	"time"

	"valence/atom/run"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/atom/store/memory"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/mask"
	"valence/processes"
	"valence/processes/testrun"
)

// Start is the virtual time at which every run begins.
var Start = time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)

// Sandbox runs the processes of one project.
type Sandbox struct {
	project  *processes.Project
	plans    map[string]*run.Plan     // by name of the process
	timeouts map[string]time.Duration // of connections
}

var _ testrun.Engine = (*Sandbox)(nil)

// New returns a sandbox for a checked project.
func New(p *processes.Project) *Sandbox {
	s := &Sandbox{project: p, plans: map[string]*run.Plan{}, timeouts: map[string]time.Duration{}}
	for name, limits := range p.Limits() {
		s.timeouts[name] = limits.Timeout
	}
	for name, process := range p.Processes {
		kept := *process // the outcome is read after the end, whatever the retention
		kept.Delivery.Retention = processes.Retention{Documents: time.Hour, Records: time.Hour}
		s.plans[name] = &run.Plan{Process: &kept, Project: p}
	}
	return s
}

// world is one run: an engine with its store and its clock.
type world struct {
	*Sandbox
	scenario *testrun.Scenario
	began    time.Time
	clock    *clock.Clock
	store    store.Store
	engine   *run.Engine
	agenda   agenda
	record   recorder
	crash    crash
	live     *live // nil: the scenario answers the calls
	cancel   context.CancelCauseFunc
}

// Run implements testrun.Engine.
func (s *Sandbox) Run(ctx context.Context, sc *testrun.Scenario) (*testrun.Outcome, error) {
	return s.run(ctx, &world{scenario: sc})
}

func (s *Sandbox) run(ctx context.Context, w *world) (out *testrun.Outcome, err error) {
	ctx, w.cancel = context.WithCancelCause(ctx)
	defer func() {
		if context.Cause(ctx) == testrun.ErrTooLarge {
			out, err = nil, testrun.ErrTooLarge
		}
		w.cancel(nil)
	}()
	sc := w.scenario
	w.Sandbox, w.began = s, sc.Start
	if w.began.IsZero() {
		w.began = Start
	}
	w.clock = clock.NewVirtual(w.began)
	w.record = newRecorder(w.clock)
	w.agenda = newAgenda(w)
	if sc.Crash != nil {
		return w.runOnDisk(ctx)
	}
	w.open(ctx, memory.New(w.clock.Now))
	defer w.engine.Queues.Close()
	var first started
	if err := w.begin(ctx, &first); err != nil {
		return nil, err
	}
	return w.outcome(ctx, first)
}

// open makes an engine for a store.
func (w *world) open(ctx context.Context, s store.Store) {
	w.store = s
	s.OnAccepted(w.agenda.accepted)
	s.OnReady(w.agenda.ready)
	w.engine = run.New(run.Options{
		Store: s, Deployments: newDeployed(w), IDs: run.NewIDs(w.idKey()), Clock: w.clock,
		Log: slog.New(slog.DiscardHandler), Masks: &mask.Set{}, Work: ctx,
		PublicURL: func() string { return "https://atom.test" }, WakeSchedules: func() {},
		Calls: w, Traced: w.traced,
	})
}

// begin sends the message to the target, and runs everything that follows.
func (w *world) begin(ctx context.Context, first *started) (err error) {
	if err := w.setState(ctx); err != nil {
		return err
	}
	if *first, err = w.start(ctx); err != nil {
		return err
	}
	return w.agenda.work(ctx)
}

func (w *world) traced(execution int64, s steps.StepTrace) {
	if most := w.scenario.MaxKept; most > 0 {
		if w.record.size += sizeOf(s); w.record.size > most {
			w.cancel(testrun.ErrTooLarge)
			return
		}
	}
	w.record.traced(execution, s)
	if w.scenario.Crash != nil && s.Outcome != "log" && s.Outcome != "skipped" && !calls(s.Step) {
		w.crash.reached(testrun.Event{Kind: testrun.AfterStep, Step: s.Step})
	}
}

// setState stores the state of the target before the run.
func (w *world) setState(ctx context.Context) error {
	o := w.scenario.State
	if o == nil {
		return nil
	}
	change := store.StateChange{Process: w.scenario.Process, Version: -1}
	for i := range o.Len() {
		name, v := o.At(i)
		change.Set = append(change.Set, store.Property{Name: name, Value: document.AppendJSON(nil, v)})
	}
	return w.store.UpdateState(ctx, &store.StateUpdate{States: []store.StateChange{change}})
}

// started is how a run began.
type started struct {
	seq   int64 // of the execution of the target; 0: there is none
	how   string
	fail  *fault.Failure // why there is none
	reply *run.Reply     // of a caller that waits; nil: none
	// callerGone is set if the caller waits no more, because of a crash.
	callerGone bool
}

// start sends the message to the target.
func (w *world) start(ctx context.Context) (started, error) {
	plan := w.plans[w.scenario.Process]
	p := plan.Process
	d := run.Deployed{Plan: plan, Env: w.engine.Deployments.(*deployed).env, EnvHash: envHash}
	in := &run.Message{Doc: w.scenario.Input, Received: w.clock.Wall(), Props: w.scenario.Props, CorrelationID: "test", SHA256: run.HashBody(w.scenario.Input)}
	in.Request = w.request(p)
	switch {
	case p.Schedule != nil:
		in.By = run.BySchedule
	case p.Subscribe != nil:
		in.By = run.BySubscription
	}
	oneWay := p.Listen != nil && p.Listen.OneWay(in.Request.Operation)
	if p.Listen != nil && p.Listen.Sync() && !p.SuspendsCaller && !oneWay {
		return w.call(ctx, d, in)
	}
	if p.Listen != nil && p.Listen.Output != "" && !oneWay {
		in.Deferred = &run.DeferredReply{}
	}
	m, dropped, err := w.engine.Admit(ctx, d, in)
	switch {
	case err != nil:
		return started{how: string(store.Rejected), fail: fault.AsFailure(err)}, nil
	case dropped != "":
		return started{how: dropped}, nil
	}
	r, err := w.store.Accept(ctx, m)
	return started{seq: r.Seq}, err
}

// call runs a request/reply process as its caller does, who waits no longer than
// the timeout of the listener.
func (w *world) call(ctx context.Context, d run.Deployed, in *run.Message) (started, error) {
	if t := d.Plan.Process.Listen.Timeout; t > 0 {
		var cancel context.CancelFunc
		ctx, cancel = w.clock.WithTimeout(ctx, t)
		defer cancel()
	}
	reply, err := w.engine.Request(ctx, d, in)
	s := started{}
	switch {
	case reply != nil && reply.Execution != "":
		s.seq, _, _ = w.engine.IDs.ParseID(reply.Execution)
	case err != nil:
		s.how, s.fail = string(store.Rejected), fault.AsFailure(err)
	default:
		s.how = run.Filtered
	}
	if err == nil && reply != nil && !reply.None {
		s.reply = reply
	}
	return s, nil
}

// request returns the request of a listener; nil for another trigger.
func (w *world) request(p *processes.Process) *run.Request {
	r := w.scenario.Request
	if p.Listen == nil {
		return nil
	}
	out := &run.Request{Path: p.Listen.Path}
	if len(p.Listen.Methods) > 0 {
		out.Method = p.Listen.Methods[0]
	}
	if r == nil {
		return out
	}
	out.Operation = r.Operation
	if r.Method != "" {
		out.Method = r.Method
	}
	if r.Path != "" {
		out.Path = r.Path
	}
	for _, kv := range r.Params {
		out.Params = append(out.Params, run.KV(kv))
	}
	out.Query, out.Header, out.User = r.Query, r.Header, r.User
	return out
}
