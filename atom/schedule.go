package atom

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// What the clockwork goes by.
const (
	punctual   = time.Minute      // so late is still in time
	mostMissed = 1000             // of the times that `misfire: all` makes up for
	lookAgain  = 10 * time.Second // a clock that was set is noticed within
	clockSet   = 30 * time.Second // the wall clock went ahead of the time that passed
	wrongClock = 24 * time.Hour   // a mark so far ahead was made by a wrong clock
)

// clockwork starts processes when their schedules are due. What it has dealt
// with is a mark in the store, and each run has an origin of its process and
// time, so that neither a restart nor a kill starts one twice.
type clockwork struct {
	atom  *Atom
	wake  chan struct{}
	clock func() instant

	mu    sync.Mutex
	hands map[string]*hand
	last  instant // of the last pass
}

// instant is one moment by two clocks: the one on the wall, which somebody may
// set, and one that only runs.
type instant struct {
	wall   time.Time
	passed time.Duration
}

// clocks gives this machine's clocks.
func clocks() func() instant {
	start := time.Now()
	return func() instant {
		now := time.Now()
		return instant{now.Round(0).UTC(), now.Sub(start)}
	}
}

// hand is one schedule.
type hand struct {
	mark    mark
	since   time.Time // from when on it is looked at: what was due before was missed
	next    time.Time
	waiting bool // `overlap: queue`: a run waits for the one before
}

// mark is what the store keeps of a schedule.
type mark struct {
	Cron string    `json:"cron"`
	Zone string    `json:"zone"`
	Done time.Time `json:"done"`          // every time up to here was dealt with
	Due  time.Time `json:"due,omitzero"`  // of the last run
	Run  string    `json:"run,omitempty"` // the execution of it
}

func markName(process string) string { return "schedule:" + process }

func newClockwork(a *Atom) *clockwork {
	return &clockwork{atom: a, wake: make(chan struct{}, 1), clock: clocks(), hands: map[string]*hand{}}
}

