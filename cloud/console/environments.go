package console

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"valence/cloud"
)

func environmentPath(id string) string { return "/environments/" + url.PathEscape(id) }

// environmentsData is the list of environments.
type environmentsData struct{ Places []*place }

// Troubled counts atoms that something is wrong with.
func (p *place) Troubled() int {
	n := 0
	for _, r := range p.Atoms {
		if len(r.Troubles) > 0 {
			n++
		}
	}
	return n
}

func (c *console) environments(v *visit) (*answer, error) {
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	d := &environmentsData{}
	for _, e := range f.environments {
		d.Places = append(d.Places, f.places[e.ID])
	}
	return &answer{page: "environments", title: "Environments", data: d, every: liveEvery}, nil
}

func (c *console) createEnvironment(v *visit) (*answer, error) {
	e, err := c.Service.CreateEnvironment(v.Context(), v.p, cloud.Environment{Name: v.PostForm.Get("name"), Classification: v.PostForm.Get("classification")})
	if err != nil {
		return nil, err
	}
	return see(environmentPath(e.ID), "made")
}

// environmentData is what the page of an environment shows.
type environmentData struct {
	*place
	Rows     []*row
	Pages    pages
	History  []pastDeployment
	Fields   []cloud.Extension
	Packages []cloud.Package // that can be deployed to it
	Field    cloud.Extension // that is about to be set
	Percent  string
}

// pastDeployment is one that was replaced.
type pastDeployment struct {
	cloud.Deployment
	Package cloud.Package
}

// Bounds of what the page of an environment lists.
const (
	maxHistory  = 20
	maxPackages = 200
)

func (c *console) environment(v *visit) (*answer, error) {
	e, err := c.Service.Environment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	at := f.places[e.ID]
	if at == nil { // it was made a moment ago
		at = &place{}
	}
	at = &place{Environment: e, Atoms: at.Atoms, Online: at.Online, Deployments: at.Deployments}
	d := &environmentData{place: at, Percent: strconv.FormatFloat(e.Policy.RollbackRate*100, 'f', -1, 64)}
	rows := slices.Clone(at.Atoms)
	slices.SortStableFunc(rows, worstFirst)
	d.Rows, d.Pages = cutPage(rows, v.URL)
	if d.History, err = c.history(v, e.ID); err != nil {
		return nil, err
	}
	if d.Fields, err = c.Service.Extensions(v.Context(), v.p, e.ID); err != nil {
		return nil, err
	}
	d.Field.Name = v.URL.Query().Get("field")
	for _, x := range d.Fields {
		if x.Name == d.Field.Name {
			d.Field = x
		}
	}
	if v.may("deployment.create") {
		if d.Packages, err = c.Service.Packages(v.Context(), v.p); err != nil {
			return nil, err
		}
		d.Packages = d.Packages[:min(len(d.Packages), maxPackages)]
	}
	return &answer{page: "environment", title: e.Name, data: d, every: liveEvery}, nil
}

// worstFirst orders atoms by what is wrong with them, then by name.
func worstFirst(a, b *row) int {
	return cmp.Or(b.Worst()-a.Worst(), cmp.Compare(a.Name, b.Name))
}

// history lists what was deployed before, newest first.
func (c *console) history(v *visit, environment string) ([]pastDeployment, error) {
	all, err := c.Service.Deployments(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	var past []pastDeployment
	for _, d := range all {
		if d.EnvironmentID != environment || d.Active || len(past) == maxHistory {
			continue
		}
		x, err := c.Service.Package(v.Context(), v.p, d.PackageID)
		if err != nil {
			return nil, err
		}
		past = append(past, pastDeployment{d, x})
	}
	return past, nil
}

func (c *console) setPolicy(v *visit) (*answer, error) {
	e, err := c.Service.Environment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	p := e.Policy
	percent, err := strconv.ParseFloat(strings.TrimSpace(v.PostForm.Get("percent")), 64)
	if err != nil {
		return nil, &cloud.InvalidError{Field: "percent", Message: "is a number from 0 to 100"}
	}
	p.RollbackRate = percent / 100
	if p.RollbackMinutes, err = strconv.Atoi(cmp.Or(strings.TrimSpace(v.PostForm.Get("minutes")), "0")); err != nil {
		return nil, &cloud.InvalidError{Field: "minutes", Message: "is a whole number"}
	}
	p.SendDocuments, p.ShortPoll = v.PostForm.Get("documents") != "", v.PostForm.Get("short") != ""
	if _, err := c.Service.SetPolicy(v.Context(), v.p, e.ID, p); err != nil {
		return nil, err
	}
	return see(environmentPath(e.ID)+"#policy", "policy")
}

// setField sets a value or a secret, or removes it. What is set is in no
// address and in no log.
func (c *console) setField(v *visit) (*answer, error) {
	name := strings.TrimSpace(v.PostForm.Get("name"))
	if name != "" && !strings.Contains(name, ".") {
		name = "env." + name
	}
	x := cloud.Extension{Name: name, Set: v.PostForm.Get("remove") == "", Value: lines(v.PostForm.Get("value"))}
	if strings.HasPrefix(name, "secret.") {
		x.Value = strings.TrimRight(x.Value, "\n") // a line that was pasted
	}
	if err := c.Service.SetExtensions(v.Context(), v.p, v.PathValue("id"), []cloud.Extension{x}); err != nil {
		return nil, err
	}
	return see(environmentPath(v.PathValue("id"))+"#values", map[bool]string{true: "set", false: "removed"}[x.Set])
}

// askRemoveField asks before a value goes: nobody could say what a secret was.
func (c *console) askRemoveField(v *visit) (*answer, error) {
	e, err := c.Service.Environment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	name := v.URL.Query().Get("field")
	all, err := c.Service.Extensions(v.Context(), v.p, e.ID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(x cloud.Extension) bool { return x.Name == name && x.Set })
	if i < 0 {
		return nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: fmt.Sprintf("%q is not set in %s", cut(100, name), e.Name)}
	}
	what := []string{"Its atoms look for it in the package then, and on their own machines. Where it is nowhere, the next version does not start."}
	if all[i].Secret {
		what = append(what, "It is a secret: what it was cannot be shown or brought back.")
	}
	return confirm("Remove "+name+" from "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID) + "#values", What: what, Action: environmentPath(e.ID) + "/fields",
		Fields: map[string]string{"name": name, "remove": "1"}, Button: "Remove " + name, Danger: true,
	})
}

func (c *console) askDeleteEnvironment(v *visit) (*answer, error) {
	e, err := c.Service.Environment(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return confirm("Delete "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID), Name: e.Name, Action: environmentPath(e.ID) + "/delete",
		What:   []string{"The environment goes with its values, its secrets and the list of what was deployed to it. No atom may be attached to it. Packages stay."},
		Button: "Delete " + e.Name, Type: e.Name, Danger: true,
	})
}

func (c *console) deleteEnvironment(v *visit) (*answer, error) {
	e, err := c.Service.Environment(v.Context(), v.p, v.PathValue("id"))
	if err == nil {
		err = typed(v, e.Name)
	}
	if err == nil {
		err = c.Service.DeleteEnvironment(v.Context(), v.p, e.ID)
	}
	if err != nil {
		return nil, err
	}
	return see("/environments", "deleted")
}
