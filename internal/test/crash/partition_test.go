package crash

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// link is a network path to a server that a test can stall and cut.
type link struct {
	net.Listener
	to string

	mu      sync.Mutex
	stalled chan struct{} // closed when the link passes bytes; nil: it does
	conns   map[net.Conn]bool
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{Listener: listener, to: to, conns: map[net.Conn]bool{}}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go l.join(client)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		l.resume()
		l.cut()
	})
	return l
}

// join passes bytes between a client and the server until one of them closes.
func (l *link) join(client net.Conn) {
	l.wait()
	server, err := net.Dial("tcp", l.to)
	if err != nil {
		client.Close()
		return
	}
	l.mu.Lock()
	l.conns[client], l.conns[server] = true, true
	l.mu.Unlock()
	go l.pass(client, server)
	l.pass(server, client)
}

func (l *link) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		l.wait()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns when the link is not stalled.
func (l *link) wait() {
	l.mu.Lock()
	stalled := l.stalled
	l.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
}

// stall leaves connections open, and passes nothing until resume.
func (l *link) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = make(chan struct{})
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stalled != nil {
		close(l.stalled)
		l.stalled = nil
	}
}

// cut closes all connections.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
	clear(l.conns)
}

// A member that cannot reach the database loses its executions to another one.
// Requests that were under way change nothing afterwards, and it joins again by
// itself.
func TestGroupPartition(t *testing.T) {
	sink := newCustomers(t)
	server, _ := newGroup(t, 0, sink.addr())
	url := groupURL(t, server)
	_, host, _ := strings.Cut(url, "@")
	host, _, _ = strings.Cut(host, "/")
	away := newLink(t, host)
	apart := startMember(t, 1, sink.addr(), strings.Replace(url, host, away.Addr().String(), 1), groupProject)
	other := startMember(t, 2, sink.addr(), url, groupProject)

	const shoppers, each = 10, 30
	senders := sendOrders([]*atom{apart, other}, shoppers, each, 600*time.Millisecond)
	for round, end := range []func(){away.resume, func() { away.cut(); away.resume() }} {
		id := fmt.Sprint("apart-", round)
		enough := sink.total() + shoppers
		within(t, 60*time.Second, "some orders", func() bool { return sink.total() >= enough })
		hang := apart.accept("/work", fmt.Sprintf(`{"id":%q}`, id))
		within(t, 20*time.Second, "its call", func() bool { return sink.of("/hang/"+id) == 1 })
		sink.mark("member 1 is apart")
		away.stall()
		within(t, 15*time.Second, "the takeover", func() bool { return sink.of("/hang/"+id) == 2 })
		if status := other.adminCall("POST", "/executions/"+hang+"/cancel", &struct{}{}); status != 202 {
			t.Errorf("cancel after the takeover: got %d, want 202", status)
		}
		if v := other.ended(hang); v.Status != "cancelled" || sink.of("/cleanup/"+id) != 1 {
			t.Errorf("got %+v and %d calls of finally, want it cancelled, and one", v, sink.of("/cleanup/"+id))
		}
		end() // the bytes that were on their way arrive, or are lost
		sink.mark("member 1 is back")
		again := fmt.Sprintf(`{"customer":"again%d","n":1}`, round)
		within(t, 30*time.Second, "the member that was apart", func() bool { return apart.posted("/orders", again) })
		if v := apart.ended(hang); v.Status != "cancelled" || sink.of("/hang/"+id) != 2 || sink.of("/cleanup/"+id) != 1 {
			t.Errorf("after it is back: got %+v, %d calls and %d of finally, want it cancelled, two and one", v, sink.of("/hang/"+id), sink.of("/cleanup/"+id))
		}
	}
	senders.Wait()
	within(t, 60*time.Second, "all orders", func() bool { return sink.total() == shoppers*each+2 })
	sink.check(t, 2*shoppers) // one for each lane and disturbance
}
