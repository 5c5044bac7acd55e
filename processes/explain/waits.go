package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"valence/processes"
	"valence/processes/analysis"
)

// Bound is the longest duration of something.
type Bound struct {
	AtMostMS  int64    `json:"at_most_ms"`          // of the bounded parts
	Unbounded []string `json:"unbounded,omitempty"` // parts that come on top
}

func boundOf(b analysis.Bound) *Bound {
	v := &Bound{AtMostMS: b.Known.Milliseconds()}
	for _, o := range b.Open {
		text := fmt.Sprintf("%s (%s)", o.What, o.Pos)
		if o.Each > 0 {
			text = Duration(o.Each) + " for " + text
		}
		v.Unbounded = append(v.Unbounded, text)
	}
	return v
}

func (b *Bound) known() string {
	if d := time.Duration(b.AtMostMS) * time.Millisecond; d < processes.Endless {
		return Duration(d)
	}
	return "100 years"
}

func (b *Bound) lines(subject string) []string {
	switch {
	case b == nil:
		return nil
	case len(b.Unbounded) > 0:
		lines := []string{subject + ": no upper bound; at most " + b.known() + ", plus"}
		for _, u := range b.Unbounded {
			lines = append(lines, "  "+u)
		}
		return lines
	case b.AtMostMS == 0:
		return []string{subject + ": no call and no wait"}
	}
	return []string{subject + ": at most " + b.known() + ", if every attempt times out"}
}

func (e *explainer) callerWaits() {
	l := e.process.Listen
	switch {
	case l == nil:
		e.x.CallerWaits = "No caller: the process has no listener."
		return
	case e.process.Pattern == processes.FireAndForget:
		e.x.CallerWaits = "Until the message is on disk, usually milliseconds; never for a call."
		return
	}
	e.x.CallerSteps = boundOf(e.bounds.UntilReply(e.process, DurableFromStart(e.process)))
	if e.process.Delivery.Sequence != nil {
		e.x.CallerSteps.Unbounded = append(e.x.CallerSteps.Unbounded, "earlier executions of its sequence key, as long as they hold the key")
	}
	if AlwaysDeferred(l) && l.TimeoutAction != processes.Continue {
		e.x.CallerWaits = "Until the message is on disk, usually milliseconds; the reply is collected later."
		return
	}
	e.x.WaitsMS = l.Timeout.Milliseconds()
	e.x.CallerWaits = Duration(l.Timeout) + ", then 504 and the execution is cancelled."
	if l.TimeoutAction == processes.Continue {
		e.x.CallerWaits = Duration(l.Timeout) + ", then 202 with a Location for the reply, and the execution continues."
	}
}

// Sequence describes the cost of order per key.
type Sequence struct {
	Key        string   `json:"key"`
	Scope      string   `json:"scope,omitempty"`
	SharedWith []string `json:"shared_with,omitempty"` // processes of the same scope
	OnFailure  string   `json:"on_failure"`
	Limit      int      `json:"limit,omitempty"`
	Held       *Bound   `json:"held_by_one_execution"`
	suspends   bool
	circuits   []string // connections with a circuit breaker
}

func (e *explainer) sequence() {
	s := e.process.Delivery.Sequence
	if s == nil {
		return
	}
	v := &Sequence{Key: s.Key.Source(), Scope: s.Scope, OnFailure: "block", Limit: s.Limit, Held: boundOf(e.bounds.Whole(e.process, true)), suspends: len(e.x.Suspends) > 0}
	if s.Skip {
		v.OnFailure = "skip"
	}
	for _, name := range slices.Sorted(maps.Keys(e.project.Processes)) {
		if other := e.project.Processes[name].Delivery.Sequence; s.Scope != "" && other != nil && other.Scope == s.Scope && name != e.process.Name {
			v.SharedWith = append(v.SharedWith, name)
		}
	}
	v.circuits = e.circuitBreakers()
	e.x.Sequence = v
}

func (v *Sequence) lines() []string {
	if v == nil {
		return nil
	}
	whose := "of this process"
	if len(v.SharedWith) > 0 {
		whose += ", and of " + strings.Join(v.SharedWith, ", ") + " (scope " + v.Scope + "),"
	}
	lines := []string{"Later executions " + whose + " with the same " + v.Key + " wait on disk; other keys do not wait."}
	if v.Limit > 0 {
		lines = append(lines, fmt.Sprintf("The sender gets 503 if %d executions wait behind the first of a key.", v.Limit))
	}
	lines = append(lines, v.Held.lines("One execution holds its key")...)
	if v.Held.AtMostMS > 0 {
		lines = append(lines, "  longer if a system sends Retry-After")
	}
	if v.suspends {
		lines = append(lines, "A wait or a sleep holds the key, but no worker.")
	}
	if len(v.circuits) > 0 {
		lines = append(lines, "While "+strings.Join(v.circuits, " or ")+" is down, an execution that needs it also holds its key, for any time and without spending attempts.")
	}
	if v.OnFailure == "skip" {
		return append(lines, "on_failure: skip: a failed execution releases its key, and the next one runs.")
	}
	return append(lines, "on_failure: block: a failed execution holds its key until it is resubmitted, skipped or deleted; see valence sequences.")
}

// circuitBreakers returns the connections of the process with a circuit breaker.
func (e *explainer) circuitBreakers() (names []string) {
	for _, name := range e.bounds.Connections(e.process) {
		if e.bounds.Limits(name).Circuit.Failures > 0 {
			names = append(names, name)
		}
	}
	return names
}

// circuits describes the effect on executions while a connection is down.
func (e *explainer) circuits(add func(string, ...any)) {
	alike := map[processes.Circuit][]string{}
	var order []processes.Circuit
	for _, name := range e.circuitBreakers() {
		c := e.bounds.Limits(name).Circuit
		if alike[c] == nil {
			order = append(order, c)
		}
		alike[c] = append(alike[c], name)
	}
	for _, c := range order {
		effect := "executions that need it are held without spending attempts, and resume in order"
		if !DurableFromStart(e.process) {
			effect = "callers get 503 at once"
			if e.process.Pattern == processes.EarlyReply {
				effect += ", and durable executions that need it are held"
			}
		}
		name := strings.Join(alike[c], ", ")
		if len(alike[c]) > 1 {
			name += " (each)"
		}
		add("%s: the circuit opens after %s in a row; then %s, until a probe succeeds (one every %s)", name, plural(c.Failures, "failure", "failures"), effect, Duration(c.Probe))
	}
}
