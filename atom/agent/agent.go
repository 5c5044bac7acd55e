// Package agent connects an atom to its control plane. The agent opens all
// connections: a held poll fetches instructions and desired state, short requests
// report results. Nothing is acknowledged before it is on disk: execution
// requests are in the atom's store, packages in the data folder, reports in the
// spool. While the control plane is unreachable the atom keeps running.
//
// The poller fetches instructions and generations. The deployer deploys generations
// and rolls back. The requestHandler carries out instructions, and the reporter
// sends the results. The sub-packages each have one job: cloudclient signs and
// sends requests, spool stores reports and state, compose turns packages and
// values into releases, canary watches new versions.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/atom/agent/compose"
	"valence/atom/agent/spool"
	"valence/atom/store"
	"valence/internal/access"
	"valence/internal/mask"
	"valence/internal/wire"
	"valence/processes"
)

// Atom is the part of the atom that the agent controls.
type Atom interface {
	Ready() error
	Deploy(ctx context.Context, all ...atom.Release) error
	Processes() []*atom.DeployedProcess
	Process(name string) (*atom.DeployedProcess, bool)
	ExecuteOnce(ctx context.Context, request, process string, in atom.Input) (*atom.Acknowledgement, error)
	Show(ctx context.Context, execution string) (*atom.ExecutionView, error)
	List(ctx context.Context, f store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error)
	Cancel(ctx context.Context, execution string) error
	Resubmit(ctx context.Context, execution string, r atom.Resubmission) (string, error)
	Pause(ctx context.Context, process string) error
	Resume(ctx context.Context, process string) error
	Load(ctx context.Context, process string) (atom.Load, error)
	Problems(ctx context.Context) (map[string]store.Problems, error)
	SubscriptionStatus(d *atom.DeployedProcess) (atom.SubscriptionStatus, bool)
	Restart(process string) error
	SetMaxRetention(time.Duration)
	OnEnded(func(atom.ExecutionEnd))
	OnSwitch(func())
}

var _ Atom = (*atom.Atom)(nil)

// Errors returned by Run.
var (
	// ErrRestart means that the control plane requested a restart of the atom.
	ErrRestart = errors.New("the control plane requested a restart")
)

// Options configure an Agent.
type Options struct {
	Identity *cloudclient.Identity
	Data     string // the data folder
	Atom     Atom
	Catalog  *processes.Catalog
	// Local are the files of a project that runs alongside the deployed ones.
	Local []processes.File
	// Environment selects the environment: component; "" selects the one named like the control
	// plane's environment.
	Environment string
	// Value resolves a value that the control plane does not set, from an environment: component
	// (may be nil) or the machine, as far as the policy allows. why explains a missing value.
	Value   func(need processes.Need, e *processes.Environment, policy *access.Policy) (value, why string)
	Version string
	Host    string
	Log     *slog.Logger
	Masks   *mask.Set                     // of the loaded secrets; nil: none
	Logs    func(most int) []wire.LogLine // returns the last log lines; nil: none
	Timing  Timing
	Clock   func() time.Time // wall clock, used only for timestamps; nil: time.Now
}

// Timing configures delays and timeouts. Zero fields have defaults.
type Timing struct {
	Hold       time.Duration // how long the control plane may hold a poll: 30 s
	ShortPoll  time.Duration // interval of polls that are not held: 5 s
	MinBackoff time.Duration // after the first failure: 1 s
	MaxBackoff time.Duration // after many failures: 5 min
	Batch      time.Duration // how long reports without a waiting operator are batched: 250 ms
	LogTimeout time.Duration // for sending log lines: 20 s
	Replay     time.Duration // longest replay: 5 min
	Progress   time.Duration // interval of the reports on a replay: 2 s
}

// DefaultTiming returns the timing of agents that configure none.
func DefaultTiming() Timing { return Timing{}.withDefaults() }

