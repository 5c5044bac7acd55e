package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"valence/internal/wire"
	"valence/processes"
)

// place is one atom of the environment, and how it stands.
type place struct {
	Atom   string `json:"atom"`
	Name   string `json:"name"`
	Online bool   `json:"online"`
	State  string `json:"state"` // pending, active, failed, rolled_back
	Detail string `json:"detail,omitempty"`
}

// places gives the atoms of the environment, by name.
func (r *rollout) places(ctx context.Context) ([]place, error) {
	attached, err := query[struct {
		Atom string `json:"atomId"`
	}](ctx, r.p, "EnvironmentAtomAttachment", where{"environmentId", r.environment.ID})
	if err != nil {
		return nil, err
	}
	atoms, err := query[named](ctx, r.p, "Atom")
	if err != nil {
		return nil, err
	}
	byID := map[string]named{}
	for _, a := range atoms {
		byID[a.ID] = a
	}
	var all []place
	for _, x := range attached {
		a := byID[x.Atom]
		all = append(all, place{Atom: x.Atom, Name: a.Name, Online: a.Status == "ONLINE", State: "pending"})
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all, nil
}

// followEvery is how often the control plane is asked how it goes on.
const followEvery = 300 * time.Millisecond

// follow tells how it goes on on each atom, until all have told or the time is over.
func (r *rollout) follow(ctx context.Context, id string) error {
	all, err := r.places(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		r.progress("no atom is attached to %s; one that joins takes it", r.environment.Name)
	}
	deadline := time.Now().Add(r.c.Wait)
	told := map[string]string{}
	for {
		var d deploymentRef
		if _, err := r.p.call(ctx, http.MethodGet, "DeployedPackage/"+id, nil, nil, &d); err != nil {
			return err
		}
		waiting := r.show(all, d.Atoms, told)
		if waiting == 0 || time.Now().After(deadline) {
			break
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return failed("valence deploy again: the same version is followed on", "interrupted; the deployment goes on")
		}
	}
	return r.outcome(id, all)
}

// show takes over what atoms have told, prints what is new, and gives how many
// that are there have not told anything.
func (r *rollout) show(all []place, results []atomResult, told map[string]string) (waiting int) {
	by := map[string]atomResult{}
	for _, x := range results {
		if old, ok := r.stale[x.Atom]; !ok || !old.At.Equal(x.At) || old.State != x.State {
			by[x.Atom] = x
		}
	}
	for i := range all {
		a := &all[i]
		if x, ok := by[a.Atom]; ok {
			a.State, a.Detail = x.State, x.Detail
		}
		if a.State == "pending" && a.Online {
			waiting++
		}
		if a.State != told[a.Atom] && a.State != "pending" {
			told[a.Atom] = a.State
			r.progress("%-9s %s%s", strings.ReplaceAll(a.State, "_", " "), a.Name, indented(a.Detail))
		}
	}
	return waiting
}

func indented(detail string) string {
	if detail == "" {
		return ""
	}
	return "\n    " + strings.ReplaceAll(strings.TrimSpace(detail), "\n", "\n    ")
}

// outcome sums up.
func (r *rollout) outcome(id string, all []place) error {
	active, bad, away, silent := 0, 0, 0, 0
	for _, a := range all {
		switch {
		case a.State == "active":
			active++
		case a.State != "pending":
			bad++
		case a.Online:
			silent++
		default:
			away++
		}
	}
	if r.c.JSON {
		if err := r.print(map[string]any{
			"deployment": id, "project": r.project, "version": r.version, "package": r.pack.SHA256, "environment": r.environment.Name, "atoms": all,
		}); err != nil {
			return err
		}
		if bad+silent > 0 {
			return reported{exitErrors}
		}
		return nil
	}
	if away > 0 {
		r.progress("%s away; what is deployed comes to them when they are back", plural(away, "atom is", "atoms are"))
	}
	switch {
	case bad > 0:
		return wrong("set what is missing, which is enough; or correct it and deploy a new version; or --rollback", "%s of %d did not take it; what ran there before goes on", plural(bad, "atom", "atoms"), len(all))
	case silent > 0:
		return wrong("--wait longer, or the logs of these atoms", "%s did not tell within %s what became of it", plural(silent, "atom", "atoms"), r.c.Wait)
	}
	if len(all) == 0 { // that was said before
		return nil
	}
	r.progress("%s %s runs on %s", r.project, r.version, plural(active, "atom", "atoms"))
	return nil
}

// change is what a dry run tells of one file or process.
type change struct {
	What string `json:"what"` // added, changed, removed
	Kind string `json:"kind"` // file, process
	Name string `json:"name"`
}

// compare tells what would change, without changing anything.
func (r *rollout) compare(ctx context.Context) error {
	next, nextProject, err := r.content(ctx, r.pack, r.archive)
	if err != nil {
		return err
	}
	all, packs, err := r.deployments(ctx, r.environment.ID, r.project)
	if err != nil {
		return err
	}
	var now deploymentRef
	for _, d := range all {
		if d.Active {
			now = d
		}
	}
	var before map[string][]byte
	var beforeProject *processes.Project
	if now.ID != "" {
		if before, beforeProject, err = r.content(ctx, packs[now.Package], nil); err != nil {
			return err
		}
		if _, err := r.p.call(ctx, http.MethodGet, "DeployedPackage/"+now.ID, nil, nil, &now); err != nil {
			return err
		}
	}
	changes := append(fileChanges(before, next), processChanges(beforeProject, nextProject)...)
	places, err := r.places(ctx)
	if err != nil {
		return err
	}
	r.standing(places, now)
	if r.c.JSON {
		return r.print(map[string]any{
			"project": r.project, "version": r.version, "package": r.pack.SHA256, "environment": r.environment.Name,
			"deployed": packs[now.Package].SHA256, "deployed_version": packs[now.Package].Version, "changes": changes, "atoms": places,
		})
	}
	from := "nothing is deployed there"
	if now.ID != "" {
		from = "in place of " + packs[now.Package].Version
	}
	r.progress("%s %s to %s, %s", r.project, r.version, r.environment.Name, from)
	for _, x := range changes {
		r.progress("  %-8s %-8s %s", x.What, x.Kind, x.Name)
	}
	if len(changes) == 0 {
		r.progress("  no file and no process changes")
	}
	for _, a := range places {
		online := "online"
		if !a.Online {
			online = "away: takes it when it is back"
		}
		r.progress("  on %s, %s: %s", a.Name, online, a.Detail)
	}
	if len(places) == 0 {
		r.progress("  no atom is attached to %s", r.environment.Name)
	}
	r.progress("nothing was changed")
	return r.clash(ctx, nextProject)
}

// clash tells that a process is of another project of the environment, too: the
// control plane would refuse the deployment.
func (r *rollout) clash(ctx context.Context, next *processes.Project) error {
	deployed, err := query[struct {
		Process string `json:"componentId"`
		Active  bool   `json:"active"`
	}](ctx, r.p, "DeployedPackage", where{"environmentId", r.environment.ID})
	if err != nil {
		return err
	}
	all, err := query[struct{ ID, Name, Project string }](ctx, r.p, "Process")
	if err != nil {
		return err
	}
	for _, x := range all {
		for _, d := range deployed {
			if d.Active && d.Process == x.ID && x.Project != r.project && next.Processes[x.Name] != nil {
				return wrong("rename one of them", "it would be refused: the project %s in %s has a process %s, too", x.Project, r.environment.Name, x.Name)
			}
		}
	}
	return nil
}

// standing tells for each atom what it runs of the project now.
func (r *rollout) standing(places []place, now deploymentRef) {
	by := map[string]string{}
	for _, x := range now.Atoms {
		by[x.Atom] = x.State
	}
	for i := range places {
		a := &places[i]
		switch state := by[a.Atom]; {
		case now.ID == "":
			a.State, a.Detail = "", "runs nothing of it"
		case state == "active":
			a.State, a.Detail = state, "runs "+now.Version
		case state == "":
			a.State, a.Detail = "pending", "has not taken "+now.Version+" yet"
		default:
			a.State, a.Detail = state, "did not keep "+now.Version+" ("+strings.ReplaceAll(state, "_", " ")+"), and runs the one before"
		}
	}
}

// content gives the files and the processes of a package.
func (r *rollout) content(ctx context.Context, pack packageRef, archive []byte) (map[string][]byte, *processes.Project, error) {
	if archive == nil {
		var err error
		if archive, err = r.p.call(ctx, http.MethodGet, "Package/"+pack.ID+"/archive", nil, nil, nil); err != nil {
			return nil, nil, err
		}
		if wire.PackageID(archive) != pack.SHA256 {
			return nil, nil, failed("the log of the control plane", "the package %s came altered", pack.SHA256[:12])
		}
	}
	files, err := wire.Unpack(archive)
	if err != nil {
		return nil, nil, failed("the log of the control plane", "%v", err)
	}
	content := map[string][]byte{}
	sources := make([]processes.File, len(files))
	for i, f := range files {
		content[f.Name] = f.Content
		sources[i] = processes.File{Name: f.Name, Content: f.Content}
	}
	project, problems := processes.Load(sources, catalog())
	if problems.HasErrors() {
		return nil, nil, errors.Join(failed("the program of the version that made it", "the package %s has errors for this program", pack.SHA256[:12]), problems)
	}
	return content, project, nil
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

// processChanges compares processes by their content: what they call and the
// profiles they use count, too.
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
	sort.Slice(all, func(i, j int) bool {
		return fmt.Sprint(all[i].Name, all[i].What) < fmt.Sprint(all[j].Name, all[j].What)
	})
	return all
}

func (r *rollout) print(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return printJSON(r.s.out, text)
}
