package console

import (
	"fmt"
	"net/url"
	"slices"

	"valence/cloud"
)

// deploymentData is the result of a deployment on every atom.
type deploymentData struct {
	*rollout
	Environment cloud.Environment
	Others      []cloud.Environment // environments it can be promoted to
	State       string
	Results     []resultRow
	Pages       pages
	Listening   listenCount
	Processes   []string // the first ones, by name
}

// resultRow is the result of a deployment on one atom.
type resultRow struct {
	Atom   cloud.Atom
	Result *cloud.DeploymentResult // nil: not reported yet
}

// State returns the reported state as shown.
func (r resultRow) State() string {
	if r.Result == nil {
		return "pending"
	}
	return r.Result.State
}

func (r resultRow) order() int {
	return map[string]int{"failed": 0, "rolled_back": 1, "pending": 2, "active": 3}[r.State()]
}

func (c *console) deployment(v *visit) (*answer, error) {
	x, err := c.Service.Deployments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &deploymentData{rollout: &rollout{Deployment: x}, State: v.URL.Query().Get("state")}
	if d.Package, err = c.Service.Packages.Get(v.Context(), v.p, x.PackageID); err != nil {
		return nil, err
	}
	if d.Environment, err = c.Service.Environments.Get(v.Context(), v.p, x.EnvironmentID); err != nil {
		return nil, err
	}
	if d.Processes, err = c.processes(v, &d.Package); err != nil {
		return nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	if at := f.places[x.EnvironmentID]; at != nil && x.Active {
		d.Listening = c.listening(v, at.Atoms)[d.Package.Project]
	}
	d.Others = slices.DeleteFunc(slices.Clone(f.environments), func(e cloud.Environment) bool { return e.ID == x.EnvironmentID })
	told := map[string]*cloud.DeploymentResult{}
	for i := range x.Results {
		told[x.Results[i].AtomID] = &x.Results[i]
	}
	var all []resultRow
	for _, a := range f.rows {
		r := told[a.ID]
		if r == nil && (!x.Active || a.Environment == nil || a.Environment.ID != x.EnvironmentID) {
			continue
		}
		row := resultRow{a.Atom, r}
		d.count(row.State())
		if d.State == "" || d.State == row.State() {
			all = append(all, row)
		}
	}
	slices.SortStableFunc(all, func(a, b resultRow) int { return a.order() - b.order() })
	d.Results, d.Pages = cutPage(all, v.URL)
	return &answer{page: "deployment", title: d.Package.Project + " " + d.Package.Version + " in " + d.Environment.Name, data: d, every: liveEvery}, nil
}

func (o *rollout) count(state string) {
	switch state {
	case "active":
		o.Fine++
	case "rolled_back":
		o.Back++
	case "pending":
		o.Pending++
	default:
		o.Failed++
	}
}

// askDeploy lists the changes of a deployment before it is made. It serves
// rollback and promotion.
func (c *console) askDeploy(v *visit) (*answer, error) {
	q := v.URL.Query()
	e, err := c.Service.Environments.Get(v.Context(), v.p, q.Get("environment"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Packages.Get(v.Context(), v.p, q.Get("package"))
	if err != nil {
		return nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	at := f.places[e.ID]
	if at == nil {
		at = &place{Environment: e}
	}
	what := []string{fmt.Sprintf("%s %s, packed %s by %s, will be deployed to %s.", x.Project, x.Version, x.Created.UTC().Format("2006-01-02 15:04 UTC"), x.By,
		plural(len(at.Atoms), "atom", "atoms"))}
	if at.Online < len(at.Atoms) {
		what = append(what, plural(len(at.Atoms)-at.Online, "atom is", "atoms are")+" offline and will receive it after reconnecting.")
	}
	signed := len(x.Statement) > 0
	for _, o := range at.Deployments {
		if o.Package.Project != x.Project {
			continue
		}
		if o.PackageID == x.ID {
			what = append(what, "This version is already deployed there.")
		} else {
			what = append(what, fmt.Sprintf("It replaces %s, which was deployed %s by %s. Running executions finish on the version they started with.",
				o.Package.Version, o.Created.UTC().Format("2006-01-02 15:04 UTC"), o.By))
		}
		signed = signed || len(o.Statement) > 0
	}
	if signed {
		what = append(what, "Earlier versions were signed by a publisher. Atoms that require signatures accept only versions signed for this environment with a higher serial number, which the console cannot create: "+
			"use valence deploy --sign instead.")
	}
	what = append(what, "An atom on which it cannot start keeps its current version and reports the failure.")
	return confirm("Deploy "+x.Project+" "+x.Version+" to "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID) + "#deployments", Name: e.Name, What: what, Action: "/deploy",
		Fields: map[string]string{"environment": e.ID, "package": x.ID}, Button: "Deploy to " + e.Name, Danger: e.Classification == cloud.Production,
	})
}

func (c *console) deploy(v *visit) (*answer, error) {
	d, err := c.Service.Deployments.Deploy(v.Context(), v.p, cloud.Deployment{EnvironmentID: v.PostForm.Get("environment"), PackageID: v.PostForm.Get("package"),
		ListenerStatus: v.PostForm.Get("listeners"), Notes: v.PostForm.Get("notes")})
	if err != nil {
		return nil, err
	}
	return see("/deployments/"+url.PathEscape(d.ID), "deployed")
}

func (c *console) askUndeploy(v *visit) (*answer, error) {
	d, err := c.Service.Deployments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Packages.Get(v.Context(), v.p, d.PackageID)
	if err != nil {
		return nil, err
	}
	e, err := c.Service.Environments.Get(v.Context(), v.p, d.EnvironmentID)
	if err != nil {
		return nil, err
	}
	path := "/deployments/" + url.PathEscape(d.ID)
	return confirm("Remove "+x.Project+" from "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: path, Name: x.Project, Action: path + "/undeploy",
		What:   []string{"Its listeners and schedules stop on every atom of the environment. Running executions finish. The package remains and can be deployed again."},
		Button: "Take " + x.Project + " out", Type: x.Project, Danger: true,
	})
}

func (c *console) undeploy(v *visit) (*answer, error) {
	d, err := c.Service.Deployments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Packages.Get(v.Context(), v.p, d.PackageID)
	if err == nil {
		err = typed(v, x.Project)
	}
	if err == nil {
		err = c.Service.Deployments.Undeploy(v.Context(), v.p, d.ID)
	}
	if err != nil {
		return nil, err
	}
	return see(environmentPath(d.EnvironmentID)+"#deployments", "undeployed")
}
