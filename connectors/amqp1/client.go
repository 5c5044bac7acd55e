package amqp1

import (
	"context"
	"errors"
	"sync"

	"github.com/Azure/go-amqp"

	"valence/connectors"
	"valence/internal/fault"
)

// maxSenders is how many idle links to addresses stay open.
const maxSenders = 64

// client is a session with the broker. Its methods are safe for concurrent use.
type client struct {
	conn    *amqp.Conn
	session *amqp.Session
	turn    chan struct{} // held by who opens a link
	replies replies

	mu      sync.Mutex
	senders map[place]*sender
}

// place is a queue or a topic.
type place struct{ Address, Kind string }

func (p place) String() string { return p.Kind + " " + p.Address }

// sender is a link to an address.
type sender struct {
	*amqp.Sender
	users int // guarded by client.mu
}

func newClient(conn *amqp.Conn, s *amqp.Session) *client {
	x := &client{conn: conn, session: s, turn: make(chan struct{}, 1), senders: map[place]*sender{}}
	x.replies.waiting = map[string]chan *amqp.Message{}
	return x
}

func (x *client) alive() bool {
	select {
	case <-x.conn.Done():
		return false
	default:
		return true
	}
}

func (x *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, _ = connectors.Within(ctx, func() (any, error) { return nil, x.conn.Close() }, func(any) {}) // the broker notices by itself
}

// acquire returns a link to an address, which release returns.
func (x *client) acquire(ctx context.Context, to place) (*sender, error) {
	select {
	case x.turn <- struct{}{}:
		defer func() { <-x.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := x.known(to); s != nil {
		return s, nil
	}
	opened, err := x.session.NewSender(ctx, to.Address, &amqp.SenderOptions{TargetCapabilities: []string{to.Kind}})
	if err != nil {
		return nil, err
	}
	s := &sender{opened, 1}
	x.mu.Lock()
	defer x.mu.Unlock()
	for old, idle := range x.senders {
		if len(x.senders) >= maxSenders && idle.users == 0 {
			delete(x.senders, old)
			go idle.discard()
		}
	}
	x.senders[to] = s
	return s, nil
}

func (x *client) known(to place) *sender {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.senders[to]
	if s != nil {
		s.users++
	}
	return s
}

// release returns a link. One that has failed is not used again.
func (x *client) release(to place, s *sender, broken bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.users--
	if broken && x.senders[to] == s {
		delete(x.senders, to)
	}
	if s.users == 0 && x.senders[to] != s {
		go s.discard()
	}
}

func (s *sender) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.Close(ctx) // it has failed, or the connection ends
}

// send sends a message and waits until the broker has accepted it.
func (x *client) send(ctx context.Context, to place, m *amqp.Message, what string) error {
	s, err := x.acquire(ctx, to)
	if err != nil {
		return failed(ctx, what+": cannot send to "+to.String(), err, fault.CodeConnect)
	}
	var state amqp.DeliveryState
	receipt, err := s.SendWithReceipt(ctx, m, nil)
	if err == nil {
		state, err = receipt.Wait(ctx)
	}
	var link *amqp.LinkError
	x.release(to, s, errors.As(err, &link))
	if err != nil {
		return failed(ctx, what+": not accepted by the broker", err, fault.CodeAborted)
	}
	switch state := state.(type) {
	case *amqp.StateAccepted:
		return nil
	case *amqp.StateRejected:
		if state.Error != nil {
			return failed(ctx, what+": the broker rejected the message", state.Error, fault.CodeAborted)
		}
	}
	return connectors.Failf(codeRejected, true, nil, "%s: the broker did not accept the message", what)
}
