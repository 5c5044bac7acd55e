package analysis

import (
	"slices"
	"time"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// Bound is the longest duration of something, as far as the plans determine it.
type Bound struct {
	Known time.Duration // sum of the bounded parts, at most processes.Endless
	Open  []Open        // parts without a bound
}

// Open is a part of an execution without a bound on its duration.
type Open struct {
	Pos  fault.Pos
	What string        // the step
	Wait string        // name of the wait; empty for other steps
	Each time.Duration // duration of one iteration; 0 if it is no loop
}

// maxOpen bounds the number of unbounded parts that are listed.
const maxOpen = 8

func (a Bound) plus(b Bound) Bound {
	return Bound{Known: min(a.Known+b.Known, processes.Endless), Open: union(a.Open, b.Open)}
}

func (a Bound) max(b Bound) Bound {
	return Bound{Known: max(a.Known, b.Known), Open: union(a.Open, b.Open)}
}

func (a Bound) times(n int) Bound {
	if a.Known > processes.Endless/time.Duration(max(n, 1)) {
		return Bound{Known: processes.Endless, Open: a.Open}
	}
	return Bound{Known: a.Known * time.Duration(n), Open: a.Open}
}

func union(a, b []Open) []Open {
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

// Bounds computes how long processes can take. It visits each process once,
// no matter how many others call it. It is not safe for concurrent use.
type Bounds struct {
	project     *processes.Project
	limits      map[string]processes.ConnectionLimits
	known       map[boundKey]Bound
	connections map[string][]string // by process
	// written restricts the computation to durations that the author chose:
	// every loop counts as one iteration, waits and sleeps count as nothing,
	// and a call without retries counts only if its timeout is written. The
	// timeout of a connection counts only for operations that are not safe,
	// because giving up a read leaves nothing undecided.
	written bool
	retries bool // some counted call has more than one attempt
}

type boundKey struct {
	process string
	durable bool
}

// NewBounds returns the bounds of the project's processes.
func NewBounds(project *processes.Project) *Bounds {
	return &Bounds{project: project, limits: project.Limits(), known: map[boundKey]Bound{}, connections: map[string][]string{}}
}

// writtenOnly returns bounds that count only durations that the author chose.
func (b *Bounds) writtenOnly() *Bounds {
	return &Bounds{project: b.project, limits: b.limits, known: map[boundKey]Bound{}, connections: b.connections, written: true}
}

// Limits returns the limits of a connection, zero if they depend on the environment.
func (b *Bounds) Limits(connection string) processes.ConnectionLimits { return b.limits[connection] }

// UntilReply returns how long the caller of a process waits for its reply. The
// steps run on the caller's connection unless durable.
func (b *Bounds) UntilReply(p *processes.Process, durable bool) Bound {
	e := b.block(p, p.Steps, durable, true)
	return e.continued.max(e.ended)
}

// Whole returns the duration of an execution of a process.
func (b *Bounds) Whole(p *processes.Process, durable bool) Bound {
	key := boundKey{p.Name, durable}
	if known, ok := b.known[key]; ok {
		return known
	}
	b.known[key] = Bound{} // for call cycles, which are errors
	b.known[key] = b.block(p, p.Steps, durable, false).all()
	return b.known[key]
}

// Call returns the timeout of one attempt of a call, how long all of its
// attempts take including the waits between them, and the number of attempts.
func (b *Bounds) Call(p *processes.Process, c processes.ExternalCall, durable bool) (timeout, longest time.Duration, attempts int) {
	policy := processes.RetryOf(c.Retry, p, &b.project.Defaults, durable)
	if timeout = c.Timeout; timeout == 0 {
		timeout = b.limits[c.Operation.Connection].Timeout
	}
	return timeout, policy.Longest(timeout), policy.MaxAttempts
}

// extent holds the bounds of the paths through some steps: of those that
// continue after them, and of those that end in them with a reply, an error or
// a stop.
type extent struct{ continued, ended Bound }

// all returns the bound of all paths.
func (e extent) all() Bound { return e.continued.max(e.ended) }

func (b *Bounds) block(p *processes.Process, steps processes.Block, durable, untilReply bool) extent {
	var all extent
	for _, step := range steps {
		e := b.step(p, step, durable, untilReply)
		all.ended = all.ended.max(all.continued.plus(e.ended))
		all.continued = all.continued.plus(e.continued)
		if b.project.Kinds[step.Kind].Flow != processes.Reply || step.When != nil {
			continue
		}
		if untilReply {
			all.ended = all.ended.max(all.continued)
			all.continued = Bound{}
			return all
		}
		durable = durable || p.Pattern == processes.EarlyReply
	}
	return all
}

func (b *Bounds) step(p *processes.Process, step *processes.Step, durable, untilReply bool) extent {
	lists := make([]extent, len(step.Lists))
	for i, l := range step.Lists {
		lists[i] = b.block(p, l.Steps, durable, untilReply)
	}
	switch b.project.Kinds[step.Kind].Flow {
	case processes.Choice:
		var e extent
		for _, l := range lists {
			e = extent{e.continued.max(l.continued), e.ended.max(l.ended)}
		}
		return e
	case processes.Attempt:
		return attemptExtent(step, lists)
	case processes.Parallel:
		return extent{continued: b.parallel(step, lists)}
	case processes.Loop:
		return extent{continued: b.loop(p, step, lists, durable)}
	case processes.Wait, processes.Sleep:
		return b.suspended(step, lists)
	}
	return extent{continued: b.external(p, step, durable)}
}

// attemptExtent returns the extent of a try. Its catch may begin after all of
// its steps.
func attemptExtent(step *processes.Step, lists []extent) extent {
	var e extent
	var finally Bound
	for i, l := range lists {
		switch step.Lists[i].Key {
		case "finally":
			finally = l.all()
		case "catch":
			failed := e.all()
			e = extent{e.continued.max(failed.plus(l.continued)), e.ended.max(failed.plus(l.ended))}
		default:
			e = l
		}
	}
	return extent{e.continued.plus(finally), e.ended.plus(finally)}
}

func (b *Bounds) parallel(step *processes.Step, lists []extent) Bound {
	var all Bound
	r, ok := step.Settings.(processes.Repeater)
	sequential := ok && r.Repeats().Sequential
	for _, l := range lists {
		if sequential {
			all = all.plus(l.all())
		} else {
			all = all.max(l.all())
		}
	}
	return all
}

func (b *Bounds) loop(p *processes.Process, step *processes.Step, lists []extent, durable bool) Bound {
	var iteration Bound
	for _, l := range lists {
		iteration = iteration.plus(l.all())
	}
	var r processes.Repetition
	if repeater, ok := step.Settings.(processes.Repeater); ok {
		r = repeater.Repeats()
	}
	if r.Pages {
		iteration = iteration.plus(b.external(p, step, durable))
	}
	switch {
	case b.written:
		return iteration
	case r.Max > 0:
		return iteration.times(r.Max)
	case iteration.Known == 0:
		return iteration
	}
	what := "each element of this " + step.Kind
	if r.Pages {
		what = "each page, and each element, of this " + step.Kind
	}
	return Bound{Open: union([]Open{{Pos: step.Pos, What: what, Each: iteration.Known}}, iteration.Open)}
}

func (b *Bounds) suspended(step *processes.Step, lists []extent) extent {
	x, ok := step.Settings.(processes.Suspender)
	if !ok || b.written {
		return extent{}
	}
	s := x.Suspends()
	switch {
	case s.Name == "":
		d, err := spec.ParseDuration(s.For)
		if err != nil {
			return extent{continued: Bound{Open: []Open{{Pos: step.Pos, What: "this sleep"}}}}
		}
		return extent{continued: Bound{Known: d}}
	case s.Timeout == 0:
		return extent{continued: Bound{Open: []Open{{Pos: step.Pos, What: "the wait " + s.Name + ", which has no timeout", Wait: s.Name}}}}
	}
	e := extent{continued: Bound{Known: s.Timeout}}
	for _, l := range lists {
		e = extent{e.continued.plus(l.continued), e.continued.plus(l.ended)}
	}
	return e
}

// external returns how long a step waits for its external call.
func (b *Bounds) external(p *processes.Process, step *processes.Step, durable bool) Bound {
	caller, ok := step.Settings.(processes.ExternalCaller)
	if !ok {
		return Bound{}
	}
	c := caller.ExternalCall()
	called := b.project.Processes[c.Process]
	switch {
	case c.Handoff:
		return Bound{}
	case c.Operation.Operation != nil:
		_, longest, attempts := b.Call(p, c, durable)
		if b.written && attempts < 2 && c.Timeout == 0 && (c.Operation.Operation.Safe || !b.writesTimeout(c.Operation.Connection)) {
			return Bound{}
		}
		b.retries = b.retries || attempts > 1
		return Bound{Known: longest}
	case called != nil:
		return b.Whole(called, durable)
	}
	return Bound{}
}

// writesTimeout reports whether the file sets the timeout of a connection.
func (b *Bounds) writesTimeout(connection string) bool {
	c := b.project.Connections[connection]
	return c != nil && c.Settings != nil && slices.Contains(c.Settings.Keys(), "timeout")
}

// Connections returns the names of the connections that an execution of a
// process waits for, sorted. Hand-offs are separate executions and not counted.
func (b *Bounds) Connections(p *processes.Process) []string {
	if known, ok := b.connections[p.Name]; ok {
		return known
	}
	b.connections[p.Name] = nil // for call cycles, which are errors
	var names []string
	p.Steps.Each(func(step *processes.Step) {
		caller, ok := step.Settings.(processes.ExternalCaller)
		if !ok {
			return
		}
		c := caller.ExternalCall()
		if c.Handoff {
			return
		}
		if c.Operation.Operation != nil {
			names = append(names, c.Operation.Connection)
		}
		if called := b.project.Processes[c.Process]; called != nil {
			names = append(names, b.Connections(called)...)
		}
	})
	slices.Sort(names)
	names = slices.Compact(names)
	b.connections[p.Name] = names
	return names
}
