package processes

import (
	"time"

	"valence/internal/fault"
	"valence/internal/spec"
)

// Repetition is how often a step runs the lists below it.
type Repetition struct {
	Max        int  // most rounds; 0: as many as it finds elements
	Pages      bool // its elements are on the pages of the call that it reaches
	Sequential bool // one list after the other, where the flow is Parallel
}

// Repeater is implemented by the settings of steps that run lists more than
// once, or one after the other.
type Repeater interface{ Repeats() Repetition }

// Span is the longest that something can take, as far as the files tell.
type Span struct {
	Known time.Duration // of what has a bound, at most Endless
	Open  []Open        // what has none
}

// Open is what makes a span longer than its known part.
type Open struct {
	Pos  fault.Pos
	What string        // the step
	Each time.Duration // of one round; 0 for what is no loop
}

// Endless is where spans end to be counted.
const Endless = 100 * 365 * 24 * time.Hour

// maxOpen is how many things without a bound are told apart.
const maxOpen = 8

func (a Span) plus(b Span) Span {
	return Span{Known: min(a.Known+b.Known, Endless), Open: joined(a.Open, b.Open)}
}

func (a Span) most(b Span) Span {
	return Span{Known: max(a.Known, b.Known), Open: joined(a.Open, b.Open)}
}

func (a Span) times(n int) Span {
	if a.Known > Endless/time.Duration(max(n, 1)) {
		return Span{Known: Endless, Open: a.Open}
	}
	return Span{Known: a.Known * time.Duration(n), Open: a.Open}
}

func joined(a, b []Open) []Open {
	if len(b) == 0 {
		return a
	}
	out := append([]Open(nil), a...)
next:
	for _, o := range b {
		for _, have := range out {
			if have.Pos == o.Pos {
				continue next
			}
		}
		if len(out) < maxOpen {
			out = append(out, o)
		}
	}
	return out
}

// Spans computes how long processes can take. It goes through each process
// once, however many call it, and is not for several goroutines.
type Spans struct {
	project *Project
	limits  map[string]ConnectionLimits
	known   map[measured]Span
	reach   map[string][]string // connections by process
	// written leaves out what nobody decided: it takes every loop for one
	// round, no wait or sleep, and a call that is made once for as long as a
	// `timeout:` that somebody wrote: that of its connection only where it
	// changes something, as nothing is left open by a read that is given up.
	written bool
	retries bool // a call that is counted has more than one attempt
}

type measured struct {
	process string
	durable bool
}

// Spans gives how long the processes of the project can take.
func (p *Project) Spans() *Spans {
	return &Spans{project: p, limits: p.Limits(), known: map[measured]Span{}, reach: map[string][]string{}}
}

// Limits gives what bounds the use of a connection, as far as the files tell.
func (s *Spans) Limits(connection string) ConnectionLimits { return s.limits[connection] }

// UntilReply is how long the caller of a process waits for its steps: those up
// to the reply, made on the caller's connection unless durable.
func (s *Spans) UntilReply(p *Process, durable bool) Span {
	c := s.block(p, p.Steps, durable, true)
	return c.on.most(c.ends)
}

// Whole is how long an execution of a process can take, from its first step to
// its end.
func (s *Spans) Whole(p *Process, durable bool) Span {
	key := measured{p.Name, durable}
	if known, ok := s.known[key]; ok {
		return known
	}
	s.known[key] = Span{} // of a circle, which is an error
	c := s.block(p, p.Steps, durable, false)
	s.known[key] = c.on.most(c.ends)
	return s.known[key]
}

// Call is how long one call can take: every attempt, and the waits between.
func (s *Spans) Call(p *Process, r Reach, durable bool) (timeout, longest time.Duration, attempts int) {
	policy := RetryOf(r.Retry, p, &s.project.Defaults, durable)
	if timeout = r.Timeout; timeout == 0 {
		timeout = s.limits[r.Operation.Connection].Timeout
	}
	return timeout, policy.Longest(timeout), policy.MaxAttempts
}

// course is how long the ways through steps are: of those that go on behind
// them, and of those that end there, with a reply, an error or a stop.
type course struct{ on, ends Span }

// whole is the longest of all of them.
func (c course) whole() Span { return c.on.most(c.ends) }

