package listener

import (
	"net"
	"testing"
	"time"
)

// Connections beyond the bound wait until one of those before closes, and a
// listener that is closed does not wait for one.
func TestBounded(t *testing.T) {
	base, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := bound(base, 2)
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
			t.Fatal("not accepted")
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
		t.Fatal("a third one was accepted")
	case <-time.After(50 * time.Millisecond):
	}
	open[0].Close()
	open[0].Close() // once more gives no second slot
	third := next()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it waits for a slot although it is closed")
	}
	third.Close()
	open[1].Close()
}
