package cli

import (
	"fmt"
	"strings"
	"time"

	"valence/processes"
)

// spanView is how long something can take.
type spanView struct {
	AtMostMS  int64    `json:"at_most_ms"`          // of what has a bound
	Unbounded []string `json:"unbounded,omitempty"` // what comes on top of that
}

func viewOf(s processes.Span) *spanView {
	v := &spanView{AtMostMS: s.Known.Milliseconds()}
	for _, o := range s.Open {
		text := fmt.Sprintf("%s (%s)", o.What, o.Pos)
		if o.Each > 0 {
			text = exact(o.Each) + " for " + text
		}
		v.Unbounded = append(v.Unbounded, text)
	}
	return v
}

func (v *spanView) known() string {
	if d := time.Duration(v.AtMostMS) * time.Millisecond; d < processes.Endless {
		return exact(d)
	}
	return "a hundred years"
}

// lines tell how long something that is named can take.
func (v *spanView) lines(what string) []string {
	switch {
	case v == nil:
		return nil
	case len(v.Unbounded) > 0:
		lines := []string{what + ": " + v.known() + " at most, and without a bound"}
		for _, u := range v.Unbounded {
			lines = append(lines, "  "+u)
		}
		return lines
	case v.AtMostMS == 0:
		return []string{what + ": no call and no wait"}
	}
	return []string{what + ": " + v.known() + " at most, if every attempt takes its timeout"}
}

func (e *explainer) waits() {
	l := e.process.Listen
	switch {
	case l == nil:
		e.x.CallerWaits = "Nobody waits at a listener."
		return
	case e.process.Pattern == processes.FireAndForget:
		e.x.CallerWaits = "Until the message is on disk, usually milliseconds; whatever the steps call is never waited for."
		return
	}
	e.x.CallerSteps = viewOf(e.spans.UntilReply(e.process, e.durableFromStart()))
	if e.process.Delivery.Sequence != nil {
		e.x.CallerSteps.Unbounded = append(e.x.CallerSteps.Unbounded, "its turn: as long as the executions before it hold their key")
	}
	if alwaysLater(l) && l.TimeoutAction != processes.Continue {
		e.x.CallerWaits = "Until the message is on disk, usually milliseconds; the reply is collected later."
		return
	}
	e.x.WaitsMS = l.Timeout.Milliseconds()
	e.x.CallerWaits = exact(l.Timeout) + ", then 504 and the execution is cancelled."
	if l.TimeoutAction == processes.Continue {
		e.x.CallerWaits = exact(l.Timeout) + ", then 202 with the place where the reply is collected, and the execution goes on."
	}
}

// sequenceView is what order per key costs.
type sequenceView struct {
	Key        string    `json:"key"`
	Scope      string    `json:"scope,omitempty"`
	SharedWith []string  `json:"shared_with,omitempty"` // processes of the same scope
	OnFailure  string    `json:"on_failure"`
	Limit      int       `json:"limit,omitempty"`
	Held       *spanView `json:"held_by_one_execution"`
	suspends   bool
	circuits   []string // connections that may be taken to be down
}

func (e *explainer) sequence() {
	s := e.process.Delivery.Sequence
	if s == nil {
		return
	}
	v := &sequenceView{Key: s.Key.Source(), Scope: s.Scope, OnFailure: "block", Limit: s.Limit, Held: viewOf(e.spans.Whole(e.process, true)), suspends: len(e.x.Suspends) > 0}
	if s.Skip {
		v.OnFailure = "skip"
	}
	for _, name := range sortedKeys(e.project.Processes) {
		if other := e.project.Processes[name].Delivery.Sequence; s.Scope != "" && other != nil && other.Scope == s.Scope && name != e.process.Name {
			v.SharedWith = append(v.SharedWith, name)
		}
	}
	v.circuits = e.breakers()
	e.x.Sequence = v
}

func (v *sequenceView) lines() []string {
	if v == nil {
		return nil
	}
	whose := "of this process"
	if len(v.SharedWith) > 0 {
		whose += ", and of " + strings.Join(v.SharedWith, ", ") + " (scope " + v.Scope + "),"
	}
	lines := []string{"Behind an execution wait the later ones " + whose + " with the same " + v.Key + ", as rows on disk; other keys do not wait."}
	if v.Limit > 0 {
		lines = append(lines, fmt.Sprintf("Beyond %d that wait behind the first of a key the sender gets 503.", v.Limit))
	}
	lines = append(lines, v.Held.lines("One execution holds its key")...)
	if v.Held.AtMostMS > 0 {
		lines = append(lines, "  longer where a system asks for it with Retry-After")
	}
	if v.suspends {
		lines = append(lines, "A wait or a sleep holds the key, not a worker.")
	}
	if len(v.circuits) > 0 {
		lines = append(lines, "While "+strings.Join(v.circuits, " or ")+" is down an execution that needs it holds its key, too: without a bound, and without spending attempts.")
	}
	if v.OnFailure == "skip" {
		return append(lines, "on_failure: skip: one that fails gives up its key, and the next one runs.")
	}
	return append(lines, "on_failure: block: one that fails keeps its key until it is resubmitted, skipped or deleted: valence sequences.")
}

// breakers are the connections that executions are held for when they are down.
func (e *explainer) breakers() (names []string) {
	for _, name := range e.spans.Reached(e.process) {
		if e.spans.Limits(name).Circuit.Failures > 0 {
			names = append(names, name)
		}
	}
	return names
}

// circuits tells what becomes of executions while a system is down.
func (e *explainer) circuits(add func(string, ...any)) {
	alike := map[processes.Circuit][]string{}
	var order []processes.Circuit
	for _, name := range e.breakers() {
		c := e.spans.Limits(name).Circuit
		if alike[c] == nil {
			order = append(order, c)
		}
		alike[c] = append(alike[c], name)
	}
	for _, c := range order {
		what := "executions that need it are held, without spending attempts, and go on in order"
		if !e.durableFromStart() {
			what = "callers get 503 at once"
			if e.process.Pattern == processes.EarlyReply {
				what += ", and durable executions that need it are held"
			}
		}
		name := strings.Join(alike[c], ", ")
		if len(alike[c]) > 1 {
			name += ", each"
		}
		add("%s: taken to be down after %s in a row; then %s, until the probe that is made every %s succeeds", name, plural(c.Failures, "failure", "failures"), what, exact(c.Probe))
	}
}