func (s *Spans) block(p *Process, steps Block, durable, reply bool) course {
	var all course
	for _, step := range steps {
		c := s.step(p, step, durable, reply)
		all.ends = all.ends.most(all.on.plus(c.ends))
		all.on = all.on.plus(c.on)
		if s.project.kinds[step.Kind].Flow != Reply || step.When != nil {
			continue
		}
		if reply {
			all.ends = all.ends.most(all.on)
			all.on = Span{}
			return all
		}
		durable = durable || p.Pattern == EarlyReply
	}
	return all
}

func (s *Spans) step(p *Process, step *Step, durable, reply bool) course {
	lists := make([]course, len(step.Lists))
	for i, l := range step.Lists {
		lists[i] = s.block(p, l.Steps, durable, reply)
	}
	switch s.project.kinds[step.Kind].Flow {
	case Choice:
		var c course
		for _, l := range lists {
			c = course{c.on.most(l.on), c.ends.most(l.ends)}
		}
		return c
	case Attempt:
		return attempt(step, lists)
	case Parallel:
		return course{on: s.beside(step, lists)}
	case Loop:
		return course{on: s.loop(p, step, lists, durable)}
	case Wait, Sleep:
		return s.suspended(step, lists)
	}
	return course{on: s.reached(p, step, durable)}
}

// attempt is a try: its catch may begin when all of it is done.
func attempt(step *Step, lists []course) course {
	var c course
	var finally Span
	for i, l := range lists {
		switch step.Lists[i].Key {
		case "finally":
			finally = l.whole()
		case "catch":
			failed := c.whole()
			c = course{c.on.most(failed.plus(l.on)), c.ends.most(failed.plus(l.ends))}
		default:
			c = l
		}
	}
	return course{c.on.plus(finally), c.ends.plus(finally)}
}

func (s *Spans) beside(step *Step, lists []course) Span {
	var all Span
	r, ok := step.Settings.(Repeater)
	sequential := ok && r.Repeats().Sequential
	for _, l := range lists {
		if sequential {
			all = all.plus(l.whole())
		} else {
			all = all.most(l.whole())
		}
	}
	return all
}

func (s *Spans) loop(p *Process, step *Step, lists []course, durable bool) Span {
	var round Span
	for _, l := range lists {
		round = round.plus(l.whole())
	}
	var r Repetition
	if repeater, ok := step.Settings.(Repeater); ok {
		r = repeater.Repeats()
	}
	if r.Pages {
		round = round.plus(s.reached(p, step, durable))
	}
	switch {
	case s.written:
		return round
	case r.Max > 0:
		return round.times(r.Max)
	case round.Known == 0:
		return round
	}
	what := "each element of this " + step.Kind
	if r.Pages {
		what = "each page, and each element, of this " + step.Kind
	}
	return Span{Open: joined([]Open{{Pos: step.Pos, What: what, Each: round.Known}}, round.Open)}
}

func (s *Spans) suspended(step *Step, lists []course) course {
	x, ok := step.Settings.(Suspender)
	if !ok || s.written {
		return course{}
	}
	w := x.Suspends()
	switch {
	case w.Name == "":
		d, err := spec.ParseDuration(w.For)
		if err != nil {
			return course{on: Span{Open: []Open{{Pos: step.Pos, What: "this sleep"}}}}
		}
		return course{on: Span{Known: d}}
	case w.Timeout == 0:
		return course{on: Span{Open: []Open{{Pos: step.Pos, What: "the wait " + w.Name + ", which has no timeout"}}}}
	}
	c := course{on: Span{Known: w.Timeout}}
	for _, l := range lists {
		c = course{c.on.plus(l.on), c.on.plus(l.ends)}
	}
	return c
}

// reached is how long a step waits for what it calls.
func (s *Spans) reached(p *Process, step *Step, durable bool) Span {
	reacher, ok := step.Settings.(Reacher)
	if !ok {
		return Span{}
	}
	r := reacher.Reach()
	called := s.project.Processes[r.Process]
	switch {
	case r.Handoff:
		return Span{}
	case r.Operation.Operation != nil:
		_, longest, attempts := s.Call(p, r, durable)
		if s.written && attempts < 2 && r.Timeout == 0 && (r.Operation.Operation.Safe || !s.limited(r.Operation.Connection)) {
			return Span{}
		}
		s.retries = s.retries || attempts > 1
		return Span{Known: longest}
	case called != nil:
		return s.Whole(called, durable)
	}
	return Span{}
}

// limited reports whether somebody wrote how long a call of a connection may take.
func (s *Spans) limited(connection string) bool {
	c := s.project.Connections[connection]
	return c != nil && c.Settings != nil && contains(c.Settings.Keys(), "timeout")
}
