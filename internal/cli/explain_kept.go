package cli

import (
	"fmt"
	"slices"
	"strings"

	"valence/processes"
)

// remembered lists what else is durable: what the steps keep, and what keeps
// order.
func (e *explainer) remembered() {
	add := func(format string, args ...any) { e.x.Durable = append(e.x.Durable, fmt.Sprintf(format, args...)) }
	d := e.process.Delivery
	if d.Coalesce != nil {
		add("a message that waits for its window to end, and which of them is the newest")
	}
	if d.Sequence != nil {
		add("the place of each execution in its sequence, through retries, waits, restarts and failures")
	}
	if d.EchoGuard != nil {
		add("which versions our own calls made, for a day")
	}
	said := map[string]bool{}
	var look func(processes.Block)
	look = func(block processes.Block) {
		for _, s := range block {
			if text := e.keeps(s); text != "" && !said[text] {
				said[text] = true
				add("%s", text)
			}
			for _, l := range s.Lists {
				look(l.Steps)
			}
		}
	}
	look(e.process.Steps)
}

// keeps tells what a step makes durable beside its result.
func (e *explainer) keeps(s *processes.Step) string {
	switch s.Kind {
	case "wait":
		return "what it waits for, with all that was done before: a row; a signal that comes before its wait is kept for it, and of two the first counts"
	case "sleep":
		return "when a sleep is over: the time goes on while the atom is down"
	case "resume":
		return "the signal of a resume: it commits with its step, and is given exactly once"
	case "state", "changes":
		return "what state and changes set: committed with the end of the execution, and only if it ends well"
	case "emit":
		return "what emit tells: it is told again to those who come back"
	}
	if r, ok := s.Settings.(processes.Repeater); ok && r.Repeats().Pages {
		return fmt.Sprintf("the page that the for_each at %s is at, which of its elements are done, and where the next one begins; one page is in memory", s.Pos)
	}
	return ""
}

// marks tells what becomes of the event that a call's own write causes.
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
		return "its version is marked for " + m.System + ", but no process has an echo_guard for that"
	}
	slices.Sort(by)
	waits := "of this record"
	if m.Whole {
		waits = "of " + m.System
	}
	return "its version is marked: the event of it is an echo to " + strings.Join(by, ", ") + ", and does not run; while the call is under way, events " + waits + " wait for its answer, 10s at most"
}

// redelivered tells what comes twice where no request comes in, and what a
// repeated signal does.
func (e *explainer) redelivered(add func(string, ...any)) {
	switch p := e.process; {
	case p.Schedule != nil:
		add("no run: a scheduled time starts one at most, also through a restart or a clock that is set back")
	case p.Subscribe != nil && p.Delivery.Dedupe != nil:
		add("a message that the source delivers again is recognised for %s and not run again", exact(p.Delivery.Dedupe.Window))
	case p.Subscribe != nil:
		add("a message that the source delivers again under the same origin is not run again; sent anew it is: add dedupe to recognise it")
	}
	if len(e.process.Waits) > 0 {
		add("no signal: a callback or a resume that comes twice for one wait has no second effect")
	}
}
