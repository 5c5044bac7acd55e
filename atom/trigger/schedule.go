package trigger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

const (
	missedAfter = time.Minute      // a run that is later than this was missed
	maxMissed   = 1000             // missed runs that `misfire: all` catches up on
	maxIdle     = 10 * time.Second // how soon a change of the wall clock is noticed
	clockJump   = 30 * time.Second // by how much the wall clock must outrun the elapsed time to count as set
	maxAhead    = 24 * time.Hour   // progress further in the future was stored under a wrong clock
)

// Scheduled is a process with a schedule.
type Scheduled interface {
	Process
	// Paused reports whether its trigger is paused.
	Paused() bool
}

// ScheduleHost finds schedules and their executions for a Scheduler.
type ScheduleHost interface {
	// Scheduled returns the deployed processes that have a schedule.
	Scheduled() []Scheduled
	// Live reports whether an execution has not ended.
	Live(ctx context.Context, execution string) (bool, error)
}

// ProgressStore stores the progress of schedules.
type ProgressStore interface {
	PutContent(ctx context.Context, name string, content []byte) error
	// Content fails with store.ErrUnknown if nothing is stored.
	Content(ctx context.Context, name string) ([]byte, error)
}

// Scheduler starts processes when their schedules are due. It stores the
// progress of each schedule, and each run has an origin made of its process and
// time, so neither a restart nor a crash starts a run twice.
type Scheduler struct {
	// Clock may be replaced before Run.
	Clock Clock

	host   ScheduleHost
	stored ProgressStore
	leases Leases
	log    *slog.Logger
	wake   chan struct{}
	last   Instant // of the last pass; only the goroutine of Run uses it
	epoch  int64   // lease under which this member runs the schedules
	leads  bool    // this member runs the schedules; only the goroutine of Run uses both

	mu     sync.Mutex
	states map[string]*scheduleState // by process
}

// Instant is one moment on two clocks: the wall clock, which can be set, and
// the time elapsed since start.
type Instant struct {
	Wall    time.Time // UTC
	Elapsed time.Duration
}

// Clock returns the current Instant.
type Clock func() Instant

// systemClock returns the clock of this machine.
func systemClock() Clock {
	start := time.Now()
	return func() Instant {
		now := time.Now()
		return Instant{now.Round(0).UTC(), now.Sub(start)}
	}
}

// scheduleState is the state of one schedule. The mutex of the Scheduler
// guards it; only the goroutine of Run writes it.
type scheduleState struct {
	progress progress
	since    time.Time // start of observation: an earlier run was missed
	next     time.Time
	waiting  bool // `overlap: queue`: a run waits for the previous one
}

// progress is the stored part of a scheduleState.
type progress struct {
	Cron string    `json:"cron"`
	Zone string    `json:"zone"`
	Done time.Time `json:"done"`          // every time up to this one was handled
	Due  time.Time `json:"due,omitzero"`  // of the last run
	Run  string    `json:"run,omitempty"` // execution of the last run
}

func progressName(process string) string { return "schedule:" + process }

// NewScheduler returns a scheduler. It starts nothing before Run.
func NewScheduler(host ScheduleHost, stored ProgressStore, leases Leases, log *slog.Logger) *Scheduler {
	return &Scheduler{Clock: systemClock(), host: host, stored: stored, leases: leases, log: log, wake: make(chan struct{}, 1), states: map[string]*scheduleState{}}
}

