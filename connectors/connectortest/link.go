package connectortest

import (
	"net"
	"sync"
	"testing"
)

// Link is the network between a client and a server of this machine, which a
// test can break.
type Link struct {
	Address string // leads to the server
	target  string

	mu    sync.Mutex
	moved *sync.Cond
	open  map[net.Conn]bool
	left  int64 // bytes that clients may still send; negative: all
	cut   bool  // whether the link breaks after them, or only stops
}

// NewLink returns a link to an address until the test ends.
func NewLink(t *testing.T, target string) *Link {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &Link{Address: l.Addr().String(), target: target, open: map[net.Conn]bool{}, left: -1}
	k.moved = sync.NewCond(&k.mu)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", k.target)
			if err != nil {
				in.Close()
				continue
			}
			k.mu.Lock()
			k.open[in], k.open[out] = true, true
			k.mu.Unlock()
			running.Go(func() { k.pass(out, in, true) })
			running.Go(func() { k.pass(in, out, false) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		k.Restore()
		k.Cut()
		running.Wait()
	})
	return k
}

// CutAfter breaks all connections after clients have sent n more bytes.
func (k *Link) CutAfter(n int64) { k.limit(n, true) }

// StallAfter holds back everything that clients send after n more bytes.
func (k *Link) StallAfter(n int64) { k.limit(n, false) }

// Restore lifts the limits.
func (k *Link) Restore() { k.limit(-1, false) }

func (k *Link) limit(n int64, cut bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left, k.cut = n, cut
	k.moved.Broadcast()
}

// Cut breaks all connections.
func (k *Link) Cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
	k.moved.Broadcast()
}

// pass copies from one side to the other until one of them closes.
func (k *Link) pass(to, from net.Conn, sent bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && sent {
			n = k.allow(from, n)
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil || n == 0 {
			return
		}
	}
}

// allow waits until n bytes may pass and returns n, or 0 if the connection is
// broken.
func (k *Link) allow(from net.Conn, n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.left >= 0 && k.left < int64(n) {
		if k.cut {
			k.mu.Unlock()
			k.Cut()
			k.mu.Lock()
			return 0
		}
		if !k.open[from] {
			return 0
		}
		k.moved.Wait()
	}
	if k.left >= 0 {
		k.left -= int64(n)
	}
	return n
}
