package mqtt

import (
	"context"
	"net"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
)

// five is the client of version 5.
type five struct {
	*paho.Client
	state memory
	link  *link
}

var _ client = (*five)(nil)

// memory is the state of a session. The client collects acknowledgements and
// loses those that it has not sent when the link is closed, so that five.ack
// sends them at once.
type memory struct{ *state.State }

// Ack implements session.SessionManager.
func (memory) Ack(*packets.Publish) error { return nil }

func newFive(conn net.Conn, l *link) *five {
	f := &five{state: memory{state.NewInMemory()}, link: l}
	f.Client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), Session: f.state, PacketTimeout: noTimeout, EnableManualAcknowledgment: true,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			l.receive(p.Packet)
			return true, nil
		}},
		OnClientError: l.end,
		OnServerDisconnect: func(d *paho.Disconnect) {
			l.end(&disconnected{d.ReasonCode, d.Properties.ReasonString})
		},
	})
	return f
}

// login logs in.
func (f *five) login(ctx context.Context, request *paho.Connect) error {
	ack, err := f.Connect(ctx, request)
	if err != nil {
		return loginFailure(ack, err)
	}
	f.link.present = ack.SessionPresent
	if ack.Properties != nil && ack.Properties.MaximumPacketSize != nil {
		f.link.maxPacket = int64(*ack.Properties.MaximumPacketSize)
	}
	return nil
}

func (f *five) ack(m *paho.Publish) {
	if m.QoS > 0 {
		_ = f.state.State.Ack(m.Packet()) // the link is lost
		_ = f.Ack(m)                      // removes it from the list of the client
	}
}

// settle subscribes again: the broker answers packets in their order.
func (f *five) settle(ctx context.Context, o paho.SubscribeOptions) error {
	return f.link.subscribe(ctx, o)
}

func (f *five) disconnect() error { return f.Disconnect(&paho.Disconnect{}) }

func (f *five) drop() { _ = f.state.Close() } // it is in memory