func (t Timing) withDefaults() Timing {
	for _, x := range []struct {
		d    *time.Duration
		good time.Duration
	}{{&t.Hold, 30 * time.Second}, {&t.ShortPoll, 5 * time.Second}, {&t.MinBackoff, time.Second}, {&t.MaxBackoff, 5 * time.Minute}, {&t.Batch, 250 * time.Millisecond}, {&t.LogTimeout, 20 * time.Second}, {&t.Replay, 5 * time.Minute}, {&t.Progress, 2 * time.Second}} {
		if *x.d <= 0 {
			*x.d = x.good
		}
	}
	return t
}

// core is shared by the parts of an agent.
type core struct {
	options   Options
	log       *slog.Logger
	atom      Atom
	client    *cloudclient.Client
	spool     *spool.Spool
	timing    Timing
	instance  string // random ID of this run
	started   time.Time
	connected atomic.Bool
}

// Agent connects an atom to its control plane.
type Agent struct {
	*core
	deployer     *deployer
	heartbeats   *heartbeats
	poller       *poller
	requests     *requestHandler
	replays      *replays
	reporter     *reporter
	triggers     *triggerReporter
	outbox       outbox
	sentTriggers sentTriggers
	restart      chan struct{}
}

// Open opens the agent's database. It starts nothing; the atom must not run
// yet.
func Open(o Options) (*Agent, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	client, err := cloudclient.New(o.Identity)
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(o.Data, cloudclient.Folder)
	composer, err := compose.New(compose.Options{Data: o.Data, Folder: folder, Identity: o.Identity, Client: client, Catalog: o.Catalog, Environment: o.Environment, Value: o.Value, Log: o.Log})
	if err != nil {
		return nil, err
	}
	s, err := spool.Open(folder, o.Log)
	if err != nil {
		return nil, fmt.Errorf("open the agent's database: %w", err)
	}
	a := &Agent{
		core: &core{
			options: o, log: o.Log, atom: o.Atom, timing: o.Timing.withDefaults(), spool: s, client: client,
			instance: rand.Text(), started: o.Clock().UTC(),
		},
		restart: make(chan struct{}, 1),
	}
	a.assemble(composer)
	if err := a.restore(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	o.Atom.OnEnded(a.requests.onEnded)
	o.Atom.OnSwitch(func() { notify(a.sentTriggers.changed) })
	return a, nil
}

// assemble creates the parts of the agent.
func (a *Agent) assemble(composer *compose.Composer) {
	a.outbox.init()
	a.sentTriggers.changed = make(chan struct{}, 1)
	a.deployer = &deployer{
		core: a.core, composer: composer, reports: &a.outbox, sentTriggers: &a.sentTriggers,
		local: a.options.Local, current: &compose.Composition{Desired: &wire.Desired{}}, targetChanged: make(chan struct{}, 1),
	}
	a.heartbeats = &heartbeats{core: a.core, deployer: a.deployer, outbox: &a.outbox}
	a.poller = &poller{core: a.core, sent: &a.sentTriggers, deployer: a.deployer, heartbeats: a.heartbeats}
	a.replays = &replays{core: a.core, deployer: a.deployer, queue: make(chan wire.Instruction, maxQueuedReplays)}
	a.requests = &requestHandler{core: a.core, replays: a.replays, deployer: a.deployer, outbox: &a.outbox, poller: a.poller, restart: a.restart}
	a.requests.running.init()
	a.poller.handle = a.requests.handleInstructions
	a.reporter = &reporter{core: a.core, outbox: &a.outbox, sent: &a.sentTriggers, deployer: a.deployer, heartbeats: a.heartbeats}
	a.triggers = &triggerReporter{core: a.core, sent: &a.sentTriggers, deployer: a.deployer, heartbeats: a.heartbeats}
}

// restore loads the state of the previous run.
func (a *Agent) restore() error {
	ctx := context.Background()
	if err := a.deployer.restore(ctx); err != nil {
		return err
	}
	var ceiling uint64
	if _, err := a.spool.LoadState(ctx, "counter", &ceiling); err != nil {
		return fmt.Errorf("read the request counter: %w", err)
	}
	if err := a.spool.SaveStateBeforeRun("counter", ceiling+cloudclient.CounterBlock); err != nil {
		return fmt.Errorf("store the request counter: %w", err)
	}
	a.client.StartCounter(ceiling, ceiling+cloudclient.CounterBlock, func(ceiling uint64) error {
		return a.spool.SaveState(context.Background(), "counter", ceiling)
	})
	all, err := a.spool.Watched(ctx)
	if err != nil {
		return fmt.Errorf("read the tracked requests: %w", err)
	}
	for _, w := range all {
		a.requests.running.add(w)
	}
	return nil
}

// Start deploys the previously deployed generation and the local project. It
// fails if the local project cannot run.
func (a *Agent) Start(ctx context.Context) error { return a.deployer.start(ctx) }

// Reload replaces the local project. If the new files have errors, the previous
// version continues.
func (a *Agent) Reload(ctx context.Context, local []processes.File) error {
	return a.deployer.reload(ctx, local)
}

// RunSpool commits the agent's data. It must outlive Run.
func (a *Agent) RunSpool(ctx context.Context) error { return a.spool.Run(ctx) }

// Close closes the agent's database after RunSpool has returned.
func (a *Agent) Close() error {
	a.client.Close()
	return a.spool.Close()
}

// Run polls and reports until ctx ends. It returns ErrRestart if the control
// plane requests a restart.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	all.Go(func() { a.reporter.persistReports(ctx) })
	all.Go(func() { a.reporter.sendReports(ctx) })
	all.Go(func() { a.deployer.convergeLoop(ctx) })
	all.Go(func() { a.poller.run(ctx) })
	all.Go(func() { a.triggers.run(ctx) })
	all.Go(func() { a.replays.run(ctx) })
	all.Go(func() {
		if a.ready(ctx) {
			a.requests.reconcile(ctx)
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
	a.reporter.flushOnStop()
	return err
}

// ready blocks until the atom is ready; false if ctx ends first.
func (a *core) ready(ctx context.Context) bool {
	for a.atom.Ready() != nil {
		if !sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
	return true
}

// Status is the state of the agent as shown to operators.
type Status struct {
	Connected  bool
	LastPoll   time.Time // zero: never
	Generation int64     // last generation dealt with
	Deployed   []string  // "project version" of the running projects
	Waiting    int64     // reports to be sent
	Dropped    int64     // reports dropped because of the limit
	Retired    bool
}

// Status returns the state of the agent.
func (a *Agent) Status() Status {
	s := Status{Connected: a.connected.Load(), Waiting: a.spool.Waiting(), Dropped: a.outbox.dropped.Load()}
	if ms := a.poller.lastPoll.Load(); ms != 0 {
		s.LastPoll = time.UnixMilli(ms)
	}
	a.deployer.mu.Lock()
	defer a.deployer.mu.Unlock()
	s.Generation, s.Retired = a.deployer.state.Generation, a.deployer.state.Retired
	s.Deployed = titles(a.deployer.current.Desired)
	return s
}

// Ready returns nil if the atom has something to run, otherwise the reason. It
// always has with a local project.
func (a *Agent) Ready() error {
	a.deployer.mu.Lock()
	defer a.deployer.mu.Unlock()
	switch {
	case len(a.deployer.local) > 0:
		return nil
	case len(a.deployer.current.Desired.Deployments) > 0:
		return nil
	case a.deployer.current.Failure != "":
		return errors.New("the deployment cannot run: " + a.deployer.current.Failure)
	default:
		return errors.New("nothing is deployed to this atom")
	}
}

// sleep waits for d; false if ctx ends first.
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
