package processes

import (
	"fmt"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
)

// Reach is what a step does outside of its execution, as its settings tell.
type Reach struct {
	Operation Operation     // that it calls; the zero one: none
	Process   string        // that it starts; "": none
	Handoff   bool          // it does not wait for what it started
	Retry     *Retry        // of its own; nil: the process'
	Timeout   time.Duration // of one attempt; 0: the connection's
}

// Reacher is implemented by the settings of steps that reach out.
type Reacher interface{ Reach() Reach }

// DefaultRetry is the policy that holds where nobody wrote one. It must not be
// changed.
func DefaultRetry(durable bool) *Retry {
	if durable {
		return &durableRetry
	}
	return &promptRetry
}

var (
	durableRetry = Retry{MaxAttempts: 6, Backoff: 10 * time.Second, MaxBackoff: 10 * time.Minute, Jitter: true}
	promptRetry  = Retry{MaxAttempts: 1}
)

// RetryOf is the policy of a call in a process: its own, else the process',
// else the project's, else the default. They never multiply.
func RetryOf(own *Retry, p *Process, project *Defaults, durable bool) *Retry {
	for _, r := range []*Retry{own, p.Delivery.Retry, project.Retry} {
		if r != nil {
			return r
		}
	}
	return DefaultRetry(durable)
}

// Longest is how long all attempts may take with the waits between them, if
// each takes no longer than timeout.
func (r *Retry) Longest(timeout time.Duration) time.Duration {
	longest, wait := timeout, r.Backoff
	for range r.MaxAttempts - 1 {
		longest += wait + timeout
		if wait *= 2; r.MaxBackoff > 0 && wait > r.MaxBackoff {
			wait = r.MaxBackoff
		}
	}
	return longest
}

// Timeouts gives how long one attempt of a call may take, by connection, as
// far as the files tell: not where it depends on the place.
func (p *Project) Timeouts() map[string]time.Duration {
	env, secrets := &document.Object{}, &document.Object{}
	for _, n := range p.Needs() {
		if n.Kind == "secret" {
			secrets.Set(n.Name, "x")
		} else {
			env.Set(n.Name, "http://localhost")
		}
	}
	found := map[string]time.Duration{}
	for name, c := range p.Connections {
		if limits, _, err := c.Resolve(&expression.Env{Names: standIns{env, secrets}}, nil, nil); err == nil {
			found[name] = limits.Timeout
		}
	}
	return found
}

// standIns stand in for values that are only known where a project runs.
type standIns struct{ env, secrets *document.Object }

func (s standIns) Name(root string) (any, bool) {
	switch root {
	case "env":
		return s.env, true
	case "secret":
		return s.secrets, true
	}
	return nil, false
}

// patience warns where callers give up before a step does: then they get 504,
// and do not know whether the call took effect.
func (l *loader) patience() {
	if fault.Problems(l.problems).HasErrors() {
		return // what a step calls may not be known
	}
	var timeouts map[string]time.Duration
	for _, b := range l.processes {
		p := b.proc
		if p == nil || p.Listen == nil || p.Listen.Timeout == 0 || !p.Listen.Sync() || p.Listen.TimeoutAction == Continue {
			continue
		}
		if timeouts == nil {
			timeouts = l.project.Timeouts()
		}
		l.impatient(b, p.Steps, timeouts)
	}
}

// impatient looks through the steps that run while the caller waits: those up
// to the reply.
func (l *loader) impatient(b *building, block Block, timeouts map[string]time.Duration) {
	for _, s := range block {
		if r, ok := s.Settings.(Reacher); ok {
			l.outlasts(b, s, r.Reach(), timeouts)
		}
		for _, list := range s.Lists {
			l.impatient(b, list.Steps, timeouts)
		}
		if s.Kind == "reply" {
			return
		}
	}
}

func (l *loader) outlasts(b *building, s *Step, r Reach, timeouts map[string]time.Duration) {
	if r.Operation.Operation == nil || r.Handoff {
		return
	}
	policy := RetryOf(r.Retry, b.proc, &l.project.Defaults, false)
	timeout := r.Timeout
	if timeout == 0 {
		timeout = timeouts[r.Operation.Connection]
	}
	longest, patience := policy.Longest(timeout), b.proc.Listen.Timeout
	if policy.MaxAttempts < 2 || longest <= patience {
		return
	}
	l.problems = append(l.problems, &fault.Problem{Pos: s.Pos, Code: CodeImpatient, Severity: fault.Warning,
		Msg:  fmt.Sprintf("with its retries this call may take %s, and the caller waits %s", longest, patience),
		Hint: "fewer or faster attempts, a longer `timeout:` of the listener, or a `reply` before the call: the rest then runs durably"})
}
