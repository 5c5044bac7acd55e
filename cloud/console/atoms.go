package console

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"valence/cloud"
	"valence/internal/wire"
)

// atomData is what the page of an atom shows.
type atomData struct {
	*row
	Processes  []processRow
	Rollouts   []atomRollout
	Records    []*cloud.ExecutionRecord
	Places     []cloud.Environment // that it can be attached to
	Attachment string
	Lines      []wire.LogLine
	Asked      bool // for its log
}

// processRow is a process that is deployed to an atom, and its trigger.
type processRow struct {
	cloud.Component
	Deployed string               // version
	Listener *cloud.ListenerState // nil: it has no trigger
	Schedule *cloud.ScheduleState // nil: it has none
}

// Settled reports whether the trigger is as it is to be.
func (p processRow) Settled() bool {
	return p.Listener == nil || p.Listener.State == "" || p.Listener.State == p.Listener.Wanted
}

// atomRollout is what became of a deployment on one atom.
type atomRollout struct {
	*rollout
	Result *cloud.DeploymentResult // nil: it has told nothing yet
}

func (c *console) atom(v *visit) (*answer, error) {
	d, err := c.atomPage(v)
	if err != nil {
		return nil, err
	}
	return &answer{page: "atom", title: d.Name, data: d, every: liveEvery}, nil
}

func (c *console) atomPage(v *visit) (*atomData, error) {
	x, err := c.Service.Atom(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &atomData{row: &row{Atom: x}}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	if known := f.byAtom[x.ID]; known != nil {
		d.Environment = known.Environment
		d.Troubles = known.Troubles
	}
	if d.Environment != nil {
		d.Rollouts = rolloutsOn(f.places[d.Environment.ID], x.ID)
	}
	if err := c.atomProcesses(v, d); err != nil {
		return nil, err
	}
	if d.Records, _, err = c.Service.Records(v.Context(), v.p, cloud.RecordFilter{AtomID: x.ID}, cloud.Place{}, 10); err != nil {
		return nil, err
	}
	if !x.Revoked && v.may("attachment.create") {
		d.Places = f.environments
	}
	return d, nil
}

func rolloutsOn(at *place, atom string) []atomRollout {
	var all []atomRollout
	for _, o := range at.Deployments {
		a := atomRollout{rollout: o}
		if r, known := o.told[atom]; known {
			a.Result = &r
		}
		all = append(all, a)
	}
	return all
}

func (c *console) atomProcesses(v *visit, d *atomData) error {
	all, err := c.Service.AtomProcesses(v.Context(), v.p, d.ID)
	if err != nil {
		return err
	}
	listeners, err := c.Service.Listeners(v.Context(), v.p, d.ID)
	if err != nil {
		return err
	}
	schedules, err := c.Service.Schedules(v.Context(), v.p, d.ID)
	if err != nil {
		return err
	}
	versions := map[string]string{}
	for _, o := range d.Rollouts {
		versions[o.Package.Project] = o.Package.Version
	}
	for _, x := range all {
		p := processRow{Component: x, Deployed: versions[x.Project]}
		if i := slices.IndexFunc(schedules, func(s cloud.ScheduleState) bool { return s.ProcessID == x.ID && s.Cron != "" }); i >= 0 {
			p.Schedule = &schedules[i]
		}
		if i := slices.IndexFunc(listeners, func(l cloud.ListenerState) bool { return l.ProcessID == x.ID }); i >= 0 {
			p.Listener = &listeners[i]
		}
		d.Processes = append(d.Processes, p)
	}
	return nil
}

func here(id string) string { return "/atoms/" + url.PathEscape(id) }

// atomLog asks for the last lines of the log. The audit log has who asked, so
// it is a form and no link.
func (c *console) atomLog(v *visit) (*answer, error) {
	lines, err := c.Service.AtomLog(v.Context(), v.p, v.PathValue("id"), 300)
	if err != nil {
		return nil, err
	}
	d, err := c.atomPage(v)
	if err != nil {
		return nil, err
	}
	d.Lines, d.Asked = lines, true
	return &answer{page: "atom", title: d.Name, data: d}, nil
}

// listener pauses, resumes or restarts triggers of an atom.
func (c *console) listener(v *visit) (*answer, error) {
	id, action := v.PathValue("id"), v.PostForm.Get("action")
	if err := c.Service.ChangeListener(v.Context(), v.p, id, v.PostForm.Get("process"), action); err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(action, "_")
	if back := localPath(v.PostForm.Get("back")); back != "/" {
		return see(back, verb)
	}
	return see(here(id)+"#processes", verb)
}

func (c *console) renameAtom(v *visit) (*answer, error) {
	_, err := c.Service.RenameAtom(v.Context(), v.p, v.PathValue("id"), strings.TrimSpace(v.PostForm.Get("name")))
	if err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "renamed")
}

