package mqtt

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"valence/connectors"
	"valence/internal/fault"
)

// link is one connection to the broker. It is not used again after it is lost.
type link struct {
	client
	present   bool   // the broker has kept the session of an earlier link
	maxPacket int64  // bytes that the broker accepts; 0: any number
	inbox     *inbox // of a subscription; otherwise nil
	replies   replies

	closed <-chan struct{} // closed with the network connection
	ended  sync.Once
	gone   chan struct{} // closed when the link is lost or closed
	cause  error         // why; set before gone is closed
}

// client is the client of one version of the protocol. Messages have the form of
// version 5.
type client interface {
	Publish(ctx context.Context, m *paho.Publish) (*paho.PublishResponse, error)
	Subscribe(ctx context.Context, s *paho.Subscribe) (*paho.Suback, error)
	// ack acknowledges a message, in the order of the messages. If the link is
	// lost, the message comes again.
	ack(m *paho.Publish)
	// settle returns after the broker has handled the acknowledgements.
	settle(ctx context.Context, o paho.SubscribeOptions) error
	disconnect() error
	// drop frees the resources of a lost link.
	drop()
}

// watched is a network connection that says when it was closed.
type watched struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (w *watched) Close() error {
	w.once.Do(func() { close(w.closed) })
	return w.Conn.Close()
}

// noTimeout is used because the context of each use bounds its time.
const noTimeout = 24 * time.Hour

// newLink returns a link on a connection that is not logged in.
func newLink(conn net.Conn, in *inbox) (*link, net.Conn) {
	w := &watched{Conn: conn, closed: make(chan struct{})}
	l := &link{inbox: in, closed: w.closed, gone: make(chan struct{})}
	l.replies.turn, l.replies.waiting = make(chan struct{}, 1), map[string]chan *paho.Publish{}
	return l, w
}

// receive handles a message of the broker. Nothing else is received meanwhile.
func (l *link) receive(m *paho.Publish) {
	if l.inbox == nil {
		l.replies.receive(m)
		l.ack(m)
		return
	}
	l.inbox.add(m, l.closed)
}

// disconnected is the reason with which the broker has ended a link.
type disconnected struct {
	code byte
	text string
}

// Error returns the message.
func (d *disconnected) Error() string {
	return "the broker ended the connection: " + reason(d.code, d.text)
}

var errClosed = errors.New("the connection was closed")

// end marks the link as lost.
func (l *link) end(cause error) {
	l.ended.Do(func() {
		l.cause = cause
		close(l.gone)
		l.drop()
	})
}

func (l *link) alive() bool {
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}

// closeTimeout bounds the end of a link.
const closeTimeout = 2 * time.Second

// close ends the session properly, so that the broker publishes no will.
func (l *link) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if l.alive() {
		_, _ = connectors.Within(ctx, func() (any, error) { return nil, l.disconnect() }, func(any) {})
	}
	l.end(errClosed)
}

// use returns the result of f, which waits for the broker, or the reason why ctx
// has ended or the link is lost.
func use[T any](ctx context.Context, l *link, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-l.gone:
			cancel(l.cause)
		case <-ctx.Done():
		}
	}()
	v, err := connectors.Within(ctx, func() (T, error) { return f(ctx) }, func(T) {})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return v, err
}

// publish sends a message and waits until the broker has acknowledged it, unless
// its quality of service is 0. It reports whether somebody subscribes to the
// topic, as far as the broker says.
func (l *link) publish(ctx context.Context, m *paho.Publish, what string) (wanted bool, err error) {
	if size := sizeOf(m); l.maxPacket > 0 && size > l.maxPacket {
		return false, connectors.Failf(fault.CodeTooLarge, false, nil, "%s: the message has %d bytes with its properties, and the broker accepts %d", what, size, l.maxPacket)
	}
	answer, err := use(ctx, l, func(ctx context.Context) (*paho.PublishResponse, error) { return l.client.Publish(ctx, m) })
	if answer != nil && answer.ReasonCode >= refusals {
		return false, publishFailure(answer, what)
	}
	if err != nil {
		return false, unacknowledged(ctx, what, err)
	}
	return answer.ReasonCode != packets.PubackNoMatchingSubscribers, nil
}

// sizeOf returns the size of a message with its header.
func sizeOf(m *paho.Publish) int64 {
	size := int64(5)
	for _, b := range m.Packet().Buffers() {
		size += int64(len(b))
	}
	return size
}
