package deploy

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"valence/internal/cli/client"
	"valence/internal/clierror"
)

// packageRef is a package of the platform API.
type packageRef struct {
	ID      string `json:"packageId"`
	Version string `json:"packageVersion"`
	SHA256  string `json:"sha256"`
	Project string `json:"project"`
	Created string `json:"createdDate"`
}

// deploymentRef is a deployment of the platform API.
type deploymentRef struct {
	ID      string       `json:"deploymentId"`
	Package string       `json:"packageId"`
	Version string       `json:"packageVersion"`
	Active  bool         `json:"active"`
	Wanted  string       `json:"listenerStatus"` // of its triggers
	At      time.Time    `json:"deployedDate"`
	Atoms   []atomResult `json:"atomResult"`
}

// atomResult is the result of a deployment on one atom.
type atomResult struct {
	Atom   string    `json:"atomId"`
	State  string    `json:"state"`
	Detail string    `json:"detail"`
	At     time.Time `json:"date"`
}

// seeDeployments is the hint for projects that are not deployed.
const seeDeployments = "valence cloud deployments, to list what is deployed"

// resolve finds the environment and, if one is named, the uploaded package.
func (r *rollout) resolve(ctx context.Context) error {
	var err error
	if r.environment, err = r.findEnvironment(ctx, r.c.Environment); err != nil {
		return err
	}
	switch {
	case r.c.Package != "":
		r.pack, err = r.findPackage(ctx, r.c.Package)
	case r.c.FromEnvironment != "":
		r.pack, err = r.deployedPackage(ctx, r.c.FromEnvironment)
	case r.c.Rollback:
		r.pack, err = r.previousPackage(ctx)
	}
	r.project, r.version = r.pack.Project, r.pack.Version
	return err
}

