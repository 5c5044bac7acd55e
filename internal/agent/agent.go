// Package agent is the atom's side of the control plane. It asks, and never
// listens: one held request brings what there is to do, and short ones tell
// what happened. What it must not forget is on disk before it is acknowledged:
// an execution request in the atom's store, a deployment with its package in
// the data folder, a report in a file of its own. The atom works on while the
// control plane is away.
package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/wire"
	"valence/processes"
)

// Atom is what the agent does to the atom.
type Atom interface {
	Ready() error
	Deploy(ctx context.Context, all ...atom.Release) error
	Deployed() []*atom.Deployed
	Process(name string) (*atom.Deployed, bool)
	ExecuteOnce(ctx context.Context, request, process string, props *document.Object, doc *document.Document) (*atom.Acknowledgement, error)
	Show(ctx context.Context, execution string) (*atom.View, error)
	Cancel(ctx context.Context, execution string) error
	Resubmit(ctx context.Context, execution string, r atom.Resubmission) (string, error)
	Pause(ctx context.Context, process string) error
	Resume(ctx context.Context, process string) error
	Load(ctx context.Context, process string) (atom.Load, error)
	FailureGroups(ctx context.Context, process string, limit int) ([]atom.FailureGroupView, error)
	Hearing(d *atom.Deployed) string
	Restart(process string) error
	KeepAtMost(time.Duration)
	OnEnded(func(atom.Ended))
	OnSwitch(func())
}

var _ Atom = (*atom.Atom)(nil)

// Errors that end Run.
var (
	// ErrRestart: the control plane asked for a restart of the atom.
	ErrRestart = errors.New("the control plane asked for a restart")
)

// Options configure an Agent.
type Options struct {
	Identity *Identity
	Data     string // the data folder
	Atom     Atom
	Catalog  *processes.Catalog
	// Local are the files of a project that runs beside what is deployed.
	Local []processes.File
	// Environment is the name of the environment: component that counts; "" is
	// the name of the control plane's environment.
	Environment string
	// Value finds a value that the control plane does not give, in an
	// environment: component (nil: none has the name) or on the machine. why
	// tells what is missing.
	Value   func(need processes.Need, e *processes.Environment) (value, why string)
	Version string
	Host    string
	Log     *slog.Logger
	Logs    func(most int) []wire.LogLine // the last lines of the log, for operators who ask; nil: none
	Pace    Pace
	Clock   func() time.Time // on the wall of this machine; nil: time.Now. What it shows is told, and decides nothing
}

// Pace is how long the agent waits for what. Zero fields have good values.
type Pace struct {
	Hold  time.Duration // how long the control plane may hold a poll: 30 s
	Short time.Duration // between polls where it may not: 5 s
	First time.Duration // after the first failure: 1 s
	Most  time.Duration // after many: 5 min
	Batch time.Duration // how long reports that nobody waits for are gathered: 250 ms
	Log   time.Duration // how long it may take to tell the log to who asks: 20 s
}

func (p Pace) orGood() Pace {
	for _, x := range []struct {
		d    *time.Duration
		good time.Duration
	}{{&p.Hold, 30 * time.Second}, {&p.Short, 5 * time.Second}, {&p.First, time.Second}, {&p.Most, 5 * time.Minute}, {&p.Batch, 250 * time.Millisecond}, {&p.Log, 20 * time.Second}} {
		if *x.d <= 0 {
			*x.d = x.good
		}
	}
	return p
}

// Agent keeps an atom in touch with its control plane.
type Agent struct {
	o          Options
	log        *slog.Logger
	atom       Atom
	id         *Identity
	publishers []ed25519.PublicKey
	pace       Pace
	link       *link
	spool      *spool
	instance   string
	started    time.Time

	deploying sync.Mutex // one deployment at a time; guards local and enacted
	local     []processes.File
	enacted   string // print of what the atom runs; "": nothing yet

	mu      sync.Mutex
	state   state
	runs    *version      // what runs; with a project that cannot it is less than the state says
	desired *desiredState // newest that was received and is not dealt with
	wake    chan struct{} // of converge

	requests requests
	acks     acks
	judge    judge
	outbox   outbox
	standing standing

	connected atomic.Bool
	lastPoll  atomic.Int64 // unix ms
	counting  sync.Mutex
	failed    int64 // executions that nobody has dealt with, as counted last
	counted   time.Time
	restart   chan struct{}
}

