package cli

import (
	"fmt"
	"strings"

	"valence/internal/spec"
	"valence/processes"
)

// explainer goes through a plan once.
type explainer struct {
	project *processes.Project
	process *processes.Process
	spans   *processes.Spans
	x       *explanation
}

func explain(project *processes.Project, p *processes.Process) *explanation {
	e := &explainer{
		project: project, process: p, spans: project.Spans(),
		x: &explanation{
			Process: p.Name, Description: p.Description, Position: p.Pos.String(), Pattern: string(p.Pattern),
			Calls: []callSummary{}, Checks: []string{}, Durable: []string{}, Repeats: []string{},
		},
	}
	e.trigger()
	e.checks()
	e.block(p.Steps, e.durableFromStart())
	e.suspensions(p.Steps)
	e.boundary()
	e.durable()
	e.later()
	e.remembered()
	e.repeats()
	e.waits()
	e.sequence()
	e.pools()
	e.notes()
	return e.x
}

// durableFromStart reports whether every call of the process is kept.
func (e *explainer) durableFromStart() bool {
	p := e.process
	return p.Pattern == processes.FireAndForget || p.Pattern == processes.Called || p.SuspendsCaller || alwaysLater(p.Listen)
}

func (e *explainer) trigger() {
	l := e.process.Listen
	switch {
	case e.process.Schedule != nil:
		e.x.Trigger = scheduled(e.process.Schedule)
		return
	case e.process.Subscribe != nil:
		e.x.Trigger = subscribed(e.process.Subscribe)
		return
	case l == nil:
		e.x.Trigger = "No trigger: started by another process, `valence exec`, or an execution request."
		return
	}
	who := "anybody may call"
	if l.Auth != "none" && l.Auth != "" {
		who = "callers prove themselves by " + l.Auth
		if a := e.project.Auths[l.Auth]; a != nil {
			who += " (" + a.Scheme + ")"
		}
	}
	e.x.Trigger = fmt.Sprintf("Listens on %s %s: takes %s, %s; %s.", strings.Join(l.Methods, ", "), l.Path, input(l), output(l), who)
}

func input(l *processes.Listen) string {
	if l.Input == "none" {
		return "no body"
	}
	return l.Input
}

func output(l *processes.Listen) string {
	if l.Output == "" {
		return "answers with a receipt"
	}
	return "answers with " + l.Output
}

// checks lists the intake in the order in which it runs.
func (e *explainer) checks() {
	d, l := e.process.Delivery, e.process.Listen
	add := func(format string, args ...any) { e.x.Checks = append(e.x.Checks, fmt.Sprintf(format, args...)) }
	if l != nil {
		if l.Limits.Concurrency > 0 || l.Limits.Rate > 0 {
			add("limits: beyond them 429 or 503, and nothing is accepted")
		}
		if l.Auth != "none" && l.Auth != "" {
			add("authentication: 401 if it fails")
		}
		if l.Input != "none" {
			add("the body must be %s of at most %s: 400, 413 or 415 otherwise", l.Input, spec.FormatSize(l.Limits.Body))
		}
	}
	if d.Profile != nil {
		add("the input must match the profile %s: 400 with the places otherwise", d.Profile.Name)
	}
	if d.Filter != nil {
		add("filter %s: where it is false the message is acknowledged and not run", d.Filter.Source())
	}
	if d.Dedupe != nil {
		add("dedupe by %s for %s: a repeat is not run and gets the first answer", d.Dedupe.Key.Source(), exact(d.Dedupe.Window))
	}
	if g := d.EchoGuard; g != nil {
		add("echo guard: an event of the version that a call with marks for %s made is acknowledged and not run; one that overtakes the answer to such a call waits for it, 10s at most", g.System)
	}
	if c := d.Coalesce; c != nil {
		add("coalesce by %s for %s: of the messages of one key the newest runs, once; the others end superseded", c.Key.Source(), exact(c.Window))
	}
	if e.process.Pattern != processes.RequestReply {
		add("backlog: 503 once %d are waiting", d.Backlog)
	}
	if s := d.Sequence; s != nil {
		limit := ""
		if s.Limit > 0 {
			limit = fmt.Sprintf("; 503 once %d wait behind the first of a key", s.Limit)
		}
		add("sequence: a place in the order of %s, taken with the commit that accepts%s", s.Key.Source(), limit)
	}
}

// block summarises the calls of a list of steps. After a reply the rest of
// its list is durable, whatever came before.
func (e *explainer) block(block processes.Block, durable bool) {
	for _, s := range block {
		e.step(s, durable)
		for _, l := range s.Lists {
			e.block(l.Steps, durable)
		}
		if s.Kind == "reply" && s.When == nil && e.process.Pattern == processes.EarlyReply {
			durable = true
		}
	}
}

func (e *explainer) step(s *processes.Step, durable bool) {
	reacher, ok := s.Settings.(processes.Reacher)
	if !ok {
		return
	}
	r := reacher.Reach()
	if r.Operation.Operation == nil && r.Process == "" {
		return
	}
	c := callSummary{Position: s.Pos.String(), Step: s.Name, Durable: durable || r.Handoff, Handoff: r.Handoff, Attempts: 1}
	if op := r.Operation.Operation; op != nil {
		c.What, c.Changes = r.Operation.Connection+"."+op.Name, !op.Safe
		e.time(&c, r)
		c.Repeatable, c.Marks = repeatable(&c), e.marks(r.Marks)
	} else {
		c.What, c.Changes = "process "+r.Process, true
		c.Repeatable = "its calls repeat by the same rules: valence explain " + r.Process
		if r.Handoff {
			c.Repeatable = "created exactly once: it commits with this step"
		}
	}
	e.x.Calls = append(e.x.Calls, c)
}

// time fills in how often a call is made and how long that may take.
func (e *explainer) time(c *callSummary, r processes.Reach) {
	timeout, longest, attempts := e.spans.Call(e.process, r, c.Durable)
	c.Attempts = attempts
	if timeout > 0 {
		c.TimeoutMS, c.LongestMS = timeout.Milliseconds(), longest.Milliseconds()
	}
}

func repeatable(c *callSummary) string {
	switch {
	case c.Handoff:
		return "created exactly once, delivered at least once with the same Idempotency-Key"
	case !c.Changes:
		return "changes nothing: a repeat is harmless"
	case c.Durable:
		return "a crash or a retry may repeat it, with the same Idempotency-Key: the other system must recognise that"
	case c.Attempts > 1:
		return "a retry may repeat it, with the same Idempotency-Key; nothing resumes it after a crash"
	}
	return "made once; nothing resumes it after a crash, the caller decides whether to send again"
}