// Wake makes the scheduler look for due runs at once, after a deployment, a
// pause or the end of a scheduled execution. It does not block.
func (s *Scheduler) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run starts due runs until ctx ends. In a group, one member at a time does.
func (s *Scheduler) Run(ctx context.Context) {
	defer s.resign(ctx)
	for ctx.Err() == nil {
		wait := maxIdle
		if !s.lead(ctx) {
			s.observe(ctx)
			wait = claimEvery
		} else if next := s.pass(ctx, s.Clock()); next.IsZero() {
			wait = time.Hour // there is no schedule
		} else {
			wait = max(min(wait, next.Sub(s.Clock().Wall)), 0)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// schedulesName is the claim of the member that runs the schedules.
const schedulesName = "schedules"

// lead reports whether this member runs the schedules now. After a takeover
// it reads their progress again.
func (s *Scheduler) lead(ctx context.Context) bool {
	if len(s.host.Scheduled()) == 0 && !s.leads {
		return true // there is nothing to run
	}
	epoch, claimed, err := s.leases.ClaimName(ctx, schedulesName)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("cannot find out which member runs the schedules; trying again", "error", err)
		}
		return false
	}
	if s.leads != claimed || s.epoch != epoch {
		s.mu.Lock()
		clear(s.states)
		s.mu.Unlock()
	}
	s.leads, s.epoch = claimed, epoch
	return claimed
}

// observe reads the progress of another member, for operators.
func (s *Scheduler) observe(ctx context.Context) {
	for _, p := range s.host.Scheduled() {
		def, state := p.Definition(), &scheduleState{}
		text, err := s.stored.Content(ctx, progressName(def.Name))
		if err != nil || json.Unmarshal(text, &state.progress) != nil {
			continue // it is shown later
		}
		state.next = def.Schedule.Cron.Next(state.progress.Done)
		s.mu.Lock()
		s.states[def.Name] = state
		s.mu.Unlock()
	}
}

// resign lets another member run the schedules at once.
func (s *Scheduler) resign(ctx context.Context) {
	if !s.leads {
		return
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer stop()
	if err := s.leases.ReleaseName(ctx, schedulesName); err != nil {
		s.log.Warn("cannot let another member run the schedules at once", "error", err)
	}
}

// pass handles all due runs and returns the time of the next one; zero if
// there is no schedule.
func (s *Scheduler) pass(ctx context.Context, at Instant) (next time.Time) {
	now := at.Wall
	jumped := !s.last.Wall.IsZero() && now.Sub(s.last.Wall)-(at.Elapsed-s.last.Elapsed) > clockJump
	s.last = at
	scheduled := map[string]bool{}
	for _, p := range s.host.Scheduled() {
		def := p.Definition()
		scheduled[def.Name] = true
		state, err := s.state(ctx, def, now)
		if err == nil {
			if jumped {
				state.since = now
			}
			err = s.fire(ctx, p, state, now)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.Error("cannot run a schedule; trying again", "process", def.Name, "error", err)
			}
			next = earlier(next, now.Add(time.Second))
			continue
		}
		next = earlier(next, state.next)
	}
	s.dropStates(ctx, scheduled)
	return next
}

// earlier returns the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// state returns the state of a schedule. A new or changed schedule has
// missed nothing.
func (s *Scheduler) state(ctx context.Context, p *processes.Process, now time.Time) (*scheduleState, error) {
	s.mu.Lock()
	state := s.states[p.Name]
	s.mu.Unlock()
	text, zone := p.Schedule.Cron.String(), p.Schedule.Cron.Zone().String()
	if state == nil {
		state = &scheduleState{since: now}
		stored, err := s.stored.Content(ctx, progressName(p.Name))
		if err == nil {
			err = json.Unmarshal(stored, &state.progress)
		}
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			return nil, err
		}
	}
	ahead := state.progress.Done.After(now.Add(maxAhead))
	if ahead {
		s.log.Warn("the stored progress of a schedule is far in the future; starting it anew", "process", p.Name, "done", state.progress.Done)
	}
	if state.progress.Cron != text || state.progress.Zone != zone || ahead {
		c := state.progress
		c.Cron, c.Zone, c.Done = text, zone, now
		if err := s.save(ctx, p.Name, state, c); err != nil {
			return nil, err
		}
		state.since = now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[p.Name] = state
	return state, nil
}

// save stores the progress of a schedule.
func (s *Scheduler) save(ctx context.Context, process string, state *scheduleState, c progress) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := s.stored.PutContent(ctx, progressName(process), text); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state.progress = c
	return nil
}

// dropStates clears the progress of processes that are no longer scheduled.
// A schedule that returns has missed nothing.
func (s *Scheduler) dropStates(ctx context.Context, scheduled map[string]bool) {
	s.mu.Lock()
	var dropped []string
	for name := range s.states {
		if !scheduled[name] {
			dropped = append(dropped, name)
		}
	}
	s.mu.Unlock()
	for _, name := range dropped {
		if err := s.save(ctx, name, &scheduleState{}, progress{}); err == nil {
			s.mu.Lock()
			delete(s.states, name)
			s.mu.Unlock()
		}
	}
}

