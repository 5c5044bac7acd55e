package console

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/cloud"
)

// listenersData is the state of the triggers of many atoms.
type listenersData struct {
	Environments               []cloud.Environment
	Environment, Process, Mode string // filter
	Names                      []string
	Rows                       []listenerRow
	Pages                      pages
	Back                       string
	Running, Paused, Differ    int
	Untold                     int // atoms that have not reported them
}

// listenerRow is the trigger of a process on an atom.
type listenerRow struct {
	Atom *row
	cloud.TriggerState
}

// Settled reports whether the reported state equals the desired one.
func (r listenerRow) Settled() bool { return r.State == "" || r.State == r.Wanted }

func (c *console) listeners(v *visit) (*answer, error) {
	begin := time.Now()
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	q := v.URL.Query()
	d := &listenersData{Environments: f.environments, Environment: q.Get("environment"), Process: strings.TrimSpace(q.Get("process")), Mode: q.Get("state"), Back: v.URL.RequestURI()}
	var all []listenerRow
	names := map[string]bool{}
	for _, r := range f.rows {
		if d.Environment != "" && (r.Environment == nil || r.Environment.ID != d.Environment) {
			continue
		}
		told, err := c.Service.Triggers.States(v.Context(), v.p, r.ID)
		if err != nil {
			continue // removed meanwhile
		}
		for _, l := range told {
			x := listenerRow{r, l}
			names[l.ProcessName] = true
			if d.Process != "" && l.ProcessName != d.Process {
				continue
			}
			if d.count(x); d.wants(x) {
				all = append(all, x)
			}
		}
	}
	for name := range names {
		if d.Names = append(d.Names, name); len(d.Names) == maxProcesses {
			break
		}
	}
	slices.Sort(d.Names)
	slices.SortStableFunc(all, func(a, b listenerRow) int { return a.order() - b.order() })
	d.Rows, d.Pages = cutPage(all, v.URL)
	return &answer{page: "listeners", title: "Listeners", data: d, every: max(liveEvery, fleetShare*time.Since(begin))}, nil
}

// order returns the sort key: triggers that differ from their desired state
// first, then paused ones.
func (r listenerRow) order() int {
	switch {
	case !r.Settled():
		return 0
	case r.Wanted == cloud.Paused:
		return 1
	}
	return 2
}

func (d *listenersData) count(r listenerRow) {
	switch {
	case r.State == "":
		d.Untold++
	case !r.Settled():
		d.Differ++
	case r.Wanted == cloud.Paused:
		d.Paused++
	default:
		d.Running++
	}
}

func (d *listenersData) wants(r listenerRow) bool {
	switch d.Mode {
	case "running":
		return r.State == cloud.Running && r.Settled()
	case "paused":
		return r.Settled() && r.Wanted == cloud.Paused // also if the atom has not reported yet
	case "differs":
		return !r.Settled()
	}
	return true
}

// listenCount counts the triggers of a project on the atoms of an environment.
type listenCount struct{ Running, Paused int }

// Total returns the number of triggers.
func (n listenCount) Total() int { return n.Running + n.Paused }

// Status returns RUNNING or PAUSED if all are, and "" if they differ or there
// are none.
func (n listenCount) Status() string {
	switch {
	case n.Total() == 0:
		return ""
	case n.Paused == 0:
		return cloud.Running
	case n.Running == 0:
		return cloud.Paused
	}
	return ""
}

// listening counts triggers by project, as their atoms last reported them.
// Triggers that were not reported yet are in their desired state.
func (c *console) listening(v *visit, atoms []*row) map[string]listenCount {
	all := map[string]listenCount{}
	for _, r := range atoms {
		told, err := c.Service.Triggers.States(v.Context(), v.p, r.ID)
		if err != nil {
			continue // removed meanwhile
		}
		for _, l := range told {
			n := all[l.Project]
			if cmp.Or(l.State, l.Wanted) == cloud.Paused {
				n.Paused++
			} else {
				n.Running++
			}
			all[l.Project] = n
		}
	}
	return all
}

// verbs describes the actions on listeners.
var verbs = map[string]struct{ title, what string }{
	"pause":   {"Pause", "It starts no executions until it is resumed: callers are rejected and schedules skip their times. Running executions continue."},
	"resume":  {"Resume", "It starts executions again."},
	"restart": {"Restart", "It is stopped and started again. Running executions continue."},
}

// atomsWith returns the atoms of an environment on which a process has a
// trigger.
func (c *console) atomsWith(v *visit, environment, process string) (e cloud.Environment, ids map[string]string, err error) {
	if e, err = c.Service.Environments.Get(v.Context(), v.p, environment); err != nil {
		return e, nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return e, nil, err
	}
	ids = map[string]string{}
	if at := f.places[e.ID]; at != nil {
		for _, r := range at.Atoms {
			told, err := c.Service.Triggers.States(v.Context(), v.p, r.ID)
			if err != nil {
				continue // removed meanwhile
			}
			for _, l := range told {
				if l.ProcessName == process {
					ids[r.ID] = l.ProcessID
				}
			}
		}
	}
	if len(ids) == 0 {
		return e, nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: fmt.Sprintf("no atom of %s has a listener for %q", e.Name, cut(100, process))}
	}
	return e, ids, nil
}

// askListeners shows the number of affected atoms.
func (c *console) askListeners(v *visit) (*answer, error) {
	q := v.URL.Query()
	verb, known := verbs[q.Get("action")]
	if !known {
		return nil, &cloud.InvalidError{Field: "action", Message: "must be pause, resume or restart"}
	}
	process := q.Get("process")
	e, ids, err := c.atomsWith(v, q.Get("environment"), process)
	if err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%s %s on %s of %s", verb.title, cut(80, process), plural(len(ids), "atom", "atoms"), e.Name)
	return confirm(title+"?", &confirmation{
		Crumb: "Listeners", CrumbHref: "/listeners?environment=" + url.QueryEscape(e.ID), Action: "/listeners",
		What:   []string{verb.what, "Offline atoms do so after reconnecting."},
		Fields: map[string]string{"environment": e.ID, "process": process, "action": q.Get("action")}, Button: verb.title, Danger: q.Get("action") == "pause",
	})
}

// changeListeners changes the trigger of a process on every atom of an
// environment. If it is interrupted, repeating it completes the rest.
func (c *console) changeListeners(v *visit) (*answer, error) {
	action := v.PostForm.Get("action")
	if _, known := verbs[action]; !known {
		return nil, &cloud.InvalidError{Field: "action", Message: "must be pause, resume or restart"}
	}
	e, ids, err := c.atomsWith(v, v.PostForm.Get("environment"), v.PostForm.Get("process"))
	if err != nil {
		return nil, err
	}
	for atom, process := range ids {
		if err := c.Service.Triggers.Change(v.Context(), v.p, atom, process, action); err != nil {
			return nil, err
		}
	}
	return see("/listeners?environment="+url.QueryEscape(e.ID)+"&process="+url.QueryEscape(v.PostForm.Get("process")), action)
}
