package explain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"valence/processes"
)

// Call describes one call or start of another process.
type Call struct {
	What       string `json:"what"`
	Position   string `json:"position"`
	Step       string `json:"step,omitempty"`
	Durable    bool   `json:"durable"`  // its result survives a crash
	Handoff    bool   `json:"handoff"`  // it runs in a separate execution
	Changes    bool   `json:"changes"`  // it may change the other system
	Attempts   int    `json:"attempts"` // maximum, including the first
	TimeoutMS  int64  `json:"timeout_ms,omitempty"`
	LongestMS  int64  `json:"longest_ms,omitempty"` // all attempts and the waits between them
	Repeatable string `json:"repeat"`               // how a repeat is made safe
	Idempotent string `json:"idempotent,omitempty"` // key, natural or no; of an operation
	Marks      string `json:"marks,omitempty"`      // how the event that it causes is handled
}

func (c *Call) lines() []string {
	how := "in the request"
	switch {
	case c.Handoff:
		how = "handed off"
	case c.Durable:
		how = "durable"
	}
	first := fmt.Sprintf("%s  %s", c.What, c.Position)
	second := "  " + how + ", " + plural(c.Attempts, "attempt", "attempts")
	if c.TimeoutMS > 0 {
		second += " of at most " + Duration(time.Duration(c.TimeoutMS)*time.Millisecond)
	}
	if c.Attempts > 1 && c.LongestMS > 0 {
		second += ", at most " + Duration(time.Duration(c.LongestMS)*time.Millisecond) + " in total"
	}
	lines := []string{first, second, "  " + c.Repeatable}
	if c.Marks != "" {
		lines = append(lines, "  "+c.Marks)
	}
	return lines
}

// calls lists the external calls of a block. After an early reply the rest of
// the block is durable.
func (e *explainer) calls(block processes.Block, durable bool) {
	for _, s := range block {
		e.call(s, durable)
		for _, l := range s.Lists {
			e.calls(l.Steps, durable)
		}
		if s.Kind == "reply" && s.When == nil && e.process.Pattern == processes.EarlyReply {
			durable = true
		}
	}
}

func (e *explainer) call(s *processes.Step, durable bool) {
	caller, ok := s.Settings.(processes.ExternalCaller)
	if !ok {
		return
	}
	durable = durable || e.oneWay[s] && !e.others[s]
	external := caller.ExternalCall()
	if external.Operation.Operation == nil && external.Process == "" {
		return
	}
	c := Call{Position: s.Pos.String(), Step: s.Name, Durable: durable || external.Handoff, Handoff: external.Handoff, Attempts: 1}
	if op := external.Operation.Operation; op != nil {
		c.What, c.Changes = external.Operation.Connection+"."+op.Name, !op.Safe
		timeout, longest, attempts := e.bounds.Call(e.process, external, c.Durable)
		c.Attempts = attempts
		if timeout > 0 {
			c.TimeoutMS, c.LongestMS = timeout.Milliseconds(), longest.Milliseconds()
		}
		c.Idempotent = string(e.project.IdempotencyOf(s, external))
		c.Repeatable, c.Marks = repeatable(&c), e.marks(external.Marks)
		if later := c; !c.Durable && c.Changes && e.oneWay[s] {
			later.Durable = true
			c.Repeatable += "; for operations without an output it is durable: " + repeatable(&later)
		}
	} else {
		c.What, c.Changes = "process "+external.Process, true
		c.Repeatable = "its calls follow the same rules; see valence explain " + external.Process
		if external.Handoff {
			c.Repeatable = "created exactly once: it commits with this step"
		}
	}
	e.x.Calls = append(e.x.Calls, c)
}

func repeatable(c *Call) string {
	switch {
	case c.Handoff:
		return "created exactly once, delivered at least once with the same Idempotency-Key"
	case !c.Changes:
		return "read-only: a repeat is harmless"
	case c.Idempotent == string(processes.ByNature):
		return "a repeat changes nothing, as declared"
	case c.Durable && c.Idempotent == string(processes.ByKey):
		return "a crash or a retry may repeat it with the same Idempotency-Key, which the other system recognizes, as declared"
	case c.Durable:
		return "a crash or a retry may repeat it with the same Idempotency-Key, which the other system must recognize"
	case c.Attempts > 1:
		return "a retry may repeat it with the same Idempotency-Key; it is not resumed after a crash"
	}
	return "made once; it is not resumed after a crash, so the caller decides whether to send again"
}

// marks describes how the event is handled that a call's own write causes.
func (e *explainer) marks(m *processes.Marks) string {
	if m == nil {
		return ""
	}
	var by []string
	for _, p := range e.project.Processes {
		if g := p.Delivery.EchoGuard; g != nil && g.System == m.System {
			by = append(by, p.Name)
		}
	}
	if len(by) == 0 {
		return "records its version for " + m.System + ", but no process has an echo_guard for that system"
	}
	slices.Sort(by)
	waits := "of this record"
	if m.Whole {
		waits = "of " + m.System
	}
	return "records its version: " + strings.Join(by, ", ") + " drops the event that it causes; while the call is running, events " + waits + " wait for its response, at most 10s"
}

// repeats lists the messages and calls that may repeat.
func (e *explainer) repeats() {
	add := func(format string, args ...any) { e.x.Repeats = append(e.x.Repeats, fmt.Sprintf(format, args...)) }
	e.repeatedMessages(add)
	durable, changing := 0, map[string]int{} // by idempotency
	for _, c := range e.x.Calls {
		if c.Durable && !c.Handoff {
			durable++
			if c.Changes {
				changing[c.Idempotent]++
			}
		}
	}
	switch {
	case durable > 0:
		add("calls that were running at a crash: one per path, of at most %s", plural(e.process.Delivery.Workers, "execution", "executions"))
		for _, of := range []struct {
			kind   processes.Idempotency
			effect string
		}{
			{processes.ByKey, "the other system recognizes a repeat by its Idempotency-Key, as declared"},
			{processes.ByNature, "a repeat changes nothing, as declared"},
			{processes.NotIdempotent, "nothing declares that the other system recognizes a repeat, so its effect may occur twice"},
		} {
			if n := changing[string(of.kind)]; n > 0 {
				add("%s; %s", plural(n, "of these calls changes data", "of these calls change data"), of.effect)
			}
		}
	case len(e.x.Calls) == 0:
		add("no call: a crash repeats nothing in other systems")
	}
}

// repeatedMessages describes the handling of repeated messages and signals.
func (e *explainer) repeatedMessages(add func(string, ...any)) {
	d := e.process.Delivery
	switch p := e.process; {
	case p.Listen != nil && d.Dedupe != nil:
		add("a repeated message is recognized for %s and not run again", Duration(d.Dedupe.Window))
	case p.Listen != nil && p.Pattern == processes.RequestReply:
		add("a repeated request runs again: the process has no dedupe")
	case p.Listen != nil:
		add("a repeated message runs again, for example after a lost response: add dedupe to recognize it")
	case p.Schedule != nil:
		add("no run: a scheduled time starts at most one, even after a restart or a clock change")
	case p.Subscribe != nil && p.Subscribe.AtMostOnce:
		add("no message: each is received at most once, and those that arrive while the atom does not run are lost")
	case p.Subscribe != nil && d.Dedupe != nil:
		add("a redelivered message is recognized for %s and not run again", Duration(d.Dedupe.Window))
	case p.Subscribe != nil:
		add("a message redelivered with the same origin is not run again, but one sent anew is: add dedupe to recognize it")
	}
	if len(e.process.Waits) > 0 {
		add("no signal: the second callback or resume of a wait has no effect")
	}
}
