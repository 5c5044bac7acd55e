package cloud

import (
	"context"
	"maps"
	"slices"
	"strings"

	"valence/internal/wire"
)

// Triggers shows and switches the listeners, subscriptions and schedules of atoms.
type Triggers struct{ *core }

// TriggerState is the state of one process's trigger on an atom.
type TriggerState struct {
	ProcessID   string
	ProcessName string
	Project     string
	Kind        string // listen, schedule or subscribe; "" if unknown
	Wanted      string // RUNNING or PAUSED
	State       string // as last reported; "" before the first report
}

// Change pauses, resumes or restarts the trigger of a process, named by
// id or name, on an atom. The action is pause, resume or restart. With the
// suffix _all it applies to all triggers except schedules, and with _every to
// schedules too. An operator's choice holds across versions until it is changed
// here or on the atom's machine.
func (s *Triggers) Change(ctx context.Context, p Principal, atom, process, action string) error {
	c, a, err := s.beginAtom(ctx, p, "listener.update", atom)
	if err != nil {
		return err
	}
	defer c.end()
	verb, every := strings.CutSuffix(action, "_every")
	verb, all := strings.CutSuffix(verb, "_all")
	all = all || every
	if verb != "pause" && verb != "resume" && verb != "restart" {
		return invalid("action", "must be pause, resume or restart, optionally with _all")
	}
	var names []string
	if all {
		now := s.triggerStates(a)
		for _, x := range s.state.processesOf(a.ID) {
			if t, known := s.triggerOf(a, x, now); (every || t.Kind != wire.TriggerSchedule) && (t.Kind != "" || !known) {
				names = append(names, x.Name)
			}
		}
	} else {
		x := s.state.deployedProcess(a.ID, process)
		if x == nil {
			x = s.state.deployedProcess(a.ID, s.state.processID(a.ID, process))
		}
		if x == nil {
			return notFound("listener", process)
		}
		names = []string{x.Name}
	}
	c.wake(a.ID)
	what := action
	if !all {
		what += " " + names[0]
	}
	c.audit(p, "listener.update", a.ID, what+" on "+s.atomTitle(a))
	if verb == "restart" {
		m := wire.Instruction{Kind: wire.KindRestart}
		if !all {
			m.Process = names[0]
		}
		c.enqueue(ctx, a.Account, a.ID, "", m)
		return s.commit(ctx, c)
	}
	if !s.setTriggers(c, a, names, map[string]string{"pause": Paused, "resume": Running}[verb]) {
		return nil
	}
	return s.commit(ctx, c)
}

// setTriggers adds the wanted state of triggers to a change and reports whether
// any differs. The caller holds writing.
func (s *Triggers) setTriggers(c *change, a *Atom, names []string, want string) bool {
	now := s.triggerStates(a)
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return a.Triggers[name] == want && now.state(a, name, want) == want
	})
	if len(names) == 0 {
		return false
	}
	next := *a
	next.Triggers, next.Switched = maps.Clone(a.Triggers), maps.Clone(a.Switched)
	if next.Triggers == nil {
		next.Triggers = map[string]string{}
	}
	if next.Switched == nil {
		next.Switched = map[string]int64{}
	}
	next.Revision = s.nextRevision()
	for _, name := range names {
		next.Triggers[name], next.Switched[name] = want, next.Revision
	}
	c.put(&next)
	return true
}

// triggerStates are the triggers last reported by an atom.
type triggerStates struct {
	reported   map[string]wire.Trigger
	switchedIn int64
}

func (s *core) triggerStates(a *Atom) triggerStates {
	h := s.withStatus(a).Heartbeat
	x := triggerStates{map[string]wire.Trigger{}, h.Switched}
	for _, l := range h.Triggers {
		x.reported[l.Process] = l
	}
	return x
}

// state returns the reported state of a trigger, or the wanted one if an
// operator has changed it since.
func (x triggerStates) state(a *Atom, name, wanted string) string {
	l, told := x.reported[name]
	if !told || x.switchedIn < a.Switched[name] {
		return wanted
	}
	if l.State == wire.TriggerPaused {
		return Paused
	}
	return Running
}

// triggerOf returns the trigger of a process and whether it is known, from its
// package or else from the atom's report. The caller holds writing or mu.
func (s *core) triggerOf(a *Atom, c *Component, now triggerStates) (t Trigger, known bool) {
	if at := s.state.attachmentOf[a.ID]; at != nil {
		if d := s.state.activeIn[at.EnvironmentID][c.Project]; d != nil {
			if x := s.state.packages[d.PackageID]; x.Triggers != nil {
				return x.Triggers[c.Name], true
			}
		}
	}
	l := now.reported[c.Name]
	return Trigger{l.Kind, l.Cron, l.Zone}, len(now.reported) > 0
}

// States returns the states of an atom's triggers.
func (s *Triggers) States(_ context.Context, p Principal, atom string) ([]TriggerState, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "listener.read", atom)
	if err != nil {
		return nil, err
	}
	now, packages := s.triggerStates(a), s.withStatus(a).Heartbeat.Packages
	paused := map[string]bool{}
	for _, name := range s.state.pausedProcesses(a) {
		paused[name] = true
	}
	runs := func(c *Component) bool {
		d := s.state.activeIn[s.state.environmentID(a.ID)][c.Project]
		return d != nil && slices.Contains(packages, s.state.packages[d.PackageID].SHA256)
	}
	all := []TriggerState{}
	for _, c := range s.state.processesOf(a.ID) {
		t, known := s.triggerOf(a, c, now)
		if t.Kind == "" && (known || runs(c)) {
			continue // it has no trigger
		}
		x := TriggerState{ProcessID: c.ID, ProcessName: c.Name, Project: c.Project, Kind: t.Kind, Wanted: Running, State: strings.ToUpper(now.reported[c.Name].State)}
		if paused[c.Name] {
			x.Wanted = Paused
		}
		all = append(all, x)
	}
	return all, nil
}
