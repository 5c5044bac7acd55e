// Package atom is the runtime: it deploys projects, accepts messages, and shows
// executions. Package run executes them, and the packages trigger, queue and
// connection start, order and guard them. Package store declares the store.
package atom

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/clock"
	"valence/internal/mask"
	"valence/internal/metrics"
)

// Options configure an Atom.
type Options struct {
	Store      store.Store
	Connectors connectors.Registry
	Key        []byte // 32 bytes that sign execution ids and reply tokens; nil: a random key
	Log        *slog.Logger
	Metrics    *metrics.Metrics
	Callbacks  *connectors.Connector // delivers reply callbacks; nil: callbacks are off
	Grace      time.Duration         // how long running executions may take after a stop; 0: 20 s
	PublicURL  string                // of the data plane: the base of callback URLs
	// KeptFailures limits the stored failures of waiting callers per process,
	// in bytes; 0: no limit.
	KeptFailures int64
	Masks        *mask.Set        // masks the secrets of deployments in texts; nil: a new one
	Wall         func() time.Time // replaces the clock of the machine in tests; nil: time.Now
}

// Atom is the runtime of one machine. Its methods may be called from many
// goroutines.
type Atom struct {
	*views
	*failures
	*triggers

	store       store.Store
	ids         *run.IDs
	engine      *run.Engine
	deployments *deployments
	phase       *phase
	grace       time.Duration
	public      atomic.Pointer[string] // URL of the data plane
	halt        context.CancelCauseFunc
}

// phase says whether the atom may accept work.
type phase struct{ started, stopping atomic.Bool }

// ready returns nil if executions may be created, otherwise why not.
func (p *phase) ready() error {
	switch {
	case p.stopping.Load():
		return ErrStopping
	case !p.started.Load():
		return ErrStarting
	}
	return nil
}

// New returns an atom without deployments. It starts nothing.
func New(o Options) *Atom {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Key == nil {
		o.Key = make([]byte, 32)
		rand.Read(o.Key) // never fails: crypto/rand
	}
	if o.Grace == 0 {
		o.Grace = 20 * time.Second
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New()
	}
	if o.Masks == nil {
		o.Masks = &mask.Set{}
	}
	work, halt := context.WithCancelCause(context.Background())
	a := &Atom{store: o.Store, ids: run.NewIDs(o.Key), phase: &phase{}, grace: o.Grace, halt: halt}
	a.SetPublicURL(o.PublicURL)
	timer := clock.New(o.Wall)
	host := &connection.Host{Clock: timer, Holds: o.Store, Log: o.Log, Metrics: o.Metrics, Masks: o.Masks, Work: work, Running: func() bool { return a.phase.ready() == nil }, Members: o.Store.Members}
	a.deployments = newDeployments(o, host)
	a.triggers = newTriggers(a, o)
	a.deployments.pauses, a.deployments.halted = &a.triggers.pauses, &a.triggers.halted
	blobs, _ := o.Store.(blob.Store)
	a.engine = run.New(run.Options{
		Store: o.Store, Deployments: a.deployments, IDs: a.ids, Clock: timer, Log: o.Log, Metrics: o.Metrics, Masks: o.Masks, Work: work,
		PublicURL: a.PublicURL, Callbacks: a.deployments.callbacks.planOrNil(), WakeSchedules: a.triggers.scheduler.Wake,
		KeptFailures: o.KeptFailures, Blobs: blobs,
	})
	a.triggers.activity = &a.engine.Activity
	a.views = &views{store: o.Store, ids: a.ids, engine: a.engine}
	a.failures = &failures{store: o.Store, ids: a.ids, engine: a.engine, deployments: a.deployments, views: a.views, phase: a.phase, log: o.Log, work: work}
	a.store.OnAccepted(a.accepted)
	a.store.OnReady(a.ready)
	a.store.OnNews(a.engine.News(a.triggers.changed, a.resized))
	return a
}

// Run runs accepted executions until ctx ends, and then drains: nothing new
// starts, running executions may finish within the grace period, and the rest
// is interrupted and continues at the next start. The store must run longer
// than the atom.
func (a *Atom) Run(ctx context.Context) error {
	if err := a.triggers.load(ctx); err != nil {
		return err
	}
	if err := probeHeld(ctx, a.store, a.deployments.allConnections()); err != nil {
		return err
	}
	if err := a.engine.Start(ctx); err != nil {
		return err
	}
	a.phase.started.Store(true)
	if err := probeHeld(ctx, a.store, a.deployments.allConnections()); err != nil {
		return err
	}
	var triggers sync.WaitGroup
	triggers.Go(func() { a.triggers.scheduler.Run(ctx) })
	triggers.Go(func() { a.triggers.subscriptions.Run(ctx) })
	triggers.Go(func() { a.engine.Expirer.Run(ctx) })
	triggers.Go(func() { a.engine.Heeder.Run(ctx) })
	triggers.Go(func() { a.triggers.follow(ctx) })
	<-ctx.Done()
	a.phase.stopping.Store(true)
	a.engine.Queues.Stop()
	triggers.Wait()
	done := make(chan struct{})
	go func() { a.engine.Queues.Wait(); a.failures.wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(a.grace):
		a.halt(steps.Interrupted)
		<-done
	}
	a.engine.Queues.Close()
	a.deployments.close()
	return nil
}

