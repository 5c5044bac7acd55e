package atom

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"valence/connectors"
	"valence/internal/document"
)

// How long a subscription that fails waits before it listens again.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// listening keeps the subscriptions that are deployed and not paused
// listening. A deployment ends those of the version before and waits for
// them, so that no two listen for one process.
type listening struct {
	atom *Atom
	wake chan struct{}

	mu     sync.Mutex
	active map[string]*listener
}

type listener struct {
	of     *Deployed
	cancel context.CancelFunc
	done   chan struct{}
	err    error // why it does not listen at the moment
}

func newListening(a *Atom) *listening {
	return &listening{atom: a, wake: make(chan struct{}, 1), active: map[string]*listener{}}
}

func (l *listening) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run follows deployments and pauses until ctx ends, and then waits for all
// that listens.
func (l *listening) run(ctx context.Context) {
	for ctx.Err() == nil {
		l.follow(ctx)
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	l.end(func(*listener) bool { return true })
}

func (l *listening) follow(ctx context.Context) {
	wanted := map[string]*Deployed{}
	for _, d := range l.atom.Deployed() {
		if d.Process.Subscribe != nil && !d.Paused() {
			wanted[d.Process.Name] = d
		}
	}
	l.end(func(x *listener) bool { return wanted[x.of.Process.Name] != x.of })
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, d := range wanted {
		if l.active[name] != nil {
			continue
		}
		own, cancel := context.WithCancel(ctx)
		x := &listener{of: d, cancel: cancel, done: make(chan struct{})}
		l.active[name] = x
		go func() {
			defer close(x.done)
			l.keep(own, x)
		}()
	}
}

// end stops listeners and waits for them.
func (l *listening) end(which func(*listener) bool) {
	l.mu.Lock()
	var ending []*listener
	for name, x := range l.active {
		if which(x) {
			ending = append(ending, x)
			delete(l.active, name)
			x.cancel()
		}
	}
	l.mu.Unlock()
	for _, x := range ending {
		<-x.done
	}
}

// again ends what listens for a process, and lets it begin anew.
func (l *listening) again(process string) {
	l.end(func(x *listener) bool { return x.of.Process.Name == process })
	l.poke()
}

// keep listens again whenever that ends.
func (l *listening) keep(ctx context.Context, x *listener) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, longestPause) {
		begun := time.Now()
		err := l.listen(ctx, x)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > longestPause {
			pause = firstPause
		}
		l.mu.Lock()
		x.err = err
		l.mu.Unlock()
		l.atom.log.Error("a subscription has ended; it is begun again", "process", x.of.Process.Name, "connection", x.of.Process.Subscribe.Connection, "error", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func (l *listening) listen(ctx context.Context, x *listener) (err error) {
	name := x.of.Process.Subscribe.Connection
	conn := x.of.release.connections[name]
	source, ok := conn.open.(connectors.Listener)
	if !ok {
		return fmt.Errorf("the connection %s cannot listen", name)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a defect of the connector: %v\n%s", p, debug.Stack())
		}
	}()
	conn.users.Add(1)
	defer func() {
		if conn.users.Add(-1) == 0 && conn.retired.Load() {
			conn.close()
		}
	}()
	err = source.Listen(ctx, x.of.subscription, func(ctx context.Context, m *connectors.Message) error {
		err := l.deliver(ctx, x.of, m)
		if err == nil {
			l.mu.Lock()
			x.err = nil
			l.mu.Unlock()
		}
		return err
	})
	if err == nil {
		err = fmt.Errorf("the connection %s stopped listening", name)
	}
	return err
}

// deliver takes a message on; see connectors.Deliver. A commit that has begun
// is not given up because listening ends.
func (l *listening) deliver(ctx context.Context, d *Deployed, m *connectors.Message) error {
	if err := l.atom.open(d); err != nil {
		return err
	}
	if m.Doc == nil {
		m.Doc = document.Empty
	}
	in := &Arrival{Doc: m.Doc, Received: now(), Props: m.Props, CorrelationID: m.CorrelationID, SHA256: hashBody(m.Doc), By: BySubscription}
	if in.CorrelationID == "" {
		in.CorrelationID = rand.Text()
	}
	origin := ""
	if m.Origin != "" {
		origin = hex.EncodeToString(slice(derive("message", d.Process.Name, d.Process.Subscribe.Connection, m.Origin)))
	}
	_, err := l.atom.take(context.WithoutCancel(ctx), d, in, origin)
	return err
}

// Hearing tells why a subscription does not listen at the moment; "" if it does.
func (a *Atom) Hearing(d *Deployed) string {
	l := a.listening
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.active[d.Process.Name]; x != nil && x.err != nil {
		return x.err.Error()
	}
	return ""
}
