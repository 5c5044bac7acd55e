package console

import (
	"fmt"
	"net/url"
	"slices"

	"valence/cloud"
)

// deploymentData is what became of one deployment on every atom.
type deploymentData struct {
	*rollout
	Environment cloud.Environment
	Others      []cloud.Environment // that it can be promoted to
	State       string
	Results     []resultRow
	Pages       pages
}

// resultRow is what became of a deployment on one atom.
type resultRow struct {
	Atom   cloud.Atom
	Result *cloud.DeploymentResult // nil: it has told nothing yet
}

// State is what the atom told, in the word that is shown.
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
	x, err := c.Service.Deployment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	d := &deploymentData{rollout: &rollout{Deployment: x}, State: v.URL.Query().Get("state")}
	if d.Package, err = c.Service.Package(v.Context(), v.p, x.PackageID); err != nil {
		return nil, err
	}
	if d.Environment, err = c.Service.Environment(v.Context(), v.p, x.EnvironmentID); err != nil {
		return nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
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

// askDeploy shows what a deployment would change before it is made. It is how
// one goes back to an older version, and how one is promoted.
func (c *console) askDeploy(v *visit) (*answer, error) {
	q := v.URL.Query()
	e, err := c.Service.Environment(v.Context(), v.p, q.Get("environment"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Package(v.Context(), v.p, q.Get("package"))
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
	what := []string{fmt.Sprintf("%s %s, packed %s by %s, goes to %s.", x.Project, x.Version, x.Created.UTC().Format("2006-01-02 15:04 UTC"), x.By,
		plural(len(at.Atoms), "atom", "atoms"))}
	if at.Online < len(at.Atoms) {
		what = append(what, plural(len(at.Atoms)-at.Online, "atom is", "atoms are")+" away, and takes it when it is back.")
	}
	signed := len(x.Statement) > 0
	for _, o := range at.Deployments {
		if o.Package.Project != x.Project {
			continue
		}
		if o.PackageID == x.ID {
			what = append(what, "It is the version that is deployed there now.")
		} else {
			what = append(what, fmt.Sprintf("It replaces %s, which was deployed %s by %s. What runs ends on the version it started with.",
				o.Package.Version, o.Created.UTC().Format("2006-01-02 15:04 UTC"), o.By))
		}
		signed = signed || len(o.Statement) > 0
	}
	if signed {
		what = append(what, "Versions were signed by a publisher. An atom that asks for signatures takes only what is signed for this environment with a higher serial, which the console cannot do: "+
			"use valence deploy with --sign for those.")
	}
	what = append(what, "An atom where it does not start goes on with the version it has, and says so.")
	return confirm("Deploy "+x.Project+" "+x.Version+" to "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID) + "#deployments", Name: e.Name, What: what, Action: "/deploy",
		Fields: map[string]string{"environment": e.ID, "package": x.ID}, Button: "Deploy to " + e.Name, Danger: e.Classification == cloud.Production,
	})
}

func (c *console) deploy(v *visit) (*answer, error) {
	d, err := c.Service.Deploy(v.Context(), v.p, cloud.Deployment{EnvironmentID: v.PostForm.Get("environment"), PackageID: v.PostForm.Get("package"),
		ListenerStatus: v.PostForm.Get("listeners"), Notes: v.PostForm.Get("notes")})
	if err != nil {
		return nil, err
	}
	return see("/deployments/"+url.PathEscape(d.ID), "deployed")
}

func (c *console) askUndeploy(v *visit) (*answer, error) {
	d, err := c.Service.Deployment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Package(v.Context(), v.p, d.PackageID)
	if err != nil {
		return nil, err
	}
	e, err := c.Service.Environment(v.Context(), v.p, d.EnvironmentID)
	if err != nil {
		return nil, err
	}
	path := "/deployments/" + url.PathEscape(d.ID)
	return confirm("Take "+x.Project+" out of "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: path, Name: x.Project, Action: path + "/undeploy",
		What:   []string{"Its listeners and schedules stop on every atom of the environment. What runs ends. The package stays and can be deployed again."},
		Button: "Take " + x.Project + " out", Type: x.Project, Danger: true,
	})
}

func (c *console) undeploy(v *visit) (*answer, error) {
	d, err := c.Service.Deployment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x, err := c.Service.Package(v.Context(), v.p, d.PackageID)
	if err == nil {
		err = typed(v, x.Project)
	}
	if err == nil {
		err = c.Service.Undeploy(v.Context(), v.p, d.ID)
	}
	if err != nil {
		return nil, err
	}
	return see(environmentPath(d.EnvironmentID)+"#deployments", "undeployed")
}