// resized is called by the store when the number of members has changed: limits
// are divided among them.
func (a *Atom) resized() {
	a.deployments.resized()
	a.engine.Queues.Wake()
}

// accepted is called by the store with accepted executions, in the order of commit.
func (a *Atom) accepted(records []*store.Record) {
	active := a.engine.Activity.Active()
	for _, r := range records {
		if active {
			a.engine.Activity.Publish(ActivityEvent{Event: ActivityAccepted, Process: r.Process, Execution: a.ExecutionID(r.Seq, r.Received)})
		}
		if !r.Expires.IsZero() {
			a.engine.Expirer.Expect(r.Expires)
		}
		a.engine.Queues.Queue(r.Process).Push(r)
	}
}

// ready is called by the store with executions that may run again, in the
// order of commit.
func (a *Atom) ready(list []store.Wakeup) {
	for _, w := range list {
		q := a.engine.Queues.Queue(w.Process)
		if w.Superseded {
			q.DropEnded(w.Seq)
			a.engine.Metrics.Process(w.Process).Ended(string(store.Superseded), 0)
			a.engine.Watchers.Wake(w.Seq)
			continue
		}
		q.PushReady(w)
	}
}

// ExecutionID returns the public id of an execution.
func (a *Atom) ExecutionID(seq int64, received time.Time) string {
	return a.ids.ExecutionID(seq, received)
}

// ParseID returns the arguments of ExecutionID, the time truncated to its day.
// ok is false for an id that this atom did not make.
func (a *Atom) ParseID(id string) (seq int64, received time.Time, ok bool) { return a.ids.ParseID(id) }

// SetPublicURL sets the URL of the data plane, for an address that is known
// only once it is listened on.
func (a *Atom) SetPublicURL(url string) {
	url = strings.TrimRight(url, "/")
	a.public.Store(&url)
}

// PublicURL returns the URL of the data plane.
func (a *Atom) PublicURL() string { return *a.public.Load() }

// Ready returns nil if the atom accepts work, otherwise why it does not.
func (a *Atom) Ready() error {
	if err := a.phase.ready(); err != nil {
		return err
	}
	return a.store.Err()
}

// SetMaxRetention bounds how long executions that end from now on are kept; 0
// leaves it to their processes. Unresolved failures are kept all the same.
func (a *Atom) SetMaxRetention(d time.Duration) { a.engine.SetMaxRetention(d) }

// OnEnded sets the function that is called with every execution that ends,
// after that is committed, or handed to the recorder for one that ran in
// memory. It must not block, and must be set before Run.
func (a *Atom) OnEnded(f func(ExecutionEnd)) { a.engine.Ended = f }

// Subscribe returns a subscriber for the activity events that wants selects;
// nil selects all. It must be closed. wants must not block.
func (a *Atom) Subscribe(wants func(ActivityEvent) bool) *Subscriber {
	return a.engine.Activity.Subscribe(wants)
}

// Watch returns a watch on an execution; see activity.Watchers.
func (a *Atom) Watch(id string) *Watch {
	seq, _, ok := a.ParseID(id)
	w := a.engine.Watchers.Watch(seq)
	if ok {
		w.OnClose(a.store.Follow(seq))
	}
	return w
}

// Cancel requests the cancellation of a live execution; see run.Engine.Cancel.
func (a *Atom) Cancel(ctx context.Context, id string) error {
	seq, received, ok := a.ParseID(id)
	if !ok {
		return store.ErrUnknown
	}
	return a.engine.Cancel(ctx, seq, received)
}

// Load is how much work a process has, for operators and metrics.
type Load struct {
	Waiting int64 // live executions
	Running int
	Oldest  time.Time // receipt of the oldest one that is accepted or held; zero if there is none
}

// Load returns how much work a process has.
func (a *Atom) Load(ctx context.Context, process string) (Load, error) {
	waiting, running := a.engine.Queues.Queue(process).Load()
	oldest := time.Time{}
	if waiting > 0 {
		var err error
		if oldest, err = a.store.Oldest(ctx, process); err != nil {
			return Load{}, err
		}
	}
	return Load{Waiting: waiting, Running: running, Oldest: oldest}, nil
}
