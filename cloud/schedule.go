package cloud

import (
	"context"
	"sort"
	"time"

	"valence/internal/cron"
	"valence/internal/wire"
)

// ScheduleState is the state of a process's schedule on an atom.
type ScheduleState struct {
	AtomID      string
	AtomName    string
	ProcessID   string
	ProcessName string
	Cron        string // "": the process has no schedule
	Zone        string
	Enabled     bool
	NextDue     time.Time // zero: disabled, or never due again
	Source      string    // project and version
}

// Schedules returns the schedules of an atom, or of every visible atom if atom
// is empty. It includes deployed processes without a trigger, but not those
// with a listener or subscription.
func (s *Triggers) Schedules(_ context.Context, p Principal, atom string) ([]ScheduleState, error) {
	if err := p.Allow("schedule.read"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var atoms []*Atom
	if atom != "" {
		a, err := s.atomFor(p, "schedule.read", atom)
		if err != nil {
			return nil, err
		}
		atoms = []*Atom{a}
	} else {
		for _, a := range s.state.atoms {
			if a.Account == p.Account && !a.Revoked && p.sees(s.state.environmentID(a.ID)) {
				atoms = append(atoms, a)
			}
		}
		sort.Slice(atoms, func(i, j int) bool {
			return atoms[i].Name < atoms[j].Name || atoms[i].Name == atoms[j].Name && atoms[i].ID < atoms[j].ID
		})
	}
	all := []ScheduleState{}
	for _, a := range atoms {
		now := s.triggerStates(a)
		for _, c := range s.state.processesOf(a.ID) {
			if x, ok := s.scheduleState(a, c, now); ok {
				all = append(all, x)
			}
		}
	}
	return all, nil
}

// Schedule returns the schedule of one process on an atom.
func (s *Triggers) Schedule(_ context.Context, p Principal, atom, process string) (ScheduleState, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, x, err := s.scheduleFor(p, "schedule.read", atom, process)
	return x, err
}

// SwitchSchedule enables or disables a schedule. The choice holds across
// versions and restarts, and before a version has a schedule. Times that pass
// while a schedule is disabled are skipped.
func (s *Triggers) SwitchSchedule(ctx context.Context, p Principal, atom, process string, on bool) (ScheduleState, error) {
	ch, err := s.begin(ctx)
	if err != nil {
		return ScheduleState{}, err
	}
	defer ch.end()
	a, x, err := s.scheduleFor(p, "schedule.update", atom, process)
	if err != nil {
		return ScheduleState{}, err
	}
	want, word := Paused, "off "
	if on {
		want, word = Running, "on "
	}
	if s.setTriggers(ch, a, []string{x.ProcessName}, want) {
		ch.wake(a.ID)
		ch.audit(p, "schedule.update", a.ID, word+x.ProcessName+" on "+s.atomTitle(a))
		if err := s.commit(ctx, ch); err != nil {
			return ScheduleState{}, err
		}
	}
	_, x, err = s.scheduleFor(p, "schedule.update", atom, process)
	return x, err
}

// scheduleFor returns a schedule if the principal may perform an action on it.
// The caller holds writing or mu.
func (s *Triggers) scheduleFor(p Principal, act Action, atom, process string) (*Atom, ScheduleState, error) {
	a, err := s.atomFor(p, act, atom)
	if err != nil {
		return nil, ScheduleState{}, err
	}
	now := s.triggerStates(a)
	for _, c := range s.state.processesOf(a.ID) {
		if c.ID != process && c.Name != process {
			continue
		}
		if x, ok := s.scheduleState(a, c, now); ok {
			return a, x, nil
		}
	}
	return nil, ScheduleState{}, notFound("schedule", process)
}

// scheduleState returns the schedule of a process, or false if it has another
// kind of trigger. The caller holds writing or mu.
func (s *Triggers) scheduleState(a *Atom, c *Component, now triggerStates) (ScheduleState, bool) {
	t, _ := s.triggerOf(a, c, now)
	if t.Kind != "" && t.Kind != wire.TriggerSchedule {
		return ScheduleState{}, false
	}
	x := ScheduleState{AtomID: a.ID, AtomName: a.Name, ProcessID: c.ID, ProcessName: c.Name, Cron: t.Cron, Zone: t.Zone}
	d := s.state.activeIn[s.state.environmentID(a.ID)][c.Project]
	version := s.state.packages[d.PackageID]
	x.Source = version.Project + " " + version.Version
	wanted := a.Triggers[c.Name]
	if wanted == "" {
		wanted = d.ListenerStatus
	}
	if x.Enabled = now.state(a, c.Name, wanted) != Paused; !x.Enabled || t.Cron == "" {
		return x, true
	}
	if place, err := cron.Zone(t.Zone); err == nil {
		if due, err := cron.Parse(t.Cron, place); err == nil {
			x.NextDue = due.Next(time.Now()).UTC()
		}
	}
	return x, true
}