// fire handles the due runs of one schedule.
func (s *Scheduler) fire(ctx context.Context, p Scheduled, state *scheduleState, now time.Time) error {
	def := p.Definition()
	schedule := def.Schedule
	skipTo := func(to time.Time) error {
		c := state.progress
		c.Done = to
		return s.save(ctx, def.Name, state, c)
	}
	for ctx.Err() == nil {
		due, missed := dueTimes(schedule, state, now)
		s.mu.Lock()
		state.waiting = false
		if len(due) == 0 {
			state.next = schedule.Cron.Next(state.progress.Done)
		}
		s.mu.Unlock()
		if len(due) == 0 {
			return nil
		}
		newest := due[len(due)-1]
		if p.Paused() {
			return skipTo(newest)
		}
		first, late := due[0], missed > 0
		switch {
		case late && schedule.Misfire == "skip":
			if err := skipTo(due[missed-1]); err != nil {
				return err
			}
			continue
		case late && schedule.Misfire == "once":
			first = due[missed-1]
		}
		if schedule.Overlap != "allow" {
			live, err := s.lastRunLive(ctx, state)
			if err != nil {
				return err
			}
			if live && (late || schedule.Overlap == "queue") {
				s.mu.Lock()
				state.waiting, state.next = true, now.Add(time.Second) // its end wakes the scheduler; this is the backstop
				s.mu.Unlock()
				return nil
			}
			if live {
				s.log.Warn("scheduled run skipped: the previous run has not ended", "process", def.Name, "scheduled_at", newest, "before", state.progress.Run)
				if err := skipTo(newest); err != nil {
					return err
				}
				continue
			}
		}
		if err := s.start(ctx, p, state, first); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// dueTimes returns the due times that were not handled, at most the newest
// maxMissed, and how many of them, from the first, were missed.
func dueTimes(schedule *processes.Schedule, state *scheduleState, now time.Time) (due []time.Time, missed int) {
	for t := schedule.Cron.Next(state.progress.Done); !t.IsZero() && !t.After(now); t = schedule.Cron.Next(t) {
		due = append(due, t)
		if len(due) >= 2*maxMissed {
			due = slices.Delete(due, 0, len(due)-maxMissed)
		}
	}
	if n := len(due) - maxMissed; n > 0 {
		due = slices.Delete(due, 0, n)
	}
	for missed < len(due) && due[missed].Before(state.since) && now.Sub(due[missed]) > missedAfter {
		missed++
	}
	return due, missed
}

func (s *Scheduler) lastRunLive(ctx context.Context, state *scheduleState) (bool, error) {
	if state.progress.Run == "" {
		return false, nil
	}
	return s.host.Live(ctx, state.progress.Run)
}

// start accepts the run that is due at a time.
func (s *Scheduler) start(ctx context.Context, p Scheduled, state *scheduleState, at time.Time) error {
	def := p.Definition()
	props := &document.Object{}
	props.Set("scheduled_at", at.In(def.Schedule.Cron.Zone()).Format(time.RFC3339))
	execution, err := p.Accept(ctx, &Message{
		Doc: document.Empty, Props: props, CorrelationID: rand.Text(),
		Origin: []string{"schedule", def.Name, at.UTC().Format(time.RFC3339)},
	})
	c := state.progress
	c.Done = at
	var f *fault.Failure
	switch {
	case errors.As(err, &f) && !f.Retryable: // its filter or profile fails, and would fail again
		s.log.Error("scheduled run refused", "process", def.Name, "scheduled_at", at, "error", err)
	case err != nil:
		return err
	case execution != "":
		c.Due, c.Run = at, execution
	}
	return s.save(ctx, def.Name, state, c)
}

// ScheduleStatus is the progress of a schedule, for operators.
type ScheduleStatus struct {
	NextDue time.Time // zero: not known yet, or the trigger is paused
	LastDue time.Time // of the last run; zero: there was none
	LastRun string    // its execution
	Waiting bool      // a run waits for the previous one to end
}

// Status returns the progress of the schedule of a process.
func (s *Scheduler) Status(p Scheduled) ScheduleStatus {
	paused, def := p.Paused(), p.Definition()
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.states[def.Name]
	if state == nil {
		return ScheduleStatus{}
	}
	t := ScheduleStatus{NextDue: state.next, LastDue: state.progress.Due, LastRun: state.progress.Run, Waiting: state.waiting}
	if paused {
		t.NextDue, t.Waiting = time.Time{}, false
	} else if state.waiting {
		t.NextDue = def.Schedule.Cron.Next(state.progress.Done)
	}
	return t
}
