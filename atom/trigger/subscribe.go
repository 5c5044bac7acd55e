package trigger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"valence/connectors"
)

// Delays before a subscription that ended starts again.
const (
	minDelay = time.Second
	maxDelay = time.Minute
)

// Subscribed is a process with a subscription.
type Subscribed interface {
	Process
	// Listen delivers the messages of the subscription until ctx ends or the
	// connection fails.
	Listen(ctx context.Context, host *connectors.Host) error
	// Exclusive reports whether one member of a group listens at a time.
	Exclusive() bool
	// Receive accepts messages in one commit and sets their results. It
	// leaves those alone that are already marked as Redelivered.
	Receive(ctx context.Context, ds []*Delivery)
	// Cursor returns the position in a stream of the source; nil if there is none.
	Cursor(ctx context.Context, stream string) ([]byte, error)
}

// Leases are the claims of a group of atoms, see store.Leases.
type Leases interface {
	ClaimName(ctx context.Context, name string) (epoch int64, claimed bool, err error)
	ReleaseName(ctx context.Context, name string) error
	Holds(epoch int64) bool
}

// Subscriptions runs the subscriptions of deployed processes. A deployment ends the subscriptions of the previous version and waits for
// them, so that no two run for one process.
type Subscriptions struct {
	wanted func() []Subscribed
	leases Leases
	log    *slog.Logger
	wake   chan struct{}

	mu     sync.Mutex
	active map[string]*subscription // by process
	known  map[string]*health       // by process and connection
}

type subscription struct {
	process Subscribed
	cancel  context.CancelFunc
	done    chan struct{}
	reporter
}

// NewSubscriptions returns subscriptions of the processes that wanted returns:
// those that are deployed and not paused. It starts nothing before Run.
func NewSubscriptions(wanted func() []Subscribed, leases Leases, log *slog.Logger) *Subscriptions {
	return &Subscriptions{wanted: wanted, leases: leases, log: log, wake: make(chan struct{}, 1), active: map[string]*subscription{}, known: map[string]*health{}}
}

// Wake makes Run start and stop subscriptions after a deployment or a pause.
// It does not block.
func (s *Subscriptions) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run starts and stops subscriptions until ctx ends, and then waits for all of them.
func (s *Subscriptions) Run(ctx context.Context) {
	for ctx.Err() == nil {
		s.update(ctx)
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	s.stop(func(*subscription) bool { return true })
}

// update stops the subscriptions that are not wanted and starts missing ones.
func (s *Subscriptions) update(ctx context.Context) {
	wanted := map[string]Subscribed{}
	for _, p := range s.wanted() {
		wanted[p.Definition().Name] = p
	}
	s.stop(func(x *subscription) bool { return wanted[x.process.Definition().Name] != x.process })
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range wanted {
		if s.active[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		x := &subscription{process: p, cancel: cancel, done: make(chan struct{}), reporter: s.reporter(p)}
		s.active[name] = x
		go func() {
			defer close(x.done)
			s.keepListening(ctx, x)
		}()
	}
}

// stop ends subscriptions and waits for them.
func (s *Subscriptions) stop(which func(*subscription) bool) {
	s.mu.Lock()
	var ending []*subscription
	for _, x := range s.active {
		if which(x) {
			ending = append(ending, x)
			x.cancel()
		}
	}
	s.mu.Unlock()
	for _, x := range ending {
		<-x.done
		s.remove(x)
	}
}

// remove forgets a subscription that has ended, so that update may start
// another one for its process.
func (s *Subscriptions) remove(x *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name := x.process.Definition().Name; s.active[name] == x {
		delete(s.active, name)
	}
}

// Restart ends the subscription of a process and starts it again.
func (s *Subscriptions) Restart(process string) {
	s.stop(func(x *subscription) bool { return x.process.Definition().Name == process })
	s.Wake()
}

// keepListening listens until ctx ends, starting again after failures.
func (s *Subscriptions) keepListening(ctx context.Context, x *subscription) {
	def := x.process.Definition()
	for delay := minDelay; ctx.Err() == nil; delay = min(2*delay, maxDelay) {
		start := time.Now()
		err := s.listenAlone(ctx, x)
		if errors.Is(err, errStandby) {
			delay = minDelay // x waits for its turn at once
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(start) > maxDelay {
			delay = minDelay
		}
		x.enter(Down, err)
		s.log.Error("subscription ended; starting it again", "process", def.Name, "connection", def.Subscribe.Connection, "error", err, "in", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

// reporter returns the reporter of a process' subscription that starts now.
func (s *Subscriptions) reporter(p Subscribed) reporter {
	def := p.Definition()
	key := def.Name + "\x00" + def.Subscribe.Connection
	known := s.known[key]
	if known == nil {
		known = newHealth()
		s.known[key] = known
	}
	known.enter(Connecting, nil)
	return reporter{known, s.log.With("process", def.Name, "connection", def.Subscribe.Connection)}
}

// listen delivers messages until ctx ends or the connector fails. A panic of
// the connector is an error.
func (s *Subscriptions) listen(ctx context.Context, x *subscription) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the connector panicked: %v\n%s", p, debug.Stack())
		}
	}()
	host := &connectors.Host{Log: x.log, Status: x.reporter, Inbox: &inbox{subscription: x, process: x.process, cursors: map[string][]byte{}}}
	if err = x.process.Listen(ctx, host); err == nil {
		err = fmt.Errorf("the connection %s stopped listening", x.process.Definition().Subscribe.Connection)
	}
	return err
}

// Status returns the state of the subscription of a process. It returns false
// if the subscription does not run.
func (s *Subscriptions) Status(process string) (SubscriptionStatus, bool) {
	s.mu.Lock()
	x := s.active[process]
	s.mu.Unlock()
	if x == nil {
		return SubscriptionStatus{}, false
	}
	return x.status(), true
}
