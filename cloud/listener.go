package cloud

import (
	"context"
	"maps"
	"slices"
	"sort"
	"strings"

	"valence/internal/wire"
)

// ListenerState is how the trigger of a process stands on an atom.
type ListenerState struct {
	ProcessID   string
	ProcessName string
	Kind        string // listen, schedule, subscribe; "" where neither its package nor the atom has told
	Wanted      string // RUNNING or PAUSED
	State       string // as the atom told last; "" until then
}

// ChangeListener pauses, resumes or restarts the trigger of a process on an
// atom; process is an id or a name. The action is pause, resume, restart, or
// one of them with _all, for all listeners and no schedule, or with _every, for
// schedules, too; these take no process. What an operator said of an atom holds
// over new versions; where an operator of the atom's machine says another
// thing, the newer word counts.
func (s *Service) ChangeListener(ctx context.Context, p Principal, atom, process, action string) error {
	c, a, err := s.beginAtom(ctx, p, "listener.update", atom)
	if err != nil {
		return err
	}
	defer c.end()
	verb, every := strings.CutSuffix(action, "_every")
	verb, all := strings.CutSuffix(verb, "_all")
	all = all || every
	if verb != "pause" && verb != "resume" && verb != "restart" {
		return invalid("action", "is pause, resume or restart, or one of them with _all")
	}
	var names []string
	if all {
		now := s.standing(a)
		for _, x := range s.deployedTo(a.ID) {
			if t, known := s.triggerOf(a, x, now); (every || t.Kind != TriggerSchedule) && (t.Kind != "" || !known) {
				names = append(names, x.Name)
			}
		}
	} else {
		x := s.deployed(a.ID, process)
		if x == nil {
			x = s.deployed(a.ID, s.processID(a.ID, process))
		}
		if x == nil {
			return missing("listener", process)
		}
		names = []string{x.Name}
	}
	c.wake(a.ID)
	c.audit(p, "listener.update", a.ID, action+" "+process)
	if verb == "restart" {
		m := wire.Message{Kind: wire.KindRestart}
		if !all {
			m.Process = names[0]
		}
		c.message(ctx, a.Account, a.ID, "", m)
		return s.commit(ctx, c)
	}
	if !s.switchTriggers(c, a, names, map[string]string{"pause": Paused, "resume": Running}[verb]) {
		return nil
	}
	return s.commit(ctx, c)
}

// switchTriggers adds to a change that an operator wants triggers of an atom
// running or paused, and reports whether any is not so. The caller holds
// changing.
func (s *Service) switchTriggers(c *change, a *Atom, names []string, want string) bool {
	now := s.standing(a)
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
	next.Revision = s.revision()
	for _, name := range names {
		next.Triggers[name], next.Switched[name] = want, next.Revision
	}
	c.put(&next)
	return true
}

// standing is what an atom told last of its triggers.
type standing struct {
	told     map[string]wire.Listener
	switched int64
}

func (s *Service) standing(a *Atom) standing {
	h := s.filled(a).Heartbeat
	x := standing{map[string]wire.Listener{}, h.Switched}
	for _, l := range h.Listeners {
		x.told[l.Process] = l
	}
	return x
}

// state is how a trigger stands: as the atom told, unless an operator has said
// another thing since, otherwise as it is wanted.
func (x standing) state(a *Atom, name, wanted string) string {
	l, told := x.told[name]
	if !told || x.switched < a.Switched[name] {
		return wanted
	}
	if l.State == "paused" {
		return Paused
	}
	return Running
}

// triggerOf gives what starts a process of an atom, and whether that is known:
// from its package, or, where that does not say, as the atom told. The caller
// holds changing or mu.
func (s *Service) triggerOf(a *Atom, c *Component, now standing) (t Trigger, known bool) {
	if at := s.state.attachedTo[a.ID]; at != nil {
		if d := s.state.active[at.EnvironmentID][c.Project]; d != nil {
			if x := s.state.packages[d.PackageID]; x.Triggers != nil {
				return x.Triggers[c.Name], true
			}
		}
	}
	l := now.told[c.Name]
	return Trigger{l.Kind, l.Cron, l.Zone}, len(now.told) > 0
}

// switched gives when operators paused or resumed triggers of an atom, by
// process, or when a deployment paused them. The caller holds changing or mu.
func (s *Service) switched(a *Atom) map[string]int64 {
	all := map[string]int64{}
	for _, c := range s.deployedTo(a.ID) {
		d := s.state.active[s.environmentID(a.ID)][c.Project]
		if n := a.Switched[c.Name]; n > 0 {
			all[c.Name] = n
		} else if d.ListenerStatus == Paused && d.Revision > 0 {
			all[c.Name] = d.Revision
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// deployedTo lists the processes that are deployed to an atom. The caller
// holds changing or mu.
func (s *Service) deployedTo(atom string) []*Component {
	at := s.state.attachedTo[atom]
	if at == nil {
		return nil
	}
	var all []*Component
	for _, d := range s.state.active[at.EnvironmentID] {
		for _, id := range s.state.packages[d.PackageID].Components {
			if c := s.state.components[id]; c != nil {
				all = append(all, c)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// paused lists the processes of an atom whose triggers are to be paused. The
// caller holds changing or mu.
func (s *Service) paused(a *Atom) []string {
	at := s.state.attachedTo[a.ID]
	if at == nil {
		return nil
	}
	var names []string
	for _, d := range s.state.active[at.EnvironmentID] {
		for _, id := range s.state.packages[d.PackageID].Components {
			c := s.state.components[id]
			if c == nil {
				continue
			}
			want := a.Triggers[c.Name]
			if want == "" {
				want = d.ListenerStatus
			}
			if want == Paused {
				names = append(names, c.Name)
			}
		}
	}
	sort.Strings(names)
	return names
}

// Listeners tells how the triggers of an atom stand.
func (s *Service) Listeners(_ context.Context, p Principal, atom string) ([]ListenerState, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "listener.read", atom)
	if err != nil {
		return nil, err
	}
	now, packages := s.standing(a), s.filled(a).Heartbeat.Packages
	paused := map[string]bool{}
	for _, name := range s.paused(a) {
		paused[name] = true
	}
	runs := func(c *Component) bool {
		d := s.state.active[s.environmentID(a.ID)][c.Project]
		return d != nil && slices.Contains(packages, s.state.packages[d.PackageID].SHA256)
	}
	all := []ListenerState{}
	for _, c := range s.deployedTo(a.ID) {
		t, known := s.triggerOf(a, c, now)
		if t.Kind == "" && (known || runs(c)) {
			continue // it has no trigger
		}
		x := ListenerState{ProcessID: c.ID, ProcessName: c.Name, Kind: t.Kind, Wanted: Running, State: strings.ToUpper(now.told[c.Name].State)}
		if paused[c.Name] {
			x.Wanted = Paused
		}
		all = append(all, x)
	}
	return all, nil
}
