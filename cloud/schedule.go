package cloud

import (
	"context"
	"sort"
	"time"

	"valence/internal/cron"
)

// ScheduleState is how the schedule of a process stands on an atom.
type ScheduleState struct {
	AtomID      string
	AtomName    string
	ProcessID   string
	ProcessName string
	Cron        string // "": the process has no schedule
	Zone        string
	Enabled     bool
	NextDue     time.Time // zero: it is off, or never due again
	Source      string    // the project and version that it is part of
}

// Schedules tells how the schedules of an atom stand, or, where it is "", of
// every atom that the principal may see. What is deployed and has no trigger is
// told, too, without a schedule; what listens is not.
func (s *Service) Schedules(_ context.Context, p Principal, atom string) ([]ScheduleState, error) {
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
			if a.Account == p.Account && !a.Revoked && p.in(s.environmentID(a.ID)) {
				atoms = append(atoms, a)
			}
		}
		sort.Slice(atoms, func(i, j int) bool {
			return atoms[i].Name < atoms[j].Name || atoms[i].Name == atoms[j].Name && atoms[i].ID < atoms[j].ID
		})
	}
	all := []ScheduleState{}
	for _, a := range atoms {
		now := s.standing(a)
		for _, c := range s.deployedTo(a.ID) {
			if x, ok := s.schedule(a, c, now); ok {
				all = append(all, x)
			}
		}
	}
	return all, nil
}

// Schedule tells how the schedule of one process on an atom stands.
func (s *Service) Schedule(_ context.Context, p Principal, atom, process string) (ScheduleState, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, x, err := s.scheduleFor(p, "schedule.read", atom, process)
	return x, err
}

// SwitchSchedule switches a schedule on or off. That holds over new versions
// and restarts, also for a schedule that only a later version has; times that
// pass while it is off are left out.
func (s *Service) SwitchSchedule(ctx context.Context, p Principal, atom, process string, on bool) (ScheduleState, error) {
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
	if s.switchTriggers(ch, a, []string{x.ProcessName}, want) {
		ch.wake(a.ID)
		ch.audit(p, "schedule.update", a.ID, word+x.ProcessName)
		if err := s.commit(ctx, ch); err != nil {
			return ScheduleState{}, err
		}
	}
	_, x, err = s.scheduleFor(p, "schedule.update", atom, process)
	return x, err
}

// scheduleFor finds a schedule and judges an action on it. The caller holds
// changing or mu.
func (s *Service) scheduleFor(p Principal, act Action, atom, process string) (*Atom, ScheduleState, error) {
	a, err := s.atomFor(p, act, atom)
	if err != nil {
		return nil, ScheduleState{}, err
	}
	now := s.standing(a)
	for _, c := range s.deployedTo(a.ID) {
		if c.ID != process && c.Name != process {
			continue
		}
		if x, ok := s.schedule(a, c, now); ok {
			return a, x, nil
		}
	}
	return nil, ScheduleState{}, missing("schedule", process)
}

// schedule tells how a schedule stands; false for what listens. The caller
// holds changing or mu.
func (s *Service) schedule(a *Atom, c *Component, now standing) (ScheduleState, bool) {
	t, _ := s.triggerOf(a, c, now)
	if t.Kind != "" && t.Kind != TriggerSchedule {
		return ScheduleState{}, false
	}
	x := ScheduleState{AtomID: a.ID, AtomName: a.Name, ProcessID: c.ID, ProcessName: c.Name, Cron: t.Cron, Zone: t.Zone}
	d := s.state.active[s.environmentID(a.ID)][c.Project]
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
