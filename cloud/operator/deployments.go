package operator

import (
	"time"

	"valence/cloud"
)

type deploymentView struct {
	ID             string       `json:"id"`
	Environment    string       `json:"environment"` // name
	Package        string       `json:"package"`
	Project        string       `json:"project"`
	Version        string       `json:"version"`
	SHA256         string       `json:"sha256"`
	Notes          string       `json:"notes,omitempty"`
	By             string       `json:"by"`
	Created        time.Time    `json:"created"`
	Active         bool         `json:"active"`
	ListenerStatus string       `json:"listener_status"`
	Results        []resultView `json:"results"`
}

type resultView struct {
	Atom   string    `json:"atom"`           // id
	Name   string    `json:"name,omitempty"` // of the atom, while it exists
	State  string    `json:"state"`          // a state of wire.DeploymentReport
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

func (a *api) deploymentView(c *call, d cloud.Deployment) (deploymentView, error) {
	x, err := a.service.Packages.Get(c.Context(), c.p, d.PackageID)
	v := deploymentView{d.ID, a.environmentName(c, d.EnvironmentID), d.PackageID, x.Project, x.Version, x.SHA256, d.Notes, d.By, d.Created, d.Active, d.ListenerStatus, []resultView{}}
	for _, r := range d.Results {
		name := ""
		if atom, err := a.service.Fleet.Atom(c.Context(), c.p, r.AtomID); err == nil {
			name = atom.Name
		}
		v.Results = append(v.Results, resultView{r.AtomID, name, r.State, r.Detail, r.At})
	}
	return v, err
}

// deployments lists deployments with their results on each atom.
func (a *api) deployments(c *call) (any, error) {
	all, err := a.service.Deployments.List(c.Context(), c.p)
	if err != nil {
		return nil, err
	}
	views := []deploymentView{}
	for _, d := range all {
		if c.FormValue("active") == "true" && !d.Active {
			continue
		}
		if d, err = a.service.Deployments.Get(c.Context(), c.p, d.ID); err != nil {
			return nil, err
		}
		v, err := a.deploymentView(c, d)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return map[string]any{"deployments": views}, nil
}

func (a *api) deployment(c *call) (any, error) {
	d, err := a.service.Deployments.Get(c.Context(), c.p, c.vars["id"])
	if err != nil {
		return nil, err
	}
	return a.deploymentView(c, d)
}

// undeploy deactivates a deployment.
func (a *api) undeploy(c *call) (any, error) {
	return nil, a.service.Deployments.Undeploy(c.Context(), c.p, c.vars["id"])
}

// attach puts an atom into an environment.
func (a *api) attach(c *call) (any, error) {
	var in struct{ Environment string }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	_, err := a.service.Fleet.AttachAtom(c.Context(), c.p, c.vars["id"], in.Environment)
	return nil, err
}

// detach removes an atom from its environment, if it has one.
func (a *api) detach(c *call) (any, error) {
	x, err := a.service.Fleet.Atom(c.Context(), c.p, c.vars["id"])
	if err != nil {
		return nil, err
	}
	all, err := a.service.Fleet.Attachments(c.Context(), c.p)
	if err != nil {
		return nil, err
	}
	for _, at := range all {
		if at.AtomID == x.ID {
			return nil, a.service.Fleet.DetachAtom(c.Context(), c.p, at.ID)
		}
	}
	return nil, nil
}
