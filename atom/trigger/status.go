package trigger

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"valence/connectors"
)

// States of a subscription.
const (
	Connecting = "connecting" // it has not reached its source yet
	Up         = "up"
	Down       = "down"
	Standby    = "standby" // another member of the group listens
)

// SubscriptionStatus is the state of a subscription, for operators.
type SubscriptionStatus struct {
	State string
	Since time.Time
	Error string // why it is down; "" unless it is
	// Warning is the last thing that operators must know although the
	// subscription continues; "" if there was none.
	Warning   string
	WarningAt time.Time
	Lag       int64 // messages that wait at the source; -1: unknown
	// Delay is how long the newest message waited at the source; -1: unknown.
	Delay  time.Duration
	Counts map[Result]int64 // delivered messages since the atom started
}

// IsUp reports whether the subscription reaches its source, or leaves it to
// another member of the group.
func (s SubscriptionStatus) IsUp() bool { return s.State == Up || s.State == Standby }

// health is the state of a subscription. It outlives the runs of the
// subscription, so that its counts only grow.
type health struct {
	mu     sync.Mutex
	state  string
	since  time.Time
	err    error // why it is down; nil unless it is
	warned string
	warnAt time.Time
	lag    int64
	delay  time.Duration
	counts map[Result]int64
}

func newHealth() *health {
	return &health{state: Connecting, since: time.Now(), lag: -1, delay: -1, counts: map[Result]int64{}}
}

// enter enters a state and returns the previous one.
func (h *health) enter(state string, err error) (before string, changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, changed = h.state, h.state != state || textOf(h.err) != textOf(err)
	if h.state != state {
		h.since = time.Now()
	}
	h.state, h.err = state, err
	return before, changed
}

func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (h *health) status() SubscriptionStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := SubscriptionStatus{State: h.state, Since: h.since, Error: textOf(h.err), Warning: h.warned, WarningAt: h.warnAt, Lag: h.lag, Delay: h.delay, Counts: map[Result]int64{}}
	for _, r := range Results {
		s.Counts[r] = h.counts[r]
	}
	return s
}

// reporter is the connectors.Status of a subscription.
type reporter struct {
	*health
	log *slog.Logger
}

var _ connectors.Status = reporter{}

// Up implements connectors.Status.
func (r reporter) Up() {
	if before, changed := r.enter(Up, nil); changed && before == Down {
		r.log.Info("subscription listens again")
	}
}

// Down implements connectors.Status.
func (r reporter) Down(err error) {
	if err == nil {
		err = errors.New("the source cannot be reached")
	}
	if _, changed := r.enter(Down, err); changed {
		r.log.Warn("subscription is down", "error", err)
	}
}

// Warn implements connectors.Status.
func (r reporter) Warn(text string) {
	r.log.Warn(text)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warned, r.warnAt = text, time.Now()
}

// Lag implements connectors.Status.
func (r reporter) Lag(messages int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lag = max(messages, -1)
}

// delivered counts messages and logs those that were refused.
func (r reporter) delivered(ds []*Delivery) {
	reached := false
	r.mu.Lock()
	for _, d := range ds {
		r.counts[d.Result]++
		reached = reached || d.answer() == nil
		if !d.Time.IsZero() {
			r.delay = max(0, time.Since(d.Time))
		}
	}
	r.mu.Unlock()
	if reached {
		r.Up()
	}
	for _, d := range ds {
		switch d.Result {
		case Refused:
			r.log.Warn("message refused; it is kept as a failed execution", "origin", d.Origin, "error", d.Err)
		case DeadLettered:
			r.log.Warn("message refused; the source dead-letters it", "dead_letter", d.DeadLetter, "origin", d.Origin, "error", d.Err)
		}
	}
}
