package kafka

import (
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// patience is how long a client continues without any broker. It is longer than an
// election of leaders.
const patience = 5 * time.Second

// health watches the connections of a client, because the client itself retries
// forever.
type health struct {
	mu      sync.Mutex
	failure error       // of the last attempt to connect; nil: a broker has answered since
	timer   *time.Timer // ends the client; nil if a broker has answered since the last failure
	ended   bool

	lost chan struct{} // closed when no broker can be reached
}

var (
	_ kgo.HookBrokerConnect = (*health)(nil)
	_ kgo.HookBrokerRead    = (*health)(nil)
)

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (h *health) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	h.seen(err)
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (h *health) OnBrokerRead(_ kgo.BrokerMetadata, _ int16, _ int, _, _ time.Duration, err error) {
	if err == nil {
		h.seen(nil)
	}
}

// seen records that a broker has answered, or why one could not be reached.
func (h *health) seen(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failure = err
	switch {
	case err == nil && h.timer != nil:
		h.timer.Stop()
		h.timer = nil
	case err != nil && h.timer == nil && !h.ended:
		h.timer = time.AfterFunc(patience, h.giveUp)
	}
}

func (h *health) giveUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil && !h.ended {
		h.ended = true
		close(h.lost)
	}
}

func (h *health) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	h.ended = true
}

func (h *health) alive() bool {
	select {
	case <-h.lost:
		return false
	default:
		return true
	}
}

// cause returns why no broker can be reached; nil if one has answered.
func (h *health) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failure
}
