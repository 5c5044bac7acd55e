// Package simulate runs many atoms against control planes in virtual time and
// without a network: the delays are those of the real code, the costs of a poll
// are measured ones. It answers how often a large fleet polls, and how it returns
// after an outage.
package simulate

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"valence/atom/agent"
	"valence/atom/agent/cloudclient"
	"valence/cloud/gate"
)

// Config describes a fleet.
type Config struct {
	Atoms           int
	Groups, Members int // members of groups poll as atoms do
	Planes          int // control planes that a load balancer chooses from
	Cores           int // of each control plane
	// Poll is the processor time of a verified request, Refusal that of one
	// refused before its signature is verified.
	Poll, Refusal time.Duration
	Memory        int64         // of a control plane, for each atom, in bytes
	Trip          time.Duration // from a response to the next request
}

// Measured are the costs on the machine of docs/benchmarks.md, with 10,000 idle
// atoms: 3.65 % of a core for 19,295 polls a minute, and 585 MiB.
var Measured = Config{Cores: 2, Poll: 114 * time.Microsecond, Refusal: 40 * time.Microsecond, Memory: 61_300, Trip: 5 * time.Millisecond}

// pollers returns how many connections poll.
func (c *Config) pollers() int { return c.Atoms + c.Groups*c.Members }

// atom is one poller.
type atom struct {
	backoff     cloudclient.Backoff
	plane       *plane // that its connection leads to; nil: none
	epoch       *epoch // that it signs with
	prioritized bool   // it was refused for overload
	turn        int    // invalidates events of a connection that was cut
	back        int    // the last round in which it was answered
}

// epoch is one start of a control plane.
type epoch struct {
	known map[*atom]bool // atoms whose triggers it has received
	held  map[*atom]bool // atoms of which it has held a poll
}

// plane is a control plane. Requests share its cores, first come, first served.
type plane struct {
	epoch *epoch // nil: it is down
	free  []time.Duration
	queue int // requests that wait for their verification
}

