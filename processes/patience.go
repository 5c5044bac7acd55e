package processes

import (
	"fmt"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Reach is what a step does outside of its execution, as its settings tell.
type Reach struct {
	Operation Operation            // that it calls; the zero one: none
	Process   string               // that it starts; "": none
	Handoff   bool                 // it does not wait for what it started
	Body      *expression.Template // what the process starts with; nil: the current document
	Marks     *Marks               // the version that it made is told from others; nil: it is not
	Retry     *Retry               // of its own; nil: the process'
	Timeout   time.Duration        // of one attempt; 0: the connection's
}

// Marks is what a call notes of what it wrote, so that the event that says so
// is taken for an echo.
type Marks struct {
	System string // that it wrote to
	Whole  bool   // its record is known with the answer alone: until then events of the whole system wait
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
// each takes no longer than timeout: Endless at most.
func (r *Retry) Longest(timeout time.Duration) time.Duration {
	longest, wait := timeout, r.Backoff
	for range r.MaxAttempts - 1 {
		longest += wait + timeout
		if longest > Endless {
			return Endless
		}
		if wait *= 2; r.MaxBackoff > 0 && wait > r.MaxBackoff {
			wait = r.MaxBackoff
		}
	}
	return longest
}

// Limits gives what bounds the use of each connection, as far as the files
// tell: not where that depends on the place.
func (p *Project) Limits() map[string]ConnectionLimits {
	env, secrets := &document.Object{}, &document.Object{}
	seen := map[Need]bool{}
	for _, n := range p.needs {
		if n.Pos = (fault.Pos{}); seen[n] {
			continue
		}
		seen[n] = true
		if n.Kind == "secret" {
			secrets.Set(n.Name, "x")
		} else {
			env.Set(n.Name, "http://localhost")
		}
	}
	found := map[string]ConnectionLimits{}
	for name, c := range p.Connections {
		if c.Connector == nil {
			continue
		}
		if limits, _, err := c.Resolve(&expression.Env{Names: standIns{env, secrets}}, nil, nil); err == nil {
			found[name] = limits
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

// patience warns where callers give up before the steps do: then they get 504,
// and do not know whether a call took effect.
func (l *loader) patience(spans *Spans) {
	for _, b := range l.processes {
		p := b.proc
		if p.Listen == nil || p.Listen.Timeout == 0 || !p.Listen.Sync() || p.Listen.TimeoutAction == Continue {
			continue
		}
		if l.impatient(b, p.Steps, spans) {
			continue
		}
		spans.retries = false
		longest := spans.UntilReply(p, false).Known
		if longest <= p.Listen.Timeout || !b.patient && !spans.retries {
			continue
		}
		l.warn(p.Listen.Pos, CodeImpatient,
			fmt.Sprintf("the calls before the reply may take %s together, and the caller waits %s: then 504", spec.FormatDuration(longest), spec.FormatDuration(p.Listen.Timeout)),
			"shorter `timeout:` and fewer attempts of the calls, a longer `timeout:` of the listener, `timeout_action: continue`, or a `reply` before them: the rest then runs durably")
	}
}

func (l *loader) warn(at fault.Pos, code fault.Code, msg, hint string) {
	l.problems = append(l.problems, &fault.Problem{Pos: at, Severity: fault.Warning, Code: code, Msg: msg, Hint: hint})
}

// impatient looks through the steps that run while the caller waits, those up
// to the reply, for calls that alone are too long, and reports whether there are any.
func (l *loader) impatient(b *building, block Block, spans *Spans) (found bool) {
	for _, s := range block {
		if r, ok := s.Settings.(Reacher); ok && l.outlasts(b, s, r.Reach(), spans) {
			found = true
		}
		for _, list := range s.Lists {
			found = l.impatient(b, list.Steps, spans) || found
		}
		if l.kinds[s.Kind].Flow == Reply {
			return found
		}
	}
	return found
}

func (l *loader) outlasts(b *building, s *Step, r Reach, spans *Spans) bool {
	if r.Operation.Operation == nil || r.Handoff {
		return false
	}
	_, longest, attempts := spans.Call(b.proc, r, false)
	patience := b.proc.Listen.Timeout
	if attempts < 2 || longest <= patience {
		return false
	}
	l.warn(s.Pos, CodeImpatient, fmt.Sprintf("with its retries this call may take %s, and the caller waits %s", longest, patience),
		"fewer or faster attempts, a longer `timeout:` of the listener, or a `reply` before the call: the rest then runs durably")
	return true
}
