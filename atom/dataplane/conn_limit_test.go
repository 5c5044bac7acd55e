package dataplane

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/internal/metrics"
)

// Connections over the limit wait until another closes. A closed listener does
// not wait.
func TestBounded(t *testing.T) {
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(base, 2, 0, nil)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	next := func() net.Conn {
		t.Helper()
		select {
		case c := <-accepted:
			return c
		case <-time.After(5 * time.Second):
			t.Fatal("got no connection, want one accepted")
			return nil
		}
	}
	var open []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", base.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	open = append(open, next(), next())
	select {
	case <-accepted:
		t.Fatal("got a third connection accepted, want it to wait")
	case <-time.After(50 * time.Millisecond):
	}
	open[0].Close()
	open[0].Close() // closing twice frees no second slot
	third := next()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("closed listener: got Accept blocked, want it to return")
	}
	third.Close()
	open[1].Close()
}

// from is a connection from a client address.
type from struct {
	net.Conn
	address string
}

func (c from) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.address)
	if err != nil {
		panic(err)
	}
	return a
}

// arriving is a listener whose connections arrive in an order.
type arriving struct {
	net.Listener
	conns []net.Conn
}

func (a *arriving) Accept() (net.Conn, error) {
	if len(a.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := a.conns[0]
	a.conns = a.conns[1:]
	return c, nil
}

// One address gets its share of the connections, so that it cannot keep the
// others out.
func TestConnectionsPerAddress(t *testing.T) {
	for _, test := range []struct {
		name    string
		clients []string
		want    []string // accepted
	}{
		{"one address", []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1"}, []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"}},
		{"neighbours in IPv4", []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.3:1", "192.0.2.3:2"}, []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.3:1", "192.0.2.3:2"}},
		{"one IPv6 network", []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "[2001:db8:0:1::1]:1"}, []string{"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1"}},
		{"IPv4 in IPv6", []string{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1:3"}, []string{"192.0.2.1:1", "192.0.2.1:2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var conns, others []net.Conn
			for _, address := range test.clients {
				here, there := net.Pipe()
				conns, others = append(conns, from{here, address}), append(others, there)
			}
			m := metrics.New()
			l := limitConnections(&arriving{conns: conns}, 100, 2, &refusals{log: slog.New(slog.DiscardHandler), metrics: m, share: 2})
			var accepted []net.Conn
			var got []string
			for {
				c, err := l.Accept()
				if err != nil {
					break
				}
				accepted, got = append(accepted, c), append(got, c.RemoteAddr().String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("accepted: got %v, want %v", got, test.want)
			}
			for i, there := range others {
				_ = there.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, err := there.Read(make([]byte, 1))
				address := conns[i].RemoteAddr().String()
				if refused := err == io.EOF; refused == slices.Contains(test.want, address) {
					t.Errorf("%s: got %v, want the connection closed only if it was refused", address, err)
				}
			}
			if got := len(l.(*connLimiter).slots); got != len(test.want) {
				t.Errorf("got %d slots in use, want %d", got, len(test.want))
			}
			for _, c := range accepted {
				c.Close()
			}
			if left := len(l.(*connLimiter).clients.open); left != 0 {
				t.Errorf("got %d addresses counted after all closed, want 0", left)
			}
			out := httptest.NewRecorder()
			m.Handler().ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
			if want := fmt.Sprintf("valence_connections_refused_total %d\n", len(test.clients)-len(test.want)); !strings.Contains(out.Body.String(), want) {
				t.Errorf("got no %q in the metrics, want it", want)
			}
		})
	}
}

// The share is given back when a connection closes.
func TestShareOfAnAddressIsFreedByClosing(t *testing.T) {
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(base, 0, 1, &refusals{log: slog.New(slog.DiscardHandler)})
	defer l.Close()
	for range 3 {
		c, err := net.Dial("tcp", base.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		here, err := l.Accept()
		if err != nil {
			t.Fatalf("got %v, want the connection after the other one closed", err)
		}
		here.Close()
		c.Close()
	}
}
