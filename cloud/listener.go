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
	Kind        string // listen, schedule, subscribe; "" until the atom has told
	Wanted      string // RUNNING or PAUSED
	State       string // as the atom told last; "" until then
}

// ChangeListener pauses, resumes or restarts the trigger of a process on an
// atom: action is pause, resume, restart or one of them with _all, which takes
// no process, and process is an id or a name. What an operator said of an atom
// holds over new versions.
func (s *Service) ChangeListener(ctx context.Context, p Principal, atom, process, action string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	a, err := s.atomFor(p, "listener.update", atom)
	if err != nil {
		return err
	}
	if a.Revoked {
		return missing("atom", atom)
	}
	verb, all := strings.CutSuffix(action, "_all")
	if verb != "pause" && verb != "resume" && verb != "restart" {
		return invalid("action", "is pause, resume or restart, or one of them with _all")
	}
	var names []string
	if all {
		for _, x := range s.deployedTo(a.ID) {
			names = append(names, x.Name)
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
	next := *a
	next.Triggers = maps.Clone(a.Triggers)
	if next.Triggers == nil {
		next.Triggers = map[string]string{}
	}
	for _, name := range names {
		next.Triggers[name] = map[string]string{"pause": Paused, "resume": Running}[verb]
	}
	if maps.Equal(next.Triggers, a.Triggers) {
		return nil
	}
	next.Revision = s.revision()
	c.put(&next)
	return s.commit(ctx, c)
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
	now := s.filled(a)
	told := map[string]wire.Listener{}
	for _, l := range now.Heartbeat.Listeners {
		told[l.Process] = l
	}
	paused := map[string]bool{}
	for _, name := range s.paused(a) {
		paused[name] = true
	}
	runs := func(c *Component) bool {
		d := s.state.active[s.environmentID(a.ID)][c.Project]
		return d != nil && slices.Contains(now.Heartbeat.Packages, s.state.packages[d.PackageID].SHA256)
	}
	all := []ListenerState{}
	for _, c := range s.deployedTo(a.ID) {
		l, known := told[c.Name]
		if !known && runs(c) {
			continue // it has no trigger
		}
		x := ListenerState{ProcessID: c.ID, ProcessName: c.Name, Kind: l.Kind, Wanted: Running, State: strings.ToUpper(l.State)}
		if paused[c.Name] {
			x.Wanted = Paused
		}
		all = append(all, x)
	}
	return all, nil
}
