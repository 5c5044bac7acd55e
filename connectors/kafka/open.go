package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"valence/connectors"
	"valence/connectors/session"
	"valence/internal/access"
)

// connection is an open connection.
type connection struct {
	settings
	options []kgo.Opt // of every client
	calls   *session.Session[*client]
}

// client is a client of the cluster with its health.
type client struct {
	*kgo.Client
	*health
}

// open returns a connection without touching the network.
func open(s *settings, version string, policy *access.Policy) (*connection, error) {
	if wrong := s.check(); len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	brokers := addresses(s.Brokers)
	if len(brokers) == 0 {
		return nil, errors.New("brokers: no address")
	}
	for _, b := range brokers {
		if err := policy.CheckURL(&url.URL{Scheme: "kafka", Host: b}); err != nil {
			return nil, err
		}
	}
	c := &connection{settings: *s}
	dial := policy.Dialer(net.Dialer{})
	if s.TLS != nil {
		config, err := s.TLS.Config(policy)
		if err != nil {
			return nil, err
		}
		dial = secured(dial, config)
	}
	c.options = []kgo.Opt{
		kgo.SeedBrokers(brokers...), kgo.ClientID("valence"), kgo.SoftwareNameAndVersion("valence", version), kgo.Dialer(dial),
		kgo.DisableClientMetrics(),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(int32(s.MaxMessage) + overhead),
		kgo.RecordPartitioner(partitioner{kgo.StickyKeyPartitioner(nil)}),
	}
	if s.Acks != acksAll {
		c.options = append(c.options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)) // in order
	}
	if l := s.SASL; l != nil {
		switch l.Mechanism {
		case mechanismPlain:
			c.options = append(c.options, kgo.SASL(plain.Auth{User: l.User, Pass: l.Password}.AsMechanism()))
		case mechanism256:
			c.options = append(c.options, kgo.SASL(scram.Auth{User: l.User, Pass: l.Password}.AsSha256Mechanism()))
		default:
			c.options = append(c.options, kgo.SASL(scram.Auth{User: l.User, Pass: l.Password}.AsSha512Mechanism()))
		}
	}
	if err := kgo.ValidateOpts(c.options...); err != nil {
		return nil, err
	}
	c.calls = session.New(session.Options[*client]{
		Dial: c.connect, Alive: func(x *client) bool { return x.alive() }, Close: (*client).close,
	})
	return c, nil
}

// overhead is the room for the header of a batch with one record.
const overhead = 1024

// secured returns a function that dials with TLS. Each broker proves its own name.
func secured(dial access.DialFunc, config *tls.Config) access.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		own := config
		if own.ServerName == "" {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				conn.Close()
				return nil, err
			}
			own = own.Clone()
			own.ServerName = host
		}
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		secure := tls.Client(conn, own)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secure, nil
	}
}

// connect opens a client and checks that a broker answers.
func (c *connection) connect(ctx context.Context) (*client, error) {
	x, err := c.client()
	if err != nil {
		return nil, err
	}
	if err := x.Ping(ctx); err != nil {
		x.close()
		if c.SASL != nil && errors.Is(err, io.EOF) { // brokers that close the connection instead of an answer
			err = fmt.Errorf("the broker closed the connection, check user and password: %w", err)
		}
		return nil, connectFailure(ctx, err)
	}
	return x, nil
}

// client returns a client with further options.
func (c *connection) client(further ...kgo.Opt) (*client, error) {
	h := &health{lost: make(chan struct{})}
	x, err := kgo.NewClient(append(append(c.options[:len(c.options):len(c.options)], kgo.WithHooks(h)), further...)...)
	if err != nil {
		return nil, connectors.Failf(codeBadCall, false, err, "cannot connect: %v", err)
	}
	return &client{x, h}, nil
}

func (x *client) close() {
	x.stop()
	x.CloseAllowingRebalance()
}

// Close closes the connection after the running calls.
func (c *connection) Close() error { return c.calls.Close() }