// event is something that happens at a time.
type event struct {
	at   time.Duration
	n    int // of two events at one time, the first one scheduled comes first
	turn int
	atom *atom // nil: of the scenario
	do   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// Second is one second of a simulation.
type Second struct {
	Polls    int           // requests that were verified
	Requests int           // that reached a control plane
	Refused  int           // for overload
	Busy     time.Duration // processor time of all control planes
	Queue    int           // the most requests that waited at one control plane
}

// Fleet is a simulation. Its methods must be called by one goroutine.
type Fleet struct {
	Seconds []Second

	c      Config
	timing agent.Timing
	now    time.Duration
	n      int
	events events
	atoms  []*atom
	planes []*plane
	round  int
	back   []time.Duration // of the round, when atoms were answered
}

// New returns a fleet whose atoms poll at random moments.
func New(c Config) *Fleet {
	f := &Fleet{c: c, timing: agent.DefaultTiming()}
	for range c.Planes {
		f.planes = append(f.planes, &plane{})
	}
	for range c.pollers() {
		a := &atom{backoff: cloudclient.Backoff{Initial: f.timing.MinBackoff, Max: f.timing.MaxBackoff}}
		f.atoms = append(f.atoms, a)
		f.schedule(rand.N(f.timing.Hold), a, func() { f.poll(a) })
	}
	f.Start()
	f.NewRound()
	return f
}

func (f *Fleet) schedule(after time.Duration, a *atom, do func()) {
	e := event{at: f.now + after, n: f.n, atom: a, do: do}
	if f.n++; a != nil {
		e.turn = a.turn
	}
	heap.Push(&f.events, e)
}

// Run runs the simulation for a time.
func (f *Fleet) Run(d time.Duration) {
	end := f.now + d
	for len(f.events) > 0 && f.events[0].at <= end {
		e := heap.Pop(&f.events).(event)
		if f.now = e.at; e.atom == nil || e.turn == e.atom.turn {
			e.do()
		}
	}
	f.now = end
}

// second returns the current second.
func (f *Fleet) second() *Second {
	for len(f.Seconds) <= int(f.now/time.Second) {
		f.Seconds = append(f.Seconds, Second{})
	}
	return &f.Seconds[f.now/time.Second]
}

// Now returns the virtual time since New.
func (f *Fleet) Now() time.Duration { return f.now }

// Start starts the control planes that are down.
func (f *Fleet) Start() {
	for _, p := range f.planes {
		if p.epoch == nil {
			p.epoch, p.free, p.queue = &epoch{map[*atom]bool{}, map[*atom]bool{}}, make([]time.Duration, f.c.Cores), 0
		}
	}
}

// Kill ends n control planes, and with them the connections of their atoms.
func (f *Fleet) Kill(n int) {
	for _, p := range f.planes[:n] {
		p.epoch = nil
	}
	for _, a := range f.atoms {
		if a.plane != nil && a.plane.epoch == nil {
			a.turn++
			f.fail(a, errCut)
		}
	}
}

// NewRound makes Back count from now on.
func (f *Fleet) NewRound() {
	f.round++
	f.back = nil
}

// Back returns when a share of the atoms had been answered in this round, since
// New; false if fewer were.
func (f *Fleet) Back(share float64) (time.Duration, bool) {
	i := int(share*float64(len(f.atoms))) - 1
	if i >= len(f.back) {
		return 0, false
	}
	return f.back[max(i, 0)], true
}

var errCut = errors.New("the connection was cut")

// fail makes an atom poll again after its backoff.
func (f *Fleet) fail(a *atom, err error) {
	a.plane = nil
	f.schedule(a.backoff.After(err), a, func() { f.poll(a) })
}

// poll sends a request, on the connection of the last one if that is open.
func (f *Fleet) poll(a *atom) {
	if a.plane == nil {
		if a.plane = f.balance(); a.plane == nil {
			f.fail(a, errCut)
			return
		}
	}
	p := a.plane
	f.second().Requests++
	if a.epoch != p.epoch { // refused at once, and signed again
		f.serve(p, f.c.Refusal, a, func() { a.epoch = p.epoch; f.poll(a) })
		return
	}
	if p.queue >= gate.DefaultQueue && !a.prioritized {
		f.refuse(a)
		return
	}
	p.queue++
	s := f.second()
	s.Queue = max(s.Queue, p.queue)
	at := p.epoch
	if wait := p.next() - f.now; wait > gate.VerifyWait {
		f.schedule(gate.VerifyWait, nil, func() { p.leave(at) })
		f.schedule(gate.VerifyWait, a, func() { f.refuse(a) })
		return
	}
	f.schedule(max(p.next()-f.now, 0), nil, func() { p.leave(at) })
	f.serve(p, f.c.Poll, a, func() { f.answer(a, p) })
}

// balance returns a control plane that is up; nil if there is none.
func (f *Fleet) balance() *plane {
	var up []*plane
	for _, p := range f.planes {
		if p.epoch != nil {
			up = append(up, p)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[rand.IntN(len(up))]
}

// refuse refuses a request for overload.
func (f *Fleet) refuse(a *atom) {
	f.second().Refused++
	a.prioritized = true
	p := a.plane
	f.fail(a, &cloudclient.ResponseError{Status: http.StatusServiceUnavailable, RetryAfter: time.Duration(gate.RetryAfter(gate.Overload)) * time.Second})
	a.plane = p // the connection stays open
}

// next returns when a core is free.
func (p *plane) next() time.Duration { return p.free[p.first()] }

// first returns the core that is free first.
func (p *plane) first() int {
	first := 0
	for i, at := range p.free {
		if at < p.free[first] {
			first = i
		}
	}
	return first
}

// leave notes that a request of an epoch waits no longer.
func (p *plane) leave(at *epoch) {
	if p.epoch == at {
		p.queue--
	}
}

// serve occupies a core, and then calls done.
func (f *Fleet) serve(p *plane, cost time.Duration, a *atom, done func()) {
	core := p.first()
	p.free[core] = max(p.free[core], f.now) + cost
	f.schedule(p.free[core]-f.now, a, func() { f.second().Busy += cost; done() })
}

// answer handles a verified poll: it is held, unless the control plane has not
// seen the atom since its start.
func (f *Fleet) answer(a *atom, p *plane) {
	f.second().Polls++
	a.prioritized = false
	a.backoff.Reset()
	if a.back != f.round {
		a.back = f.round
		f.back = append(f.back, f.now)
	}
	hold := min(f.timing.Hold, gate.DefaultHold)
	switch {
	case !p.epoch.known[a]:
		p.epoch.known[a] = true
		hold = 0
	case !p.epoch.held[a]:
		p.epoch.held[a] = true
		hold = gate.FirstHold(hold)
	}
	f.schedule(hold+f.c.Trip, a, func() { f.poll(a) })
}