// poke makes it look at once: something was deployed, paused, or has ended.
func (c *clockwork) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run starts what is due until ctx ends.
func (c *clockwork) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := lookAgain
		if next := c.pass(ctx, c.clock()); next.IsZero() {
			wait = time.Hour // nothing has a schedule
		} else {
			wait = max(min(wait, next.Sub(c.clock().wall)), 0)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// pass deals with all that is due, and gives when to look again.
func (c *clockwork) pass(ctx context.Context, at instant) (next time.Time) {
	now := at.wall
	jumped := !c.last.wall.IsZero() && now.Sub(c.last.wall)-(at.passed-c.last.passed) > clockSet
	c.last = at
	scheduled := map[string]bool{}
	for _, d := range c.atom.Deployed() {
		if d.Process.Schedule == nil {
			continue
		}
		scheduled[d.Process.Name] = true
		h, err := c.hand(ctx, d.Process, now)
		if err == nil {
			if jumped {
				h.since = now
			}
			err = c.turn(ctx, d, h, now)
		}
		if err != nil {
			if ctx.Err() == nil {
				c.atom.log.Error("a schedule cannot be followed; it is tried again", "process", d.Process.Name, "error", err)
			}
			next = sooner(next, now.Add(time.Second))
			continue
		}
		next = sooner(next, h.next)
	}
	c.forget(ctx, scheduled)
	return next
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// hand gives what is known of a schedule. A new one, or one that changed, has
// missed nothing.
func (c *clockwork) hand(ctx context.Context, p *processes.Process, now time.Time) (*hand, error) {
	c.mu.Lock()
	h := c.hands[p.Name]
	c.mu.Unlock()
	text, zone := p.Schedule.Cron.String(), p.Schedule.Cron.Place().String()
	if h == nil {
		h = &hand{since: now}
		stored, err := c.atom.store.Content(ctx, markName(p.Name))
		if err == nil {
			err = json.Unmarshal(stored, &h.mark)
		}
		if err != nil && !errors.Is(err, ErrUnknown) {
			return nil, err
		}
	}
	ahead := h.mark.Done.After(now.Add(wrongClock))
	if ahead {
		c.atom.log.Warn("a schedule was followed by a clock far ahead of this one", "process", p.Name, "done", h.mark.Done)
	}
	if h.mark.Cron != text || h.mark.Zone != zone || ahead {
		m := h.mark
		m.Cron, m.Zone, m.Done = text, zone, now
		if err := c.keep(ctx, p.Name, h, m); err != nil {
			return nil, err
		}
		h.since = now
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hands[p.Name] = h
	return h, nil
}

// keep stores a mark.
func (c *clockwork) keep(ctx context.Context, process string, h *hand, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := c.atom.store.PutContent(ctx, markName(process), text); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h.mark = m
	return nil
}

// forget drops the marks of processes that are no longer scheduled: when they
// come back they have missed nothing.
func (c *clockwork) forget(ctx context.Context, scheduled map[string]bool) {
	c.mu.Lock()
	var gone []string
	for name := range c.hands {
		if !scheduled[name] {
			gone = append(gone, name)
		}
	}
	c.mu.Unlock()
	for _, name := range gone {
		if err := c.keep(ctx, name, &hand{}, mark{}); err == nil {
			c.mu.Lock()
			delete(c.hands, name)
			c.mu.Unlock()
		}
	}
}

// turn deals with what is due of one schedule.
func (c *clockwork) turn(ctx context.Context, d *Deployed, h *hand, now time.Time) error {
	s := d.Process.Schedule
	passed := func(to time.Time) error {
		m := h.mark
		m.Done = to
		return c.keep(ctx, d.Process.Name, h, m)
	}
	for ctx.Err() == nil {
		due, missed := dues(s, h, now)
		c.mu.Lock()
		h.waiting = false
		if len(due) == 0 {
			h.next = s.Cron.Next(h.mark.Done)
		}
		c.mu.Unlock()
		if len(due) == 0 {
			return nil
		}
		newest := due[len(due)-1]
		if d.Paused() {
			return passed(newest)
		}
		first, late := due[0], missed > 0
		switch {
		case late && s.Misfire == "skip":
			if err := passed(due[missed-1]); err != nil {
				return err
			}
			continue
		case late && s.Misfire == "once":
			first = due[missed-1]
		}
		if s.Overlap != "allow" {
			lives, err := c.lives(ctx, h)
			if err != nil {
				return err
			}
			if lives && (late || s.Overlap == "queue") {
				c.mu.Lock()
				h.waiting, h.next = true, now.Add(time.Second) // its end wakes us; this is the backstop
				c.mu.Unlock()
				return nil
			}
			if lives {
				c.atom.log.Warn("a scheduled run was left out: the one before has not ended", "process", d.Process.Name, "scheduled_at", newest, "before", h.mark.Run)
				if err := passed(newest); err != nil {
					return err
				}
				continue
			}
		}
		if err := c.start(ctx, d, h, first); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// dues gives the times that are due and not dealt with, the latest of very
// many, and how many of them were missed: they passed before anybody looked.
func dues(s *processes.Schedule, h *hand, now time.Time) (due []time.Time, missed int) {
	for t := s.Cron.Next(h.mark.Done); !t.IsZero() && !t.After(now); t = s.Cron.Next(t) {
		due = append(due, t)
		if len(due) >= 2*mostMissed {
			due = slices.Delete(due, 0, len(due)-mostMissed)
		}
	}
	if n := len(due) - mostMissed; n > 0 {
		due = slices.Delete(due, 0, n)
	}
	for missed < len(due) && due[missed].Before(h.since) && now.Sub(due[missed]) > punctual {
		missed++
	}
	return due, missed
}

// lives reports whether the last run has not ended.
func (c *clockwork) lives(ctx context.Context, h *hand) (bool, error) {
	seq, received, ok := c.atom.ParseID(h.mark.Run)
	if !ok {
		return false, nil
	}
	x, err := c.atom.store.Get(ctx, seq, received)
	if errors.Is(err, ErrUnknown) {
		return false, nil
	}
	return err == nil && x.Outcome == nil, err
}

// start accepts the run of a time.
func (c *clockwork) start(ctx context.Context, d *Deployed, h *hand, at time.Time) error {
	if err := c.atom.open(d); err != nil {
		return err
	}
	props := &document.Object{}
	props.Set("scheduled_at", at.In(d.Process.Schedule.Cron.Place()).Format(time.RFC3339))
	in := &Arrival{Doc: document.Empty, Received: now(), Props: props, CorrelationID: rand.Text(), SHA256: hashBody(document.Empty), By: BySchedule}
	origin := hex.EncodeToString(slice(derive("schedule", d.Process.Name, at.UTC().Format(time.RFC3339))))
	ack, err := c.atom.take(ctx, d, in, origin)
	m := h.mark
	m.Done = at
	var f *fault.Failure
	switch {
	case errors.As(err, &f) && !f.Retryable: // its filter or profile fails: it would fail again
		c.atom.log.Error("a scheduled run was refused", "process", d.Process.Name, "scheduled_at", at, "error", err)
	case err != nil:
		return err
	case ack.Execution != "":
		m.Due, m.Run = at, ack.Execution
	}
	return c.keep(ctx, d.Process.Name, h, m)
}

// Timing is how a schedule stands.
type Timing struct {
	NextDue time.Time // zero: not known yet, or the trigger is paused
	LastDue time.Time // of the last run; zero: there was none
	LastRun string    // its execution
	Waiting bool      // a run waits for the one before it to end
}

// Timing tells how the schedule of a process stands.
func (a *Atom) Timing(d *Deployed) Timing {
	paused := d.Paused()
	c := a.clockwork
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hands[d.Process.Name]
	if h == nil {
		return Timing{}
	}
	t := Timing{NextDue: h.next, LastDue: h.mark.Due, LastRun: h.mark.Run, Waiting: h.waiting}
	if paused {
		t.NextDue, t.Waiting = time.Time{}, false
	} else if h.waiting {
		t.NextDue = d.Process.Schedule.Cron.Next(h.mark.Done)
	}
	return t
}