// findEnvironment returns the environment with a name or id.
func (r *rollout) findEnvironment(ctx context.Context, name string) (object, error) {
	all, err := client.Query[object](ctx, r.p, "Environment")
	if err != nil {
		return object{}, err
	}
	var names []string
	for _, e := range all {
		if e.Name == name || e.ID == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	if len(names) == 0 {
		return object{}, clierror.Invalid("valence cloud environments make "+name+", or use a token for that environment", "this token has access to no environments, and so not to %s", name)
	}
	slices.Sort(names)
	return object{}, clierror.Invalid("--environment "+strings.Join(names, ", or --environment "), "there is no environment %s to which this token has access", name)
}

// packages returns the packages of the account, oldest first.
func (r *rollout) packages(ctx context.Context) ([]packageRef, error) {
	found, err := client.Query[packageRef](ctx, r.p, "PackagedComponent")
	seen := map[string]bool{}
	var list []packageRef
	for _, x := range found { // the API lists a package once for each process
		if !seen[x.ID] {
			seen[x.ID] = true
			list = append(list, x)
		}
	}
	return list, err
}

// minDigest is the number of digits of a SHA-256 that select a package.
const minDigest = 8

// findPackage returns the newest package with an id, or with a SHA-256 that
// starts with id.
func (r *rollout) findPackage(ctx context.Context, id string) (packageRef, error) {
	all, err := r.packages(ctx)
	if err != nil {
		return packageRef{}, err
	}
	var found []packageRef
	for _, x := range all {
		matches := x.ID == id || len(id) >= minDigest && strings.HasPrefix(x.SHA256, strings.ToLower(id))
		if matches && (r.c.Project == "" || x.Project == r.c.Project) && (r.c.Version == "" || x.Version == r.c.Version) {
			found = append(found, x)
		}
	}
	switch {
	case len(found) == 0:
		return packageRef{}, clierror.Invalid("use the SHA-256 of an uploaded package, or its first 8 digits", "there is no package %s", id)
	case found[0].SHA256 != found[len(found)-1].SHA256:
		return packageRef{}, clierror.Invalid("use more of its digits", "several packages start with %s", id)
	}
	return found[len(found)-1], nil
}

// deployments returns the deployments to an environment, oldest first, and all
// packages by id. An empty project stands for all projects.
func (r *rollout) deployments(ctx context.Context, environment string, project string) ([]deploymentRef, map[string]packageRef, error) {
	packs, err := r.packages(ctx)
	if err != nil {
		return nil, nil, err
	}
	byID := map[string]packageRef{}
	for _, x := range packs {
		byID[x.ID] = x
	}
	found, err := client.Query[deploymentRef](ctx, r.p, "DeployedPackage", client.Equal{Property: "environmentId", Value: environment})
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	var list []deploymentRef
	for _, d := range found { // the API lists a deployment once for each process
		if !seen[d.ID] && (project == "" || byID[d.Package].Project == project) {
			seen[d.ID] = true
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(a, b deploymentRef) int { return a.At.Compare(b.At) })
	return list, byID, nil
}

// loadResults replaces d with the deployment including its results on atoms.
func (r *rollout) loadResults(ctx context.Context, d *deploymentRef) error {
	_, err := r.p.Call(ctx, http.MethodGet, "DeployedPackage/"+d.ID, nil, nil, d)
	return err
}

// deployedPackage returns the package that is deployed to an environment.
func (r *rollout) deployedPackage(ctx context.Context, environment string) (packageRef, error) {
	e, err := r.findEnvironment(ctx, environment)
	if err != nil {
		return packageRef{}, err
	}
	all, packs, err := r.deployments(ctx, e.ID, r.c.Project)
	if err != nil {
		return packageRef{}, err
	}
	var active []packageRef
	var names []string
	for _, d := range all {
		if d.Active {
			active = append(active, packs[d.Package])
			names = append(names, packs[d.Package].Project)
		}
	}
	switch {
	case len(active) == 0 && r.c.Project != "":
		return packageRef{}, clierror.Invalid(seeDeployments, "the project %s is not deployed to %s", r.c.Project, e.Name)
	case len(active) == 0:
		return packageRef{}, clierror.Invalid("valence deploy DIR --environment "+e.Name+" --version V first", "nothing is deployed to %s", e.Name)
	case len(active) > 1:
		return packageRef{}, clierror.Usage("--project "+strings.Join(names, ", or --project "), "%s has several projects", e.Name)
	}
	return active[0], nil
}

// previousPackage returns the newest earlier package that ran on an atom of the
// environment. Packages that failed or were rolled back everywhere are skipped.
func (r *rollout) previousPackage(ctx context.Context) (packageRef, error) {
	all, packs, err := r.deployments(ctx, r.environment.ID, r.c.Project)
	if err != nil {
		return packageRef{}, err
	}
	current, skipped := "", []string{}
	seen := map[string]bool{}
	for _, d := range slices.Backward(all) {
		if current == "" {
			if d.Active {
				current, seen[d.Package] = d.Package, true
			}
			continue
		}
		if d.Package == current {
			continue
		}
		if err := r.loadResults(ctx, &d); err != nil {
			return packageRef{}, err
		}
		if slices.ContainsFunc(d.Atoms, func(x atomResult) bool { return x.State == "active" }) {
			if len(skipped) > 0 {
				r.progress("skipped   %s", strings.Join(skipped, ", "))
			}
			r.progress("back to   %s %s", packs[d.Package].Project, packs[d.Package].Version)
			return packs[d.Package], nil
		}
		if !seen[d.Package] {
			seen[d.Package] = true
			skipped = append(skipped, packs[d.Package].Version+" ("+describeStates(d.Atoms)+")")
		}
	}
	const deployAny = "--package SHA256, to deploy any uploaded package"
	switch {
	case current == "":
		return packageRef{}, clierror.Invalid("valence cloud deployments --all, and --package SHA256", "the project %s is not deployed to %s", r.c.Project, r.environment.Name)
	case len(skipped) > 0:
		return packageRef{}, clierror.Invalid(deployAny, "no earlier version of %s has run on an atom of %s: %s", r.c.Project, r.environment.Name, strings.Join(skipped, ", "))
	}
	return packageRef{}, clierror.Invalid(deployAny, "no earlier version of %s was deployed to %s", r.c.Project, r.environment.Name)
}

// describeStates returns the different states of a deployment on its atoms.
func describeStates(atoms []atomResult) string {
	states := map[string]bool{}
	for _, x := range atoms {
		states[strings.ReplaceAll(x.State, "_", " ")] = true
	}
	if len(states) == 0 {
		return "no atom has reported it"
	}
	return strings.Join(slices.Sorted(maps.Keys(states)), ", ")
}
