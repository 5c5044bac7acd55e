package dataplane

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"valence/internal/metrics"
)

// connLimiter is a net.Listener that limits the number of open connections, in
// total and by client. Connections above the total wait in the system's queue
// until one closes. Those above the share of their client are closed at once,
// because a waiting one would keep others from being accepted.
type connLimiter struct {
	net.Listener
	slots   chan struct{} // nil: no total
	share   int           // 0: no share
	clients clients
	refused *refusals
	closed  chan struct{}
	once    sync.Once
}

// limitConnections limits the connections that l accepts. A limit of 0 means
// none.
func limitConnections(l net.Listener, total, share int, refused *refusals) net.Listener {
	if total <= 0 && share <= 0 {
		return l
	}
	limited := &connLimiter{Listener: l, share: share, clients: clients{open: map[netip.Prefix]int{}}, refused: refused, closed: make(chan struct{})}
	if total > 0 {
		limited.slots = make(chan struct{}, total)
	}
	return limited
}

// Accept waits for a free slot, then for a connection of a client that has not
// used up its share.
func (b *connLimiter) Accept() (net.Conn, error) {
	if b.slots != nil {
		select {
		case b.slots <- struct{}{}:
		case <-b.closed:
			return nil, net.ErrClosed
		}
	}
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			b.free()
			return nil, err
		}
		client := clientOf(c.RemoteAddr())
		if b.share > 0 && client.IsValid() && !b.clients.enter(client, b.share) {
			b.refused.add(client)
			_ = c.Close() // nothing was read or written
			continue
		}
		return &limitedConn{Conn: c, limiter: b, client: client}, nil
	}
}

func (b *connLimiter) free() {
	if b.slots != nil {
		<-b.slots
	}
}

// Close ends Accept. Open connections stay open.
func (b *connLimiter) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

type limitedConn struct {
	net.Conn
	limiter *connLimiter
	client  netip.Prefix
	once    sync.Once
}

// Close closes the connection and frees its slot.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		if c.limiter.share > 0 && c.client.IsValid() {
			c.limiter.clients.leave(c.client)
		}
		c.limiter.free()
	})
	return err
}

// clientBits is the length of the prefix that one client is assumed to have
// (RFC 6177: a network gets at least a /64).
const clientBits = 64

// clientOf returns the address of a client, for IPv6 its network. It is invalid
// if the address has no IP.
func clientOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = clientBits
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// clients counts the open connections of each client.
type clients struct {
	mu   sync.Mutex
	open map[netip.Prefix]int
}

// enter counts a connection. It returns false if the client has share already.
func (c *clients) enter(client netip.Prefix, share int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[client] >= share {
		return false
	}
	c.open[client]++
	return true
}

func (c *clients) leave(client netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[client]--; c.open[client] == 0 {
		delete(c.open, client)
	}
}

// refusalLogInterval is the shortest time between two log lines about refused
// connections.
const refusalLogInterval = time.Minute

// refusals counts and logs refused connections. It is used by one goroutine.
type refusals struct {
	log     *slog.Logger
	metrics *metrics.Metrics
	share   int
	since   int // the last log line
	logged  time.Time
}

func (r *refusals) add(client netip.Prefix) {
	r.metrics.ConnectionRefused()
	r.since++
	if now := time.Now(); now.Sub(r.logged) >= refusalLogInterval {
		r.log.Warn("connections refused: one address has its share of connections; see --max-connections-per-address",
			"address", client.Masked(), "share", r.share, "refused", r.since)
		r.since, r.logged = 0, now
	}
}
