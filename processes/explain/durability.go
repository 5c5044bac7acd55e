package explain

import (
	"fmt"
	"strings"

	"valence/processes"
)

// AlwaysDeferred reports whether every execution of a listener is durable from
// acceptance, whatever mode its caller asks for.
func AlwaysDeferred(l *processes.Listen) bool {
	return l != nil && l.Later() && (l.TimeoutAction == processes.Continue || !l.Offers(processes.ModeSync))
}

// DurableFromStart reports whether the results of all calls of a process are durable.
func DurableFromStart(p *processes.Process) bool {
	return p.Pattern == processes.FireAndForget || p.Pattern == processes.Called || p.SuspendsCaller || AlwaysDeferred(p.Listen)
}

func (e *explainer) boundary() {
	switch p := e.process; p.Pattern {
	case processes.FireAndForget:
		switch {
		case p.Listen != nil:
			e.x.Boundary = "At acceptance: the sender gets its response when the message is on disk, and all steps run later."
		case p.Schedule != nil:
			e.x.Boundary = "At the scheduled time: the run is on disk before its first step."
		default:
			e.x.Boundary = "At acceptance: the message is acknowledged to its source when it is on disk, and all steps run later."
		}
	case processes.EarlyReply:
		e.x.Boundary = "At the reply at " + e.earlyReplies() + ": it is sent when the remaining steps are on disk, and those run later."
	case processes.RequestReply:
		e.x.Boundary = "None: the caller waits while the steps run."
		if p.Listen.HasOneWay() {
			e.x.Boundary = "For operations without an output, at acceptance: the caller gets 202 when the message is on disk. For the others none: the caller waits while the steps run."
		} else if e.handoffs() > 0 {
			e.x.Boundary = "Only at hand-offs: the caller waits while the steps run, but not for what is handed off."
		}
	default:
		e.x.Boundary = "Depends on the caller: none with mode: wait; at the start with mode: handoff or an execution request."
	}
}

// earlyReplies returns the positions of the replies that have steps after them.
func (e *explainer) earlyReplies() string {
	var at []string
	var find func(processes.Block)
	find = func(block processes.Block) {
		for i, s := range block {
			if s.Kind == "reply" && i < len(block)-1 {
				at = append(at, s.Pos.String())
			}
			for _, l := range s.Lists {
				find(l.Steps)
			}
		}
	}
	find(e.process.Steps)
	return strings.Join(at, ", ")
}

func (e *explainer) handoffs() (n int) {
	for _, c := range e.x.Calls {
		if c.Handoff {
			n++
		}
	}
	return n
}

func (e *explainer) durable() {
	add := func(text string) { e.x.Durable = append(e.x.Durable, text) }
	switch pattern := e.process.Pattern; {
	case pattern != processes.FireAndForget && e.process.SuspendsCaller:
		if e.process.Delivery.Sequence != nil {
			add("the request, before its first step: its position in the sequence survives a crash and the caller's disconnect")
		} else {
			add("the request, before its first step: its `wait` survives a crash and the caller's disconnect")
		}
		add("the result of each finished call, before the next step starts")
	case pattern == processes.FireAndForget:
		if e.process.Schedule != nil {
			add("each run, before its first step")
		} else {
			add("the message, before it is acknowledged")
		}
		add("the result of each finished call, before the next step starts: the execution resumes there after a crash")
	case pattern == processes.EarlyReply:
		add("the reply and the results of the steps before it, before the reply is sent")
		add("after the reply, the result of each finished call, before the next step starts")
	case pattern == processes.RequestReply:
		others := ""
		if e.process.Listen.HasOneWay() {
			add("for operations without an output, the message and the result of each finished call")
			others = "for the others, "
		}
		add(others + "no step: an execution that is interrupted by a crash is not resumed, and its caller gets no reply")
		add("the record of the execution, written in batches; a crash may lose the last second")
	default:
		add("started by hand-off or execution request: its input, and the result of each finished call")
		add("called with mode: wait: the same as its caller")
	}
	if n := e.handoffs(); n > 0 {
		add(plural(n, "hand-off, committed with its step", "hand-offs, each committed with its step"))
	}
}

