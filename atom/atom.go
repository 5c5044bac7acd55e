// Package atom runs processes: it deploys plans, takes messages in, executes
// them in memory or durably, journals what they do, retries, and drains. What
// it needs of a store it declares in store.go.
package atom

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/metrics"
	"valence/processes"
)

// Options configure an Atom.
type Options struct {
	Store      Store
	Connectors connectors.Registry
	Key        []byte // 32 bytes that sign execution ids and reply tokens; nil: made anew
	Log        *slog.Logger
	Metrics    *metrics.Metrics
	Callbacks  *connectors.Connector // delivers replies to callers that asked to be called back; nil: nobody is
	Grace      time.Duration         // how long what runs may take after a stop; 0: 20 s
	PublicURL  string                // where others reach the data plane: what callback() begins with
}

// Atom is the runtime of one machine. Its methods may be called at once from
// many goroutines.
type Atom struct {
	store    Store
	catalog  *processes.Catalog
	key      []byte
	log      *slog.Logger
	metrics  *metrics.Metrics
	grace    time.Duration
	public   atomic.Pointer[string]
	expiries *expiries

	triggers  sync.WaitGroup // schedules and subscriptions
	clockwork *clockwork
	listening *listening

	mu       sync.RWMutex
	current  releases         // by name
	plans    map[string]*plan // by Process.Hash: every version that was deployed in this run or is still needed
	queues   map[string]*queue
	deployed []*Deployed // sorted by name
	onDeploy []func([]*Deployed)
	onEnded  func(Ended)
	onSwitch func()
	keepFor  atomic.Int64 // the longest that what ends is kept, ns; 0: as its process says
	paused   map[string]bool

	callbacks *callbacks // nil: nobody is called back
	followers followers
	audiences audiences

	writes   writes
	running  sync.Map     // seq → *execution, durable ones
	alone    sync.RWMutex // held for writing by an execution that two unclean stops found running
	labels   sync.Map     // *processes.Step → its part of a trace
	stopping atomic.Bool
	started  atomic.Bool
	work     context.Context // of what runs: ends after the grace
	halt     context.CancelCauseFunc
	workers  sync.WaitGroup
	batches  batches
	firstSeq int64        // of this run: what has a lower one was accepted before
	macs     sync.Pool    // *macState
	taking   atomic.Int64 // senders that wait for their acknowledgement
}

// New makes an atom that has nothing deployed. It starts nothing.
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
	a := &Atom{
		store: o.Store, key: o.Key, log: o.Log, metrics: o.Metrics, grace: o.Grace,
		catalog: &processes.Catalog{Steps: steps.Kinds(), Connectors: o.Connectors},
		plans:   map[string]*plan{}, queues: map[string]*queue{}, paused: map[string]bool{},
	}
	if a.metrics == nil {
		a.metrics = metrics.New()
	}
	a.callbacks = a.newCallbacks(o.Callbacks)
	a.work, a.halt = context.WithCancelCause(context.Background())
	a.clockwork = newClockwork(a)
	a.listening = newListening(a)
	a.SetPublicURL(o.PublicURL)
	a.expiries = newExpiries(a)
	a.store.OnAccepted(a.arrived)
	a.store.OnReady(a.readied)
	return a
}

// Run executes what is accepted until ctx ends, then drains: nothing new
// starts, what runs may finish within the grace, the rest is interrupted and
// goes on at the next start. The store must run longer than the atom.
func (a *Atom) Run(ctx context.Context) error {
	counts, err := a.store.Counts(ctx)
	if err != nil {
		return err
	}
	if err := a.loadPauses(ctx); err != nil {
		return err
	}
	a.firstSeq = a.store.Reserve()
	a.started.Store(true)
	for name, states := range counts {
		var n int64
		for _, c := range states {
			n += c
		}
		a.queue(name).recover(n)
	}
	if err := a.loadWrites(ctx); err != nil {
		return err
	}
	if err := a.resumeHeld(ctx); err != nil {
		return err
	}
	a.triggers.Go(func() { a.clockwork.run(ctx) })
	a.triggers.Go(func() { a.listening.run(ctx) })
	a.triggers.Go(func() { a.expiries.run(ctx) })
	<-ctx.Done()
	a.stopping.Store(true)
	a.triggers.Wait()
	done := make(chan struct{})
	go func() { a.workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(a.grace):
		a.halt(steps.Interrupted)
		<-done
	}
	for _, q := range a.allQueues() {
		q.close()
	}
	a.closeConnections()
	return nil
}

// arrived is told by the store of everything accepted, in order.
func (a *Atom) arrived(records []*Record) {
	heard := a.audiences.heard()
	for _, r := range records {
		if heard {
			a.audiences.tell(Happening{Event: HappenedAccepted, Process: r.Process, Execution: a.ExecutionID(r.Seq, r.Received)})
		}
		if !r.Expires.IsZero() {
			a.expiries.soon(r.Expires)
		}
		a.queue(r.Process).push(r)
	}
}

// readied is told by the store of everything that may run again.
func (a *Atom) readied(list []Ready) {
	for _, r := range list {
		if r.Superseded {
			a.queue(r.Process).gone()
			a.metrics.Process(r.Process).Ended(string(Superseded), 0)
			a.followers.tell(r.Seq)
			continue
		}
		a.queue(r.Process).again(r)
	}
}

func (a *Atom) queue(process string) *queue {
	a.mu.RLock()
	q := a.queues[process]
	a.mu.RUnlock()
	if q != nil {
		return q
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if q = a.queues[process]; q == nil {
		q = newQueue(a, process)
		a.queues[process] = q
	}
	return q
}

func (a *Atom) allQueues() []*queue {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := make([]*queue, 0, len(a.queues))
	for _, q := range a.queues {
		all = append(all, q)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].process < all[j].process })
	return all
}

// SetPublicURL says where others reach the data plane. It is for an address
// that is known only once it is listened to.
func (a *Atom) SetPublicURL(url string) {
	url = strings.TrimRight(url, "/")
	a.public.Store(&url)
}

// PublicURL is where others reach the data plane.
func (a *Atom) PublicURL() string { return *a.public.Load() }

// Ready is nil once the atom may be given work, otherwise why not.
func (a *Atom) Ready() error {
	switch {
	case a.stopping.Load():
		return ErrStopping
	case !a.started.Load():
		return ErrStarting
	}
	return a.store.Err()
}

// KeepAtMost bounds how long executions that end from now on are kept, whatever
// their processes say; 0 leaves it to them. Unresolved failed ones are kept all
// the same.
func (a *Atom) KeepAtMost(d time.Duration) { a.keepFor.Store(int64(d)) }

// retention is how long what a process did is kept now.
func (a *Atom) retention(p *processes.Process) processes.Retention {
	r := p.Delivery.Retention
	if most := time.Duration(a.keepFor.Load()); most > 0 {
		r.Records, r.Documents = min(r.Records, most), min(r.Documents, most)
	}
	return r
}

// Load is how much a process has to do, for operators and metrics.
type Load struct {
	Waiting int64 // live executions
	Running int
	Oldest  time.Time // when the oldest of them was received; zero if there is none
}

// Load tells how much a process has to do.
func (a *Atom) Load(ctx context.Context, process string) (Load, error) {
	waiting, running := a.queue(process).load()
	oldest := time.Time{}
	if waiting > 0 {
		var err error
		if oldest, err = a.store.Oldest(ctx, process); err != nil {
			return Load{}, err
		}
	}
	return Load{Waiting: waiting, Running: running, Oldest: oldest}, nil
}
