package deploy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/clierror"
	"valence/internal/wire"
	"valence/processes"
	"valence/processes/loader"
)

// change is a file or process that a deployment would change.
type change struct {
	What string `json:"what"` // added, changed, removed
	Kind string `json:"kind"` // file, process
	Name string `json:"name"`
}

// compare prints the changes that the deployment would make.
func (r *rollout) compare(ctx context.Context) error {
	next, nextProject, err := r.content(ctx, r.pack, r.archive)
	if err != nil {
		return err
	}
	all, packs, err := r.deployments(ctx, r.environment.ID, r.project)
	if err != nil {
		return err
	}
	var current deploymentRef
	for _, d := range all {
		if d.Active {
			current = d
		}
	}
	var before map[string][]byte
	var beforeProject *processes.Project
	if current.ID != "" {
		if before, beforeProject, err = r.content(ctx, packs[current.Package], nil); err != nil {
			return err
		}
		if err := r.loadResults(ctx, &current); err != nil {
			return err
		}
	}
	changes := append(fileChanges(before, next), processChanges(beforeProject, nextProject)...)
	targets, err := r.targets(ctx)
	if err != nil {
		return err
	}
	describeTargets(targets, current)
	if r.c.JSON {
		return r.printJSON(map[string]any{
			"project": r.project, "version": r.version, "package": r.pack.SHA256, "environment": r.environment.Name,
			"deployed": packs[current.Package].SHA256, "deployed_version": packs[current.Package].Version, "changes": changes, "atoms": targets,
		})
	}
	r.printChanges(changes, targets, current.ID != "", packs[current.Package].Version)
	return r.checkConflicts(ctx, nextProject)
}

// printChanges prints the changes and the state of the atoms.
func (r *rollout) printChanges(changes []change, targets []target, replaces bool, version string) {
	from := "new in this environment"
	if replaces {
		from = "replaces " + version
	}
	r.progress("%s %s to %s, %s", r.project, r.version, r.environment.Name, from)
	for _, x := range changes {
		r.progress("  %-8s %-8s %s", x.What, x.Kind, x.Name)
	}
	if len(changes) == 0 {
		r.progress("  no changes")
	}
	for _, a := range targets {
		online := "online"
		if !a.Online {
			online = "offline, deploys it when back"
		}
		r.progress("  on %s, %s: %s", a.Name, online, a.Detail)
	}
	if len(targets) == 0 {
		r.progress("  no atom is attached to %s", r.environment.Name)
	}
	r.progress("dry run: nothing was changed")
}

// checkConflicts returns an error if another project of the environment has a
// process of the same name. The control plane would reject the deployment.
func (r *rollout) checkConflicts(ctx context.Context, next *processes.Project) error {
	deployed, err := client.Query[struct {
		Process string `json:"componentId"`
		Active  bool   `json:"active"`
	}](ctx, r.p, "DeployedPackage", client.Equal{Property: "environmentId", Value: r.environment.ID})
	if err != nil {
		return err
	}
	all, err := client.Query[struct{ ID, Name, Project string }](ctx, r.p, "Process")
	if err != nil {
		return err
	}
	for _, x := range all {
		for _, d := range deployed {
			if d.Active && d.Process == x.ID && x.Project != r.project && next.Processes[x.Name] != nil {
				return clierror.Invalid("rename one of them", "the deployment would be rejected: the project %s in %s also has a process %s", x.Project, r.environment.Name, x.Name)
			}
		}
	}
	return nil
}

// describeTargets sets state and detail of each target to its state for the
// current deployment.
func describeTargets(targets []target, current deploymentRef) {
	states := map[string]string{}
	for _, x := range current.Atoms {
		states[x.Atom] = x.State
	}
	for i := range targets {
		a := &targets[i]
		switch state := states[a.Atom]; {
		case current.ID == "":
			a.State, a.Detail = "", "does not run the project"
		case state == "active":
			a.State, a.Detail = state, "runs "+current.Version
		case state == "":
			a.State, a.Detail = "pending", "has not deployed "+current.Version+" yet"
		default:
			a.State, a.Detail = state, "did not keep "+current.Version+" ("+strings.ReplaceAll(state, "_", " ")+"), runs the previous version"
		}
	}
}

// content returns the files and the project of a package. With a nil archive
// the package is downloaded.
func (r *rollout) content(ctx context.Context, pack packageRef, archive []byte) (map[string][]byte, *processes.Project, error) {
	const seeLog = "read the log of the control plane"
	if archive == nil {
		var err error
		if archive, err = r.p.Call(ctx, http.MethodGet, "Package/"+pack.ID+"/archive", nil, nil, nil); err != nil {
			return nil, nil, err
		}
		if wire.PackageID(archive) != pack.SHA256 {
			return nil, nil, clierror.Failed(seeLog, "the downloaded package %s is damaged", pack.SHA256[:12])
		}
	}
	files, err := wire.Unpack(archive)
	if err != nil {
		return nil, nil, clierror.Failed(seeLog, "%v", err)
	}
	content := map[string][]byte{}
	sources := make([]processes.File, len(files))
	for i, f := range files {
		content[f.Name] = f.Content
		sources[i] = processes.File{Name: f.Name, Content: f.Content}
	}
	p, problems := loader.Load(sources, project.Catalog())
	if problems.HasErrors() {
		return nil, nil, errors.Join(clierror.Failed("use the version of valence that created it", "the package %s has errors for this version of valence", pack.SHA256[:12]), problems)
	}
	return content, p, nil
}

func fileChanges(before, next map[string][]byte) []change {
	var all []change
	for name, content := range next {
		if old, ok := before[name]; !ok {
			all = append(all, change{"added", "file", name})
		} else if !bytes.Equal(old, content) {
			all = append(all, change{"changed", "file", name})
		}
	}
	for name := range before {
		if _, ok := next[name]; !ok {
			all = append(all, change{"removed", "file", name})
		}
	}
	return sorted(all)
}

// processChanges compares the hashes of processes, which include the profiles
// and processes they use.
func processChanges(before, next *processes.Project) []change {
	var all []change
	if before == nil {
		before = &processes.Project{}
	}
	for name, p := range next.Processes {
		if old := before.Processes[name]; old == nil {
			all = append(all, change{"added", "process", name})
		} else if old.Hash != p.Hash {
			all = append(all, change{"changed", "process", name})
		}
	}
	for name := range before.Processes {
		if next.Processes[name] == nil {
			all = append(all, change{"removed", "process", name})
		}
	}
	return sorted(all)
}

func sorted(all []change) []change {
	slices.SortFunc(all, func(a, b change) int { return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.What, b.What)) })
	return all
}