func (c *console) attach(v *visit) (*answer, error) {
	_, err := c.Service.AttachAtom(v.Context(), v.p, v.PathValue("id"), v.PostForm.Get("environment"))
	if err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "attached")
}

// confirmation is a page that tells what something means before it is done.
type confirmation struct {
	Crumb, CrumbHref string
	Name             string // of what it is done to
	What             []string
	Action           string // path of the form
	Fields           map[string]string
	Button           string
	Type             string // what is to be typed, "" for nothing
	Danger           bool
}

func confirm(title string, d *confirmation) (*answer, error) {
	return &answer{page: "confirm", title: title, data: d}, nil
}

// typed holds what was typed against what is to be typed before something is
// done that cannot be taken back.
func typed(v *visit, name string) error {
	if strings.TrimSpace(v.PostForm.Get("typed")) != strings.TrimSpace(name) {
		return &cloud.InvalidError{Message: fmt.Sprintf("type the name, %s, to confirm; nothing was done", name)}
	}
	return nil
}

func (c *console) atomToConfirm(v *visit, what string, action cloud.Action) (*confirmation, error) {
	x, err := c.Service.Atom(v.Context(), v.p, v.PathValue("id"))
	if err == nil && x.Revoked {
		err = &cloud.Error{Kind: cloud.ErrConflict, Text: "the atom was revoked already"}
	}
	return &confirmation{Crumb: x.Name, CrumbHref: here(x.ID), Name: x.Name, Action: here(x.ID) + "/" + what}, errors.Join(err, v.p.Allow(action))
}

func (c *console) askRevoke(v *visit) (*answer, error) {
	d, err := c.atomToConfirm(v, "revoke", "atom.delete")
	if err != nil {
		return nil, err
	}
	d.What = []string{
		"From now on, no request of this atom is answered. It cannot come back with its keys; it has to join again.",
		"What it runs goes on until somebody stops it on its machine: the control plane cannot reach it. To stop it in good order, retire it instead, and revoke it afterwards.",
		"Requests that it has not taken yet end as errors.",
		"If the machine was stolen, set the secrets of its environment anew: it has them.",
	}
	d.Button, d.Type, d.Danger = "Revoke "+d.Name, d.Name, true
	return confirm("Revoke "+d.Name+"?", d)
}

func (c *console) revoke(v *visit) (*answer, error) {
	x, err := c.Service.Atom(v.Context(), v.p, v.PathValue("id"))
	if err == nil {
		err = typed(v, x.Name)
	}
	if err == nil {
		err = c.Service.RevokeAtom(v.Context(), v.p, x.ID)
	}
	if err != nil {
		return nil, err
	}
	return see("/", "revoked")
}

func (c *console) askRetire(v *visit) (*answer, error) {
	d, err := c.atomToConfirm(v, "retire", "atom.delete")
	if err != nil {
		return nil, err
	}
	d.What = []string{
		"The atom leaves its environment, finishes and reports what it has taken on, runs nothing of this control plane any more, and stops asking.",
		"It does so when it asks next. Revoke it afterwards, so that its keys are good for nothing.",
	}
	d.Button, d.Danger = "Retire "+d.Name, true
	return confirm("Retire "+d.Name+"?", d)
}

func (c *console) retire(v *visit) (*answer, error) {
	if err := c.Service.RetireAtom(v.Context(), v.p, v.PathValue("id")); err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "retired")
}

func (c *console) askDetach(v *visit) (*answer, error) {
	d, err := c.atomToConfirm(v, "detach", "attachment.delete")
	if err != nil {
		return nil, err
	}
	d.What = []string{"What is deployed to its environment stops on this atom. Attach it to another environment afterwards, or to the same again."}
	d.Button, d.Danger = "Detach "+d.Name, true
	return confirm("Detach "+d.Name+" from its environment?", d)
}

func (c *console) detach(v *visit) (*answer, error) {
	x, err := c.Service.Atom(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	all, err := c.Service.Attachments(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(at cloud.Attachment) bool { return at.AtomID == x.ID })
	if i < 0 {
		return nil, &cloud.Error{Kind: cloud.ErrConflict, Text: "the atom is in no environment"}
	}
	if err := c.Service.DetachAtom(v.Context(), v.p, all[i].ID); err != nil {
		return nil, err
	}
	return see(here(x.ID), "detached")
}
