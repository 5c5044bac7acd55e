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

// Troubled returns the number of atoms with problems.
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
	e, err := c.Service.Environments.Create(v.Context(), v.p, cloud.Environment{Name: v.PostForm.Get("name"), Classification: v.PostForm.Get("classification")})
	if err != nil {
		return nil, err
	}
	return see(environmentPath(e.ID), "made")
}

// environmentData is the page of an environment.
type environmentData struct {
	*place
	Rows     []*row
	Pages    pages
	History  []pastDeployment
	Fields   []cloud.Extension
	Packages []cloud.Package // deployable packages
	Field    cloud.Extension // the field being edited
	Percent  string

	Listening map[string]listenCount // by deployment
}

// pastDeployment is a replaced deployment.
type pastDeployment struct {
	cloud.Deployment
	Package cloud.Package
}

// Limits of the lists on the page of an environment.
const (
	maxHistory  = 20
	maxPackages = 200
)

func (c *console) environment(v *visit) (*answer, error) {
	e, err := c.Service.Environments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	at := f.places[e.ID]
	if at == nil { // it was created a moment ago
		at = &place{}
	}
	at = &place{Environment: e, Atoms: at.Atoms, Online: at.Online, Deployments: at.Deployments}
	d := &environmentData{place: at, Percent: strconv.FormatFloat(e.Policy.RollbackRate*100, 'f', -1, 64)}
	listening := c.listening(v, at.Atoms)
	d.Listening = map[string]listenCount{}
	for _, o := range at.Deployments {
		d.Listening[o.ID] = listening[o.Package.Project]
	}
	rows := slices.Clone(at.Atoms)
	slices.SortStableFunc(rows, worstFirst)
	d.Rows, d.Pages = cutPage(rows, v.URL)
	if d.History, err = c.history(v, e.ID); err != nil {
		return nil, err
	}
	if d.Fields, err = c.Service.Environments.Extensions(v.Context(), v.p, e.ID); err != nil {
		return nil, err
	}
	d.Field.Name = v.URL.Query().Get("field")
	for _, x := range d.Fields {
		if x.Name == d.Field.Name {
			d.Field = x
		}
	}
	if v.may("deployment.create") {
		if d.Packages, err = c.Service.Packages.List(v.Context(), v.p); err != nil {
			return nil, err
		}
		d.Packages = d.Packages[:min(len(d.Packages), maxPackages)]
	}
	return &answer{page: "environment", title: e.Name, data: d, every: liveEvery}, nil
}

// worstFirst orders atoms by severity, then by name.
func worstFirst(a, b *row) int {
	return cmp.Or(b.Worst()-a.Worst(), cmp.Compare(a.Name, b.Name))
}

// history returns the past deployments, newest first.
func (c *console) history(v *visit, environment string) ([]pastDeployment, error) {
	all, err := c.Service.Deployments.List(v.Context(), v.p)
	if err != nil {
		return nil, err
	}
	var past []pastDeployment
	for _, d := range all {
		if d.EnvironmentID != environment || d.Active || len(past) == maxHistory {
			continue
		}
		x, err := c.Service.Packages.Get(v.Context(), v.p, d.PackageID)
		if err != nil {
			return nil, err
		}
		past = append(past, pastDeployment{d, x})
	}
	return past, nil
}

func (c *console) setPolicy(v *visit) (*answer, error) {
	e, err := c.Service.Environments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	p := e.Policy
	percent, err := strconv.ParseFloat(strings.TrimSpace(v.PostForm.Get("percent")), 64)
	if err != nil {
		return nil, &cloud.InvalidError{Field: "percent", Message: "must be a number from 0 to 100"}
	}
	p.RollbackRate = percent / 100
	if p.RollbackMinutes, err = strconv.Atoi(cmp.Or(strings.TrimSpace(v.PostForm.Get("minutes")), "0")); err != nil {
		return nil, &cloud.InvalidError{Field: "minutes", Message: "must be a whole number"}
	}
	p.SendDocuments, p.ShortPoll = v.PostForm.Get("documents") != "", v.PostForm.Get("short") != ""
	if _, err := c.Service.Environments.SetPolicy(v.Context(), v.p, e.ID, p); err != nil {
		return nil, err
	}
	return see(environmentPath(e.ID)+"#policy", "policy")
}

// setField sets or removes a value or a secret. Neither URLs nor logs contain
// the value.
func (c *console) setField(v *visit) (*answer, error) {
	name := strings.TrimSpace(v.PostForm.Get("name"))
	if name != "" && !strings.Contains(name, ".") {
		name = "env." + name
	}
	x := cloud.Extension{Name: name, Set: v.PostForm.Get("remove") == "", Value: lines(v.PostForm.Get("value"))}
	if strings.HasPrefix(name, "secret.") {
		x.Value = strings.TrimRight(x.Value, "\n") // the line end of a pasted value
	}
	if err := c.Service.Environments.SetExtensions(v.Context(), v.p, v.PathValue("id"), []cloud.Extension{x}); err != nil {
		return nil, err
	}
	return see(environmentPath(v.PathValue("id"))+"#values", map[bool]string{true: "set", false: "removed"}[x.Set])
}

// askRemoveField asks for confirmation, because a removed secret cannot be shown
// or restored.
func (c *console) askRemoveField(v *visit) (*answer, error) {
	e, err := c.Service.Environments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	name := v.URL.Query().Get("field")
	all, err := c.Service.Environments.Extensions(v.Context(), v.p, e.ID)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(x cloud.Extension) bool { return x.Name == name && x.Set })
	if i < 0 {
		return nil, &cloud.Error{Kind: cloud.ErrNotFound, Text: fmt.Sprintf("%q is not set in %s", cut(100, name), e.Name)}
	}
	what := []string{"Atoms then look it up in the package and on their own machines. If it is set nowhere, the next version cannot start."}
	if all[i].Secret {
		what = append(what, "It is a secret: its value cannot be shown or restored.")
	}
	return confirm("Remove "+name+" from "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID) + "#values", What: what, Action: environmentPath(e.ID) + "/fields",
		Fields: map[string]string{"name": name, "remove": "1"}, Button: "Remove " + name, Danger: true,
	})
}

func (c *console) askDeleteEnvironment(v *visit) (*answer, error) {
	e, err := c.Service.Environments.Get(v.Context(), v.p, v.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return confirm("Delete "+e.Name+"?", &confirmation{
		Crumb: e.Name, CrumbHref: environmentPath(e.ID), Name: e.Name, Action: environmentPath(e.ID) + "/delete",
		What:   []string{"This deletes the environment with its values, its secrets and its deployment history. No atom may be attached to it. Packages remain."},
		Button: "Delete " + e.Name, Type: e.Name, Danger: true,
	})
}

func (c *console) deleteEnvironment(v *visit) (*answer, error) {
	e, err := c.Service.Environments.Get(v.Context(), v.p, v.PathValue("id"))
	if err == nil {
		err = typed(v, e.Name)
	}
	if err == nil {
		err = c.Service.Environments.Delete(v.Context(), v.p, e.ID)
	}
	if err != nil {
		return nil, err
	}
	return see("/environments", "deleted")
}
