package cli

import (
	"fmt"
	"time"

	"valence/processes"
)

func (e *explainer) boundary() {
	switch e.process.Pattern {
	case processes.FireAndForget:
		e.x.Boundary = "At acceptance: the sender gets its answer once the message is on disk, and every step runs later."
		if e.process.Listen == nil {
			e.x.Boundary = outside(e.process)
		}
	case processes.EarlyReply:
		e.x.Boundary = "At the reply at " + e.replies() + ": it is sent once the steps after it are on disk, and those run later."
	case processes.RequestReply:
		e.x.Boundary = "None: the caller waits while the steps run, and gets the reply."
		if e.handoffs() > 0 {
			e.x.Boundary = "Only at hand-offs: the caller waits while the steps run, but not for what is handed off."
		}
	default:
		e.x.Boundary = "As the caller says: in the caller's execution with mode: wait, durably with mode: handoff or an execution request."
	}
}

// replies gives the places of the replies that steps follow.
func (e *explainer) replies() string {
	at := ""
	var find func(processes.Block)
	find = func(block processes.Block) {
		for i, s := range block {
			if s.Kind == "reply" && i < len(block)-1 {
				if at != "" {
					at += ", "
				}
				at += s.Pos.String()
			}
			for _, l := range s.Lists {
				find(l.Steps)
			}
		}
	}
	find(e.process.Steps)
	return at
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
			add("the request, before its first step: its turn in the sequence of its key outlives a crash, and its caller")
		} else {
			add("the request, before its first step: its `wait` outlives a crash, and its caller")
		}
		add("the result of every finished call, before the step after it starts")
	case pattern == processes.FireAndForget:
		if e.process.Schedule != nil {
			add("each run, before its first step")
		} else {
			add("the message, before it is acknowledged")
		}
		add("the result of every finished call, before the step after it starts: after a crash the execution goes on there")
	case pattern == processes.EarlyReply:
		add("what the steps before the reply did, and the reply, before it is sent")
		add("after the reply the result of every finished call, before the step after it starts")
	case pattern == processes.RequestReply:
		add("nothing of the steps: an execution that a crash interrupts is not resumed, and its caller gets no answer")
		add("a record of what happened, written beside the request; a crash may lose the last second of them")
	default:
		add("started by hand-off or execution request: its input, and the result of every finished call")
		add("called with mode: wait: whatever is durable for its caller")
	}
	if n := e.handoffs(); n > 0 {
		add(plural(n, "hand-off, committed with the step that makes it", "hand-offs, each committed with the step that makes it"))
	}
}

func (e *explainer) repeats() {
	add := func(format string, args ...any) { e.x.Repeats = append(e.x.Repeats, fmt.Sprintf(format, args...)) }
	d := e.process.Delivery
	if e.process.Listen != nil {
		switch {
		case d.Dedupe != nil:
			add("a message that the sender repeats is recognised for %s and not run again", exact(d.Dedupe.Window))
		case e.process.Pattern == processes.RequestReply:
			add("a request that the caller repeats runs again: there is no dedupe")
		default:
			add("a message that the sender repeats, as it does when our answer is lost, runs again: add dedupe to recognise it")
		}
	}
	e.redelivered(add)
	durable, changing := 0, 0
	for _, c := range e.x.Calls {
		if c.Durable && !c.Handoff {
			durable++
			if c.Changes {
				changing++
			}
		}
	}
	switch {
	case durable > 0:
		add("after a crash, each call that was under way: one per running path, and %s", plural(d.Workers, "worker runs them", "workers run them"))
		if changing > 0 {
			add("of the calls above %s; the Idempotency-Key tells the other system that it is a repeat", plural(changing, "changes something", "change something"))
		}
	case len(e.x.Calls) == 0:
		add("no call: there is nothing outside that a crash could repeat")
	}
}

func (e *explainer) notes() {
	add := func(format string, args ...any) { e.x.Notes = append(e.x.Notes, fmt.Sprintf(format, args...)) }
	if l := e.process.Listen; l != nil && e.process.Pattern != processes.FireAndForget {
		for _, c := range e.x.Calls {
			if longest := time.Duration(c.LongestMS) * time.Millisecond; !c.Durable && longest > l.Timeout && !alwaysLater(l) {
				effect := ""
				if c.Changes {
					effect = ", and whether the call took effect is not known"
				}
				add("%s at %s may take %s, and the caller waits %s: then 504%s", c.What, c.Position, exact(longest), exact(l.Timeout), effect)
			}
		}
	}
	if d := e.process.Delivery.Expires.Request; d > 0 {
		add("an execution that has not begun %s after its acceptance ends expired", exact(d))
	}
	e.circuits(add)
	if d := e.process.Delivery; e.process.Pattern != processes.RequestReply {
		add("%s at once; the rest waits on disk", plural(d.Workers, "execution runs", "executions run"))
		told := ""
		if on := e.project.Defaults.OnFailure; on != "" {
			told = ", and the process " + on + " is told"
		}
		add("a failed execution is kept and listed%s: valence failed", told)
	}
}
