// Package explain describes the behavior of a process as data and as text: its
// durability, possible repetitions, the waits of callers, and the pools for which
// executions compete. Everything is computed from the plan.
package explain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"valence/processes"
	"valence/processes/analysis"
)

// Explanation describes one process.
type Explanation struct {
	Process     string    `json:"process"`
	Description string    `json:"description,omitempty"`
	Position    string    `json:"position"`
	Pattern     string    `json:"pattern"`
	Trigger     string    `json:"trigger"`
	Checks      []string  `json:"checked_before_the_answer"`
	Boundary    string    `json:"asynchronous_boundary"`
	Durable     []string  `json:"durable"`
	Calls       []Call    `json:"calls"`
	Suspends    []string  `json:"suspends,omitempty"`
	Repeats     []string  `json:"repeats"`
	CallerWaits string    `json:"caller_waits"`
	WaitsMS     int64     `json:"caller_waits_at_most_ms,omitempty"`
	CallerSteps *Bound    `json:"caller_steps,omitempty"` // of the steps that run while the caller waits
	Sequence    *Sequence `json:"sequence,omitempty"`
	Pools       []Pool    `json:"pools"`
	Notes       []string  `json:"notes,omitempty"`
}

// Process explains one process of a project.
func Process(project *processes.Project, p *processes.Process) *Explanation {
	e := &explainer{
		project: project, process: p, bounds: analysis.NewBounds(project),
		x: &Explanation{
			Process: p.Name, Description: p.Description, Position: p.Pos.String(), Pattern: string(p.Pattern), Trigger: trigger(project, p),
			Calls: []Call{}, Checks: []string{}, Durable: []string{}, Repeats: []string{},
		},
	}
	e.oneWay, e.others = analysis.OperationSteps(project, p)
	e.checks()
	e.calls(p.Steps, DurableFromStart(e.process))
	e.suspensions(p.Steps)
	e.boundary()
	e.durable()
	e.later()
	e.state()
	e.repeats()
	e.callerWaits()
	e.sequence()
	e.pools()
	e.notes()
	return e.x
}

// explainer fills in one explanation.
type explainer struct {
	project *processes.Project
	process *processes.Process
	bounds  *analysis.Bounds
	x       *Explanation
	// the steps that operations of a SOAP service without an output can reach, and
	// those that the others can
	oneWay, others map[*processes.Step]bool
}

// WriteText writes the explanation as text.
func (x *Explanation) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  (%s)\n", x.Process, x.Position)
	if x.Description != "" {
		fmt.Fprintf(&b, "  %s\n", x.Description)
	}
	section := func(title string, lines ...string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "\n%s\n", title)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s\n", l)
		}
	}
	section("Pattern", x.Pattern, x.Trigger)
	section("Checks before the response", x.Checks...)
	section("Asynchronous boundary", x.Boundary)
	section("Durable", x.Durable...)
	var calls []string
	for _, c := range x.Calls {
		calls = append(calls, c.lines()...)
	}
	section("Calls", calls...)
	section("Suspensions", x.Suspends...)
	section("What can repeat", x.Repeats...)
	section("How long a caller waits", append([]string{x.CallerWaits}, x.CallerSteps.lines("Steps until the reply")...)...)
	section("Cost of a blocked key", x.Sequence.lines()...)
	var pools []string
	for _, p := range x.Pools {
		pools = append(pools, p.Pool+": "+p.Effect)
	}
	section("Shared pools", pools...)
	section("Notes", x.Notes...)
	_, err := io.WriteString(w, b.String())
	return err
}

// Duration formats a duration without zero parts: 1m30s, 10m, 2h.
func Duration(d time.Duration) string {
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// plural formats a count with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (e *explainer) notes() {
	add := func(format string, args ...any) { e.x.Notes = append(e.x.Notes, fmt.Sprintf(format, args...)) }
	if l := e.process.Listen; l != nil && e.process.Pattern != processes.FireAndForget {
		for _, c := range e.x.Calls {
			if longest := time.Duration(c.LongestMS) * time.Millisecond; !c.Durable && longest > l.Timeout && !AlwaysDeferred(l) {
				effect := ""
				if c.Changes {
					effect = ", and it is unknown whether the call took effect"
				}
				add("%s at %s may take %s, but the caller gets 504 after %s%s", c.What, c.Position, Duration(longest), Duration(l.Timeout), effect)
			}
		}
	}
	if d := e.process.Delivery.Expires.Request; d > 0 {
		add("an execution that has not started %s after acceptance expires", Duration(d))
	}
	e.circuits(add)
	if d := e.process.Delivery; e.process.Pattern != processes.RequestReply {
		add("%s at once; the others wait on disk", plural(d.Workers, "execution runs", "executions run"))
		notified := ""
		if on := e.project.Defaults.OnFailure; on != "" {
			notified = " and starts the process " + on
		}
		add("a failed execution is listed by `valence failed`%s", notified)
	}
}
