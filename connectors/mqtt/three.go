package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"valence/connectors"
	"valence/internal/fault"
)

// three is the client of version 3.1.1. This version has no properties, reason
// codes, expiry and limit of messages in flight, and no reply when the broker
// refuses a message.
type three struct {
	client mqtt.Client
	link   *link

	mu       sync.Mutex
	received map[*paho.Publish]mqtt.Message // not acknowledged yet
}

var _ client = (*three)(nil)

// protocolThree is the number of version 3.1.1 in the protocol.
const protocolThree = 4

// loginThree returns a client that is logged in.
func loginThree(ctx context.Context, conn net.Conn, l *link, hello *paho.Connect) (*three, error) {
	t := &three{link: l, received: map[*paho.Publish]mqtt.Message{}}
	o := mqtt.NewClientOptions().AddBroker("tcp://broker").SetClientID(hello.ClientID).SetUsername(hello.Username).SetPassword(string(hello.Password)).
		SetProtocolVersion(protocolThree).SetCleanSession(hello.CleanStart).SetKeepAlive(keepAlive * time.Second).SetPingTimeout(keepAlive * time.Second).
		SetAutoReconnect(false).SetConnectRetry(false).SetAutoAckDisabled(true).SetOrderMatters(true).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { go l.end(err) }). // drop waits for the handler
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(t.incoming(m)) })
	if w := hello.WillMessage; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	t.client = mqtt.NewClient(o)
	token := t.client.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := token.Error(); err != nil {
		return nil, threeFailure(token.ReturnCode(), err)
	}
	l.present = token.SessionPresent()
	return t, nil
}

// Return codes of version 3.1.1.
const (
	threeVersion      = 1
	threeClientID     = 2
	threeUnavailable  = 3
	threePassword     = 4
	threeUnauthorized = 5
)

// threeFailure returns the failure of a login.
func threeFailure(code byte, err error) *fault.Failure {
	switch code {
	case threeVersion:
		return connectors.Retry(fault.CodeConnect, "cannot connect: the broker does not support MQTT 3.1.1; set `version: 5`", 0, err)
	case threeClientID:
		return connectors.Retry(fault.CodeConnect, "cannot connect: the broker refused: the client_id is not valid", 0, err)
	case threeUnavailable:
		return connectors.Retry(fault.CodeConnect, "cannot connect: the broker refused: it is not available", 0, err)
	case threePassword, threeUnauthorized:
		return connectors.Retry(codeAuth, "the broker refused the login, check user and password", 0, err)
	}
	return connectors.Retry(fault.CodeConnect, "cannot connect: no answer of a broker of MQTT 3.1.1: "+networkText(err), 0, err)
}

// incoming returns a message in the form of version 5.
func (t *three) incoming(m mqtt.Message) *paho.Publish {
	p := paho.PublishFromPacketPublish(&packets.Publish{Topic: m.Topic(), QoS: m.Qos(), Retain: m.Retained(), Duplicate: m.Duplicate(), PacketID: m.MessageID(),
		Payload: m.Payload(), Properties: &packets.Properties{}})
	if m.Qos() > 0 { // others may be dropped, and never acknowledged
		t.mu.Lock()
		defer t.mu.Unlock()
		t.received[p] = m
	}
	return p
}

func (t *three) ack(p *paho.Publish) {
	t.mu.Lock()
	m := t.received[p]
	delete(t.received, p)
	t.mu.Unlock()
	if m != nil {
		m.Ack()
	}
}

// Publish implements client. The broker does not say whether anybody subscribes
// to the topic.
func (t *three) Publish(ctx context.Context, m *paho.Publish) (*paho.PublishResponse, error) {
	return &paho.PublishResponse{}, wait(ctx, t.client.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

// Subscribe implements client.
func (t *three) Subscribe(ctx context.Context, s *paho.Subscribe) (*paho.Suback, error) {
	o := s.Subscriptions[0]
	token := t.client.Subscribe(o.Topic, o.QoS, nil).(*mqtt.SubscribeToken)
	err := wait(ctx, token)
	granted, answered := token.Result()[o.Topic]
	if !answered {
		if err == nil {
			err = errors.New("the broker did not answer")
		}
		return nil, err
	}
	return &paho.Suback{Reasons: []byte{granted}}, err
}

// settle asks the broker to end a subscription that does not exist: it answers
// packets in their order. A repeated subscription would send all retained
// messages again.
func (t *three) settle(ctx context.Context, _ paho.SubscribeOptions) error {
	_, err := use(ctx, t.link, func(ctx context.Context) (any, error) { return nil, wait(ctx, t.client.Unsubscribe("valence/settle")) })
	return err
}

// wait waits for the answer of the broker.
func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// quiesce is how long disconnect waits for running work, in milliseconds.
const quiesce = 100

func (t *three) disconnect() error {
	t.client.Disconnect(quiesce)
	return nil
}

func (t *three) drop() {
	if t.client.IsConnectionOpen() {
		t.client.Disconnect(0)
	}
}

// version of the protocol.
const (
	version5   = "5"
	version311 = "3.1.1"
)

// needsFive returns the problems of settings that need version 5.
func needsFive(set map[string]bool) (wrong []string) {
	for _, key := range []string{"headers", "expiration"} {
		if set[key] {
			wrong = append(wrong, fmt.Sprintf("%s: needs MQTT 5, and the connection has `version: %s`", key, version311))
		}
	}
	return wrong
}

// describe returns the operations of a connection. Those of version 3.1.1 report
// the settings that need version 5.
func describe(v any, _ connectors.Files) ([]connectors.Operation, fault.Problems) {
	if v.(*settings).Version != version311 {
		return []connectors.Operation{publishOperation, requestOperation}, nil
	}
	publish, request := publishOperation, requestOperation
	publish.Check = func(v any) []string {
		w := v.(*publishWith)
		return append(publishOperation.Check(w), w.needsFive()...)
	}
	request.Check = func(any) []string {
		return []string{"request needs MQTT 5, and the connection has `version: " + version311 + "`; publish the question, and receive the answer by a subscription"}
	}
	return []connectors.Operation{publish, request}, nil
}