// Open opens what the agent keeps in the data folder. It starts nothing. The
// atom must not run yet.
func Open(o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	keys, err := o.Identity.publishers()
	if err != nil {
		return nil, err
	}
	link, err := newLink(o.Identity)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(o.Data, Folder)
	s, err := openSpool(folder, o.Log)
	if err != nil {
		return nil, fmt.Errorf("open what the agent keeps: %w", err)
	}
	a := &Agent{
		o: o, log: o.Log, atom: o.Atom, id: o.Identity, publishers: keys, pace: o.Pace.orGood(), spool: s, link: link,
		instance: rand.Text(), started: o.Clock().UTC(), local: o.Local, runs: &version{desired: &wire.Desired{}},
		wake: make(chan struct{}, 1), restart: make(chan struct{}, 1),
	}
	a.requests.init()
	a.outbox.init()
	a.standing.bell = make(chan struct{}, 1)
	if err := a.restore(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	o.Atom.OnEnded(a.ended)
	o.Atom.OnSwitch(func() { ring(a.standing.bell) })
	return a, nil
}

// restore reads what an earlier run kept.
func (a *Agent) restore() error {
	ctx := context.Background()
	if _, err := a.spool.load(ctx, "state", &a.state); err != nil {
		return fmt.Errorf("read what is deployed: %w", err)
	}
	if s := &a.state; s.Switched == 0 && s.Desired != nil { // of a version that kept no word of it
		s.Switched, s.Paused = s.Generation, s.Desired.Paused
	}
	var ceiling uint64
	if _, err := a.spool.load(ctx, "counter", &ceiling); err != nil {
		return fmt.Errorf("read the counter of requests: %w", err)
	}
	a.link.counter, a.link.ceiling = ceiling, ceiling+counterBlock
	if err := a.spool.saveFirst("counter", a.link.ceiling); err != nil {
		return fmt.Errorf("keep the counter of requests: %w", err)
	}
	a.link.reserve = func(ceiling uint64) error { return a.spool.save(context.Background(), "counter", ceiling) }
	all, err := a.spool.watching(ctx)
	if err != nil {
		return fmt.Errorf("read which requests run: %w", err)
	}
	for _, w := range all {
		a.requests.watch(w)
	}
	return nil
}

// RunSpool keeps what the agent stores; it must run longer than Run.
func (a *Agent) RunSpool(ctx context.Context) error { return a.spool.db.Run(ctx) }

// Close closes the agent's file, after RunSpool has ended.
func (a *Agent) Close() error {
	a.link.close()
	return a.spool.db.Close()
}

// Run keeps in touch until ctx ends. It fails with ErrRestart if the control
// plane asks for that.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	all.Go(func() { a.gather(ctx) })
	all.Go(func() { a.sendReports(ctx) })
	all.Go(func() { a.convergeOn(ctx) })
	all.Go(func() { a.poll(ctx) })
	all.Go(func() { a.tellStanding(ctx) })
	all.Go(func() {
		if a.ready(ctx) {
			a.reconcile(ctx)
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case <-a.restart:
		err = ErrRestart
		cancel(err)
	}
	all.Wait()
	a.lastWords()
	return err
}

// ready waits until the atom takes work; false if ctx ends before.
func (a *Agent) ready(ctx context.Context) bool {
	for a.atom.Ready() != nil {
		if !sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// Status is how the agent does, for operators.
type Status struct {
	Connected  bool
	LastPoll   time.Time // zero: never
	Generation int64     // that was dealt with last
	Deployed   []string  // "project version", of what runs
	Waiting    int64     // reports to be sent
	Dropped    int64     // reports that were dropped for want of room
	Retired    bool
}

// Status tells how the agent does.
func (a *Agent) Status() Status {
	s := Status{Connected: a.connected.Load(), Waiting: a.spool.number.Load(), Dropped: a.outbox.dropped.Load()}
	if ms := a.lastPoll.Load(); ms != 0 {
		s.LastPoll = time.UnixMilli(ms)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Generation, s.Retired = a.state.Generation, a.state.Retired
	s.Deployed = titles(a.runs.desired)
	return s
}

// Ready is nil once the atom has something to run, otherwise why not. With a
// local project it always has.
func (a *Agent) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.local) > 0:
		return nil
	case len(a.runs.desired.Deployments) > 0:
		return nil
	case a.runs.broken != "":
		return errors.New("what is deployed cannot run: " + a.runs.broken)
	default:
		return errors.New("nothing is deployed to this atom")
	}
}

// sleep waits; false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
