// Package run executes messages: it admits them, runs their steps in memory or
// durably, journals their effects, suspends and resumes them, and records their
// outcomes. It knows deployed processes through the interface Deployments.
//
// It is larger than other packages because every kind of journal entry is
// written, replayed, committed and shown here, around one type, execution.
package run

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/activity"
	"valence/atom/connection"
	"valence/atom/queue"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/internal/blob"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/mask"
	"valence/internal/metrics"
	"valence/processes"
)

// Deployed is a deployed process with its environment values.
type Deployed struct {
	Plan    *Plan
	Env     *document.Object
	EnvHash string // content hash of Env
}

// Deployments finds deployed processes, and versions that executions started on.
type Deployments interface {
	// Deployed returns the deployed process with a name.
	Deployed(process string) (Deployed, bool)
	// Plan returns the plan that a record refers to by its name.
	Plan(ctx context.Context, process, name string) (*Plan, error)
	// Env returns the environment values with a content hash.
	Env(ctx context.Context, hash string) (*document.Object, error)
	// Secrets returns the secrets of a release.
	Secrets(release string) *document.Object
	// Connection returns an open connection of a release.
	Connection(release, name string) (*connection.Connection, bool)
	// Workers returns how many executions of a process may run at once.
	Workers(process string) int
}

// Options configure an Engine. All fields are required unless stated.
type Options struct {
	Store         store.Store
	Deployments   Deployments
	IDs           *IDs
	Clock         *clock.Clock
	Log           *slog.Logger
	Metrics       *metrics.Metrics
	Masks         *mask.Set       // masks records
	Work          context.Context // of executions: its end interrupts them
	PublicURL     func() string   // of the data plane
	Callbacks     *Plan           // delivers replies to callers; nil: callbacks are off
	WakeSchedules func()          // called when a scheduled execution ends
	Ended         func(End)       // called when an execution ends; nil: nobody listens
	Blobs         blob.Store      // large files; nil: their content stays in documents
	// Calls answers calls in place of their connections; nil: connections do.
	Calls Calls
	// KeptFailures limits the stored failures of waiting callers per process,
	// in bytes; 0: no limit.
	KeptFailures int64
	// Traced is called with every step that has run, again in each run of its
	// execution; nil: nobody listens.
	Traced func(execution int64, s steps.StepTrace)
}

// Engine runs executions. Its methods may be called from many goroutines.
type Engine struct {
	Options
	Queues   *queue.Set
	Activity activity.Feed
	Watchers activity.Watchers
	Expirer  *Expirer
	Heeder   *Heeder

	running   sync.Map  // Seq → *activeRun
	cancels   sync.Map  // Seq → *cancellation, of live executions
	isolation isolation // of executions that two unclean stops interrupted
	writes    writes    // calls of other systems that are being made
	labels    stepLabels
	pure      purity
	failures  failureLog
	kept      *keptFailures
	retention atomic.Int64 // upper bound, ns; 0: none
}

var _ queue.Runner = (*Engine)(nil)

// New returns an engine. It starts nothing.
func New(o Options) *Engine {
	g := &Engine{Options: o, kept: newKeptFailures(o)}
	g.Queues = queue.NewSet(o.Store, g, o.Clock, o.Log)
	g.Expirer = &Expirer{engine: g, kick: make(chan struct{}, 1)}
	g.Heeder = &Heeder{engine: g, kick: make(chan struct{}, 1), seqs: map[int64]bool{}}
	return g
}

// Start lets workers start and loads the executions of earlier starts.
func (g *Engine) Start(ctx context.Context) error {
	if err := g.Recover(ctx); err != nil {
		return err
	}
	g.Queues.Start()
	return g.Store.Join(ctx, g.adopt, g.lose)
}

// News returns the functions that receive the commits of other members.
// settings is called when people may have changed something at another member,
// resized when the share of this one has changed.
func (g *Engine) News(settings, resized func()) store.News {
	return store.News{Changed: g.Watchers.Wake, Cancelled: g.Heeder.cancelled, Settings: settings, Resized: resized}
}

// adopt makes the queues read executions that the atom runs from now on.
func (g *Engine) adopt(live map[string]int64) {
	for process, n := range live {
		g.Queues.Queue(process).Restore(n)
	}
}

// lose interrupts all runs and empties the queues: other members run their
// executions from now on.
func (g *Engine) lose() {
	g.Queues.Drop()
	g.running.Range(func(_, a any) bool {
		a.(*activeRun).interrupt()
		return true
	})
}

// Recover loads the state that earlier runs of the atom left, without starting any
// execution. Start calls it.
func (g *Engine) Recover(ctx context.Context) error { return g.loadWrites(ctx) }

// Workers returns how many executions of a process may run at once.
func (g *Engine) Workers(process string) int { return g.Deployments.Workers(process) }

// IsRunning reports whether a durable execution runs now.
func (g *Engine) IsRunning(seq int64) bool {
	_, ok := g.running.Load(seq)
	return ok
}

// SetMaxRetention bounds how long executions that end from now on are kept; 0
// leaves it to their processes. Unresolved failures are kept all the same.
func (g *Engine) SetMaxRetention(d time.Duration) { g.retention.Store(int64(d)) }

// retentionOf returns how long executions of a process are kept.
func (g *Engine) retentionOf(p *processes.Process) processes.Retention {
	r := p.Delivery.Retention
	if most := time.Duration(g.retention.Load()); most > 0 {
		r.Records, r.Documents = min(r.Records, most), min(r.Documents, most)
	}
	return r
}

// Forget drops cached data of the steps of earlier deployments.
func (g *Engine) Forget() { g.labels.byStep.Clear() }
