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

// atomData is the page of an atom.
type atomData struct {
	*row
	Processes  []processRow
	Rollouts   []atomRollout
	Records    []*cloud.ExecutionRecord
	Places     []cloud.Environment // environments it can be attached to
	Attachment string
	Lines      []wire.LogLine
	Asked      bool // the log was requested
}

// processRow is a process deployed to an atom, with its trigger.
type processRow struct {
	cloud.Component
	Deployed string               // version
	Listener *cloud.TriggerState  // nil: no trigger
	Schedule *cloud.ScheduleState // nil: no schedule
}

// Settled reports whether the trigger is in its desired state.
func (p processRow) Settled() bool {
	return p.Listener == nil || p.Listener.State == "" || p.Listener.State == p.Listener.Wanted
}

// atomRollout is the result of a deployment on one atom.
type atomRollout struct {
	*rollout
	Result *cloud.DeploymentResult // nil: not reported yet
}

func (c *console) atom(v *visit) (*answer, error) {
	d, err := c.atomPage(v)
	if err != nil {
		return nil, err
	}
	return &answer{page: "atom", title: d.Name, data: d, every: liveEvery}, nil
}

func (c *console) atomPage(v *visit) (*atomData, error) {
	x, err := c.Service.Fleet.Atom(v.Context(), v.p, v.PathValue("id"))
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
	if d.Records, _, err = c.Service.Executions.Records(v.Context(), v.p, cloud.RecordFilter{AtomID: x.ID}, cloud.Cursor{}, 10); err != nil {
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
	all, err := c.Service.Deployments.AtomProcesses(v.Context(), v.p, d.ID)
	if err != nil {
		return err
	}
	listeners, err := c.Service.Triggers.States(v.Context(), v.p, d.ID)
	if err != nil {
		return err
	}
	schedules, err := c.Service.Triggers.Schedules(v.Context(), v.p, d.ID)
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
		if i := slices.IndexFunc(listeners, func(l cloud.TriggerState) bool { return l.ProcessID == x.ID }); i >= 0 {
			p.Listener = &listeners[i]
		}
		d.Processes = append(d.Processes, p)
	}
	return nil
}

func here(id string) string { return "/atoms/" + url.PathEscape(id) }

// atomLog requests the last lines of an atom's log. The audit log records the
// request, so it is a form and not a link.
func (c *console) atomLog(v *visit) (*answer, error) {
	lines, err := c.Service.Fleet.AtomLog(v.Context(), v.p, v.PathValue("id"), 300)
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
	if err := c.Service.Triggers.Change(v.Context(), v.p, id, v.PostForm.Get("process"), action); err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(action, "_")
	if back := localPath(v.PostForm.Get("back")); back != "/" {
		return see(back, verb)
	}
	return see(here(id)+"#processes", verb)
}

func (c *console) renameAtom(v *visit) (*answer, error) {
	_, err := c.Service.Fleet.RenameAtom(v.Context(), v.p, v.PathValue("id"), strings.TrimSpace(v.PostForm.Get("name")))
	if err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "renamed")
}

func (c *console) attach(v *visit) (*answer, error) {
	_, err := c.Service.Fleet.AttachAtom(v.Context(), v.p, v.PathValue("id"), v.PostForm.Get("environment"))
	if err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "attached")
}

// confirmation is a page that explains an action before it is carried out.
type confirmation struct {
	Crumb, CrumbHref string
	Name             string // of the affected object
	What             []string
	Action           string // path of the form
	Fields           map[string]string
	Button           string
	Type             string // text to type, "" for none
	Danger           bool
}

func confirm(title string, d *confirmation) (*answer, error) {
	return &answer{page: "confirm", title: title, data: d}, nil
}

// typed checks the text that confirms an irreversible action.
func typed(v *visit, name string) error {
	if strings.TrimSpace(v.PostForm.Get("typed")) != strings.TrimSpace(name) {
		return &cloud.InvalidError{Message: fmt.Sprintf("to confirm, type the name %s; nothing was changed", name)}
	}
	return nil
}

func (c *console) atomToConfirm(v *visit, what string, action cloud.Action) (*confirmation, error) {
	x, err := c.Service.Fleet.Atom(v.Context(), v.p, v.PathValue("id"))
	if err == nil && x.Revoked {
		err = &cloud.Error{Kind: cloud.ErrConflict, Text: "the atom is already revoked"}
	}
	return &confirmation{Crumb: x.Name, CrumbHref: here(x.ID), Name: x.Name, Action: here(x.ID) + "/" + what}, errors.Join(err, v.p.Allow(action))
}

func (c *console) askRevoke(v *visit) (*answer, error) {
	d, err := c.atomToConfirm(v, "revoke", "atom.delete")
	if err != nil {
		return nil, err
	}
	d.What = []string{
		"All requests of this atom are rejected. Its keys stop working; to return, it must join again.",
		"Its processes keep running until the atom is stopped on its machine: the control plane cannot reach it. For an orderly stop, retire it first and revoke it afterwards.",
		"Undelivered requests end with an error.",
		"If the machine was stolen, rotate the secrets of its environment: the machine holds them.",
	}
	d.Button, d.Type, d.Danger = "Revoke "+d.Name, d.Name, true
	return confirm("Revoke "+d.Name+"?", d)
}

func (c *console) revoke(v *visit) (*answer, error) {
	x, err := c.Service.Fleet.Atom(v.Context(), v.p, v.PathValue("id"))
	if err == nil {
		err = typed(v, x.Name)
	}
	if err == nil {
		err = c.Service.Fleet.RevokeAtom(v.Context(), v.p, x.ID)
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
		"The atom leaves its environment, finishes and reports its running work, unloads everything deployed by this control plane, and stops polling.",
		"This happens at its next poll. Revoke it afterwards, so that its keys stop working.",
	}
	d.Button, d.Danger = "Retire "+d.Name, true
	return confirm("Retire "+d.Name+"?", d)
}

func (c *console) retire(v *visit) (*answer, error) {
	if err := c.Service.Fleet.RetireAtom(v.Context(), v.p, v.PathValue("id")); err != nil {
		return nil, err
	}
	return see(here(v.PathValue("id")), "retired")
}

func (c *console) askDetach(v *visit) (*answer, error) {
	d, err := c.atomToConfirm(v, "detach", "attachment.delete")
	if err != nil {
		return nil, err
	}
	d.What = []string{"Everything deployed to its environment stops on this atom. Afterwards, attach it to another environment or to the same one again."}
	d.Button, d.Danger = "Detach "+d.Name, true
	return confirm("Detach "+d.Name+" from its environment?", d)
}

func (c *console) detach(v *visit) (*answer, error) {
	x, err := c.Service.Fleet.Atom(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	all, err := c.Service.Fleet.Attachments(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(at cloud.Attachment) bool { return at.AtomID == x.ID })
	if i < 0 {
		return nil, &cloud.Error{Kind: cloud.ErrConflict, Text: "the atom is not attached to an environment"}
	}
	if err := c.Service.Fleet.DetachAtom(v.Context(), v.p, all[i].ID); err != nil {
		return nil, err
	}
	return see(here(x.ID), "detached")
}