// later describes replies that are collected or posted after the call.
func (e *explainer) later() {
	l := e.process.Listen
	if l == nil || !l.Later() {
		return
	}
	var headers []string
	if l.Offers(processes.ModeDeferred) {
		headers = append(headers, "Prefer: respond-async")
	}
	if l.Offers(processes.ModeCallback) {
		headers = append(headers, "Callback-Url")
	}
	when := "if the caller asks for it (" + strings.Join(headers, ", ") + ")"
	if AlwaysDeferred(l) {
		e.x.Boundary, e.x.Durable = "", nil
		when = "always"
	}
	e.x.Boundary = strings.TrimSpace(e.x.Boundary + fmt.Sprintf(" At acceptance, %s: the message is on disk before the caller gets 202, and the steps run whether or not it waits.", when))
	e.x.Durable = append(e.x.Durable, when+": the message before the 202, the result of each finished call, and the reply with the last commit of the execution",
		"a deferred reply, for "+Duration(e.process.Delivery.Expires.Response)+" after completion")
	if l.Callbacks != nil {
		e.x.Durable = append(e.x.Durable, "a reply callback: it commits with the reply and is delivered at least once, with the same webhook-id, by the process valence-callback")
	}
}

// state lists the durable state of delivery settings and steps.
func (e *explainer) state() {
	add := func(text string) { e.x.Durable = append(e.x.Durable, text) }
	d := e.process.Delivery
	if d.Coalesce != nil {
		add("messages that wait for their window to end, and which of them is the newest")
	}
	if d.Sequence != nil {
		add("the position of each execution in its sequence, through retries, waits, restarts and failures")
	}
	if d.EchoGuard != nil {
		add("the versions that our own calls created, for a day")
	}
	listed := map[string]bool{}
	var visit func(processes.Block)
	visit = func(block processes.Block) {
		for _, s := range block {
			if text := durableState(s); text != "" && !listed[text] {
				listed[text] = true
				add(text)
			}
			for _, l := range s.Lists {
				visit(l.Steps)
			}
		}
	}
	visit(e.process.Steps)
}

// durableState describes the state that a step stores in addition to its result.
func durableState(s *processes.Step) string {
	switch s.Kind {
	case "wait":
		return "each wait, with the progress before it; a signal that arrives before its wait is stored, and only the first signal counts"
	case "sleep":
		return "the end of each sleep, even while the atom is down"
	case "resume":
		return "the signal of a resume: it commits with its step and is delivered exactly once"
	case "state", "changes":
		return "values set by state and changes: committed when the execution ends, and only if it succeeds"
	case "emit":
		return "values sent by emit: sent again to clients that reconnect"
	}
	if r, ok := s.Settings.(processes.Repeater); ok && r.Repeats().Pages {
		return fmt.Sprintf("the position of the for_each at %s: its page, its finished elements and the start of the next page; one page is in memory", s.Pos)
	}
	return ""
}

// suspensions lists the steps that suspend the execution.
func (e *explainer) suspensions(block processes.Block) {
	for _, s := range block {
		if x, ok := s.Settings.(processes.Suspender); ok {
			text := fmt.Sprintf("sleep  %s: for %s", s.Pos, x.Suspends().For)
			if w := x.Suspends(); w.Name != "" {
				text = fmt.Sprintf("wait %s  %s: %s", w.Name, s.Pos, waitEnd(w, len(s.Lists) > 0))
			}
			e.x.Suspends = append(e.x.Suspends, text)
		}
		for _, l := range s.Lists {
			e.suspensions(l.Steps)
		}
	}
}

// waitEnd describes the ways in which a wait ends.
func waitEnd(w processes.Suspension, onTimeout bool) string {
	by := "until a POST to its callback()"
	if w.Keyed {
		by = "until a resume with its key, or a POST to its callback()"
	}
	switch {
	case w.Timeout == 0:
		return by + ", without a timeout"
	case onTimeout:
		return by + ", at most " + Duration(w.Timeout) + ", then on_timeout"
	}
	return by + ", at most " + Duration(w.Timeout) + ", then it continues with nil"
}
