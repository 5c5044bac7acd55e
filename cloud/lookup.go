package cloud

import (
	"slices"
	"sort"
	"strings"
)

// The lookups below need core.writing or core.mu.
//
// atomNamed returns the atom with a name that is not revoked, or nil.
func (st *state) atomNamed(account, name string) *Atom {
	for _, a := range st.atoms {
		if a.Account == account && a.Name == name && !a.Revoked {
			return a
		}
	}
	return nil
}

// environmentID returns the environment an atom is attached to, or "".
func (st *state) environmentID(atom string) string {
	if at := st.attachmentOf[atom]; at != nil {
		return at.EnvironmentID
	}
	return ""
}

// environmentOf returns the environment an atom is attached to, or nil.
func (st *state) environmentOf(atom string) *Environment {
	if at := st.attachmentOf[atom]; at != nil {
		return st.environments[at.EnvironmentID]
	}
	return nil
}

// generation returns the generation of an atom's desired state.
func (st *state) generation(a *Atom) int64 {
	n := a.Revision
	if e := st.environmentOf(a.ID); e != nil {
		n = max(n, e.Revision)
	}
	return n
}

// environment returns an account's environment with an id or name, or nil.
func (st *state) environment(account, name string) *Environment {
	if e := st.environments[name]; e != nil && e.Account == account {
		return e
	}
	for _, e := range st.environments {
		if e.Account == account && strings.EqualFold(e.Name, name) {
			return e
		}
	}
	return nil
}

// checkProcessNames returns a conflict if another project in the environment
// has a process of the same name, because atoms identify processes by name.
func (st *state) checkProcessNames(e *Environment, x *Package) error {
	names := map[string]bool{}
	for _, id := range x.Components {
		if c := st.components[id]; c != nil {
			names[c.Name] = true
		}
	}
	for project, d := range st.activeIn[e.ID] {
		if project == x.Project {
			continue
		}
		for _, id := range st.packages[d.PackageID].Components {
			if c := st.components[id]; c != nil && names[c.Name] {
				return conflict("the project %s in %s also has a process %s: process names must be unique on an atom, so rename one of them", project, e.Name, c.Name)
			}
		}
	}
	return nil
}

// deployedProcess returns the component if an active deployment brings it to
// the atom, or nil.
func (st *state) deployedProcess(atom, component string) *Component {
	c := st.components[component]
	at := st.attachmentOf[atom]
	if c == nil || at == nil {
		return nil
	}
	d := st.activeIn[at.EnvironmentID][c.Project]
	if d == nil || !slices.Contains(st.packages[d.PackageID].Components, component) {
		return nil
	}
	return c
}

// processID returns the id of the process deployed to an atom under a name, or
// "".
func (st *state) processID(atom, name string) string {
	at := st.attachmentOf[atom]
	if at == nil {
		return ""
	}
	for _, d := range st.activeIn[at.EnvironmentID] {
		for _, id := range st.packages[d.PackageID].Components {
			if c := st.components[id]; c != nil && c.Name == name {
				return id
			}
		}
	}
	return ""
}

// processesOf returns the processes deployed to an atom, by name.
func (st *state) processesOf(atom string) []*Component {
	at := st.attachmentOf[atom]
	if at == nil {
		return nil
	}
	var all []*Component
	for _, d := range st.activeIn[at.EnvironmentID] {
		for _, id := range st.packages[d.PackageID].Components {
			if c := st.components[id]; c != nil {
				all = append(all, c)
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// pausedProcesses returns the names of the processes of an atom whose triggers
// must be paused.
func (st *state) pausedProcesses(a *Atom) []string {
	at := st.attachmentOf[a.ID]
	if at == nil {
		return nil
	}
	var names []string
	for _, d := range st.activeIn[at.EnvironmentID] {
		for _, id := range st.packages[d.PackageID].Components {
			c := st.components[id]
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

// switchRevisions returns, by process, the revision in which an operator paused
// or resumed its trigger on an atom, or in which a deployment paused it.
func (st *state) switchRevisions(a *Atom) map[string]int64 {
	all := map[string]int64{}
	for _, c := range st.processesOf(a.ID) {
		d := st.activeIn[st.environmentID(a.ID)][c.Project]
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

// processNamed returns the id of the process with a name: the one deployed to
// the atom, or any packaged one, or "".
func (st *state) processNamed(p Principal, a *Atom, name string) (id string) {
	for _, c := range st.components {
		if c.Account != p.Account || c.Name != name {
			continue
		}
		if id = c.ID; st.deployedProcess(a.ID, id) != nil {
			return id
		}
	}
	return id
}

// owned returns the value with an id if it belongs to the account, or nil.
func owned[T any](m map[string]*T, id, account string, of func(*T) string) *T {
	if v := m[id]; v != nil && of(v) == account {
		return v
	}
	return nil
}
