package amqp

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"

	"valence/connectors/connectortest"
	"valence/internal/access"
	"valence/internal/egress"
	"valence/internal/fault"
	"valence/internal/test/servers"
	"valence/internal/test/testcert"
)

// secured returns the address of a TLS proxy in front of the broker and the file
// with its certificate.
func secured(t *testing.T) (address, ca string) {
	t.Helper()
	cert, key := testcert.New(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return // the test has ended
			}
			out, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(rabbit.Port))
			if err != nil {
				in.Close()
				continue
			}
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // until one side closes
				to.Close()
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return l.Addr().String(), cert
}

func TestTLS(t *testing.T) {
	queue := newQueue(t, plain(t), nil)
	address, ca := secured(t)
	with := connectortest.Settings{"routing_key": queue}
	url := connectortest.Settings{"url": "amqps://" + address, "tls": map[string]any{"ca": ca}}
	if _, err := call(t.Context(), t, connect(t, brokerSettings(url)), "publish", "1", with); err != nil {
		t.Errorf("with the authority: got %v, want nil", err)
	}
	_, err := call(t.Context(), t, connect(t, brokerSettings(connectortest.Settings{"url": "amqps://" + address})), "publish", "1", with)
	wantFailure(t, "without the authority", err, fault.CodeConnect, true, "certificate")
	url = connectortest.Settings{"url": "amqps://127.0.0.1:" + strconv.Itoa(rabbit.Port), "tls": map[string]any{"ca": ca}}
	_, err = call(t.Context(), t, connect(t, brokerSettings(url)), "publish", "1", with)
	wantFailure(t, "a broker without TLS", err, fault.CodeConnect, true, "cannot connect")
}

func TestPolicy(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &settings{URL: rabbit.URL(), User: servers.RabbitMQUser, Password: servers.RabbitMQPassword}
	if _, err := open(s, "1", policy.Signed("shop", []string{"rabbit.example"})); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("another host: got %v, want a refusal", err)
	}
	byAddress := *s
	byAddress.URL = "amqp://localhost:" + strconv.Itoa(rabbit.Port)
	c, err := open(&byAddress, "1", policy.Signed("shop", []string{"10.0.0.0/8"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, err = call(t.Context(), t, c, "publish", "1", connectortest.Settings{"routing_key": "x"})
	wantFailure(t, "an address that is not allowed", err, CodeBadCall, false, "does not allow")
}
