package console

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/cloud"
)

// listenersData is how the triggers of many atoms stand.
type listenersData struct {
	Environments               []cloud.Environment
	Environment, Process, Mode string // what is looked for
	Names                      []string
	Rows                       []listenerRow
	Pages                      pages
	Back                       string
	Running, Paused, Differ    int
	Untold                     int // the atom has not told how they stand
}

// listenerRow is the trigger of a process on an atom.
type listenerRow struct {
	Atom *row
	cloud.ListenerState
}

// Settled reports whether it is as it is to be, as far as the atom has told.
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
		told, err := c.Service.Listeners(v.Context(), v.p, r.ID)
		if err != nil {
			continue // it went since
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

// order has those first that are not as they are to be, then those that are paused.
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
		return r.Settled() && r.Wanted == cloud.Paused // also where the atom has not told
	case "differs":
		return !r.Settled()
	}
	return true
}

// verbs are what can be done to listeners, in words.
var verbs = map[string]struct{ title, what string }{
	"pause":   {"Pause", "It starts no execution until it is resumed: callers are refused, schedules leave their times out. What runs goes on."},
	"resume":  {"Resume", "It starts executions again."},
	"restart": {"Restart", "It is stopped and started again. What runs goes on."},
}

// atomsWith lists the atoms of an environment where a process has a trigger.
func (c *console) atomsWith(v *visit, environment, process string) (e cloud.Environment, ids map[string]string, err error) {
	if e, err = c.Service.Environment(v.Context(), v.p, environment); err != nil {
		return e, nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return e, nil, err
	}
	ids = map[string]string{}
	if at := f.places[e.ID]; at != nil {
		for _, r := range at.Atoms {
			told, err := c.Service.Listeners(v.Context(), v.p, r.ID)
			if err != nil {
				continue // it went since
			}
			for _, l := range told {
				if l.ProcessName == process {
					ids[r.ID] = l.ProcessID
				}
			}
		}
	}
	if len(ids) == 0 {
		return e, nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: fmt.Sprintf("no atom of %s has a listener of %q", e.Name, cut(100, process))}
	}
	return e, ids, nil
}

// askListeners shows how many atoms something would be done to.
func (c *console) askListeners(v *visit) (*answer, error) {
	q := v.URL.Query()
	verb, known := verbs[q.Get("action")]
	if !known {
		return nil, &cloud.InvalidError{Field: "action", Message: "is pause, resume or restart"}
	}
	process := q.Get("process")
	e, ids, err := c.atomsWith(v, q.Get("environment"), process)
	if err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%s %s on %s of %s", verb.title, cut(80, process), plural(len(ids), "atom", "atoms"), e.Name)
	return confirm(title+"?", &confirmation{
		Crumb: "Listeners", CrumbHref: "/listeners?environment=" + url.QueryEscape(e.ID), Action: "/listeners",
		What:   []string{verb.what, "An atom that is away does so when it is back."},
		Fields: map[string]string{"environment": e.ID, "process": process, "action": q.Get("action")}, Button: verb.title, Danger: q.Get("action") == "pause",
	})
}

// changeListeners does something to the trigger of a process on every atom of
// an environment. Where it breaks off, the same again does the rest.
func (c *console) changeListeners(v *visit) (*answer, error) {
	action := v.PostForm.Get("action")
	if _, known := verbs[action]; !known {
		return nil, &cloud.InvalidError{Field: "action", Message: "is pause, resume or restart"}
	}
	e, ids, err := c.atomsWith(v, v.PostForm.Get("environment"), v.PostForm.Get("process"))
	if err != nil {
		return nil, err
	}
	for atom, process := range ids {
		if err := c.Service.ChangeListener(v.Context(), v.p, atom, process, action); err != nil {
			return nil, err
		}
	}
	return see("/listeners?environment="+url.QueryEscape(e.ID)+"&process="+url.QueryEscape(v.PostForm.Get("process")), action)
}
