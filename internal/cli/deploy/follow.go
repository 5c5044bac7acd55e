package deploy

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"valence/internal/access"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/spec"
)

// deploy uploads the package, deploys it and follows the deployment.
func (r *rollout) deploy(ctx context.Context) error {
	if err := r.upload(ctx); err != nil {
		return err
	}
	if err := r.replay(ctx); err != nil {
		return err
	}
	body := map[string]any{"environmentId": r.environment.ID, "packageId": r.pack.ID, "notes": r.c.Notes}
	if r.c.Paused {
		body["listenerStatus"] = "PAUSED"
	}
	if r.c.SkipTests {
		body["testsSkipped"] = true
	}
	if err := r.sign(body); err != nil {
		return err
	}
	if r.c.Sign != "" || r.c.Paused { // the package may be deployed already, without signature or running
		if err := r.notePrevious(ctx); err != nil {
			return err
		}
	}
	var d deploymentRef
	if err := r.p.Post(ctx, "DeployedPackage", body, &d); err != nil {
		return err
	}
	r.progress("deployed  %s %s to %s", r.project, r.version, r.environment.Name)
	return r.follow(ctx, d.ID)
}

// upload uploads the archive, if there is one.
func (r *rollout) upload(ctx context.Context) error {
	if r.archive == nil {
		return nil
	}
	q := url.Values{"project": {r.project}, "version": {r.version}}
	if r.c.Notes != "" {
		q.Set("notes", r.c.Notes)
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if _, err := r.p.Call(ctx, http.MethodPost, "Package/upload?"+q.Encode(), r.archive, header, &r.pack); err != nil {
		return err
	}
	r.progress("uploaded  %s %s  %s  %s", r.project, r.version, r.pack.SHA256[:12], spec.FormatSize(int64(len(r.archive))))
	return nil
}

// notePrevious stores the results of the same package before this rollout, so
// that follow does not report them as new.
func (r *rollout) notePrevious(ctx context.Context) error {
	all, err := client.Query[deploymentRef](ctx, r.p, "DeployedPackage", client.Equal{Property: "environmentId", Value: r.environment.ID}, client.Equal{Property: "packageId", Value: r.pack.ID})
	if err != nil {
		return err
	}
	r.previous = map[string]atomResult{}
	for _, d := range all {
		if !d.Active || r.c.Sign == "" && d.Wanted == "PAUSED" { // unchanged, so atoms report nothing new
			continue
		}
		if err := r.loadResults(ctx, &d); err != nil {
			return err
		}
		for _, x := range d.Atoms {
			r.previous[x.Atom] = x
		}
	}
	return nil
}

// target is one atom of the environment with its state.
type target struct {
	Atom   string `json:"atom"`
	Name   string `json:"name"`
	Online bool   `json:"online"`
	State  string `json:"state"` // pending, active, failed, rolled_back
	Detail string `json:"detail,omitempty"`
}

// targets returns the atoms of the environment by name.
func (r *rollout) targets(ctx context.Context) ([]target, error) {
	attached, err := client.Query[struct {
		Atom string `json:"atomId"`
	}](ctx, r.p, "EnvironmentAtomAttachment", client.Equal{Property: "environmentId", Value: r.environment.ID})
	if err != nil {
		return nil, err
	}
	atoms, err := client.Query[object](ctx, r.p, "Atom")
	if err != nil {
		return nil, err
	}
	byID := map[string]object{}
	for _, a := range atoms {
		byID[a.ID] = a
	}
	var all []target
	for _, x := range attached {
		a := byID[x.Atom]
		all = append(all, target{Atom: x.Atom, Name: a.Name, Online: a.Status == "ONLINE", State: "pending"})
	}
	slices.SortFunc(all, func(a, b target) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// pollInterval is how often the state of the deployment is read.
const pollInterval = 300 * time.Millisecond

// follow prints the result on each atom until all online atoms have reported or
// the wait is over.
func (r *rollout) follow(ctx context.Context, id string) error {
	all, err := r.targets(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		r.progress("no atom is attached to %s; an atom that joins will run it", r.environment.Name)
	}
	deadline := time.Now().Add(r.c.Wait)
	printed := map[string]string{}
	for {
		d := deploymentRef{ID: id}
		if err := r.loadResults(ctx, &d); err != nil {
			return err
		}
		pending := r.update(all, d.Atoms, printed)
		if pending == 0 || time.Now().After(deadline) {
			break
		}
		if terminal.Sleep(ctx, pollInterval) != nil {
			return clierror.Failed("run the command again to follow the same version", "interrupted; the deployment continues")
		}
	}
	return r.printOutcome(id, all)
}

// update copies new results to the targets, prints changed states, and returns
// the number of online atoms that have not reported. printed holds the last
// printed state of each atom.
func (r *rollout) update(all []target, results []atomResult, printed map[string]string) (pending int) {
	latest := map[string]atomResult{}
	for _, x := range results {
		if old, ok := r.previous[x.Atom]; !ok || !old.At.Equal(x.At) || old.State != x.State {
			latest[x.Atom] = x
		}
	}
	for i := range all {
		a := &all[i]
		if x, ok := latest[a.Atom]; ok {
			a.State, a.Detail = x.State, x.Detail
		}
		if a.State == "pending" && a.Online {
			pending++
		}
		if a.State != printed[a.Atom] && a.State != "pending" {
			printed[a.Atom] = a.State
			detail := strings.TrimSpace(a.Detail)
			if detail != "" {
				detail = "\n" + terminal.Indent(detail)
			}
			r.progress("%-9s %s%s", strings.ReplaceAll(a.State, "_", " "), a.Name, detail)
		}
	}
	return pending
}

// printOutcome prints a summary. Atoms that failed or have not reported are an
// error.
func (r *rollout) printOutcome(id string, all []target) error {
	active, failed, offline, silent := 0, 0, 0, 0
	for _, a := range all {
		switch {
		case a.State == "active":
			active++
		case a.State != "pending":
			failed++
		case a.Online:
			silent++
		default:
			offline++
		}
	}
	if r.c.JSON {
		out := map[string]any{
			"deployment": id, "project": r.project, "version": r.version, "package": r.pack.SHA256, "environment": r.environment.Name, "atoms": all,
		}
		if r.replayed != nil {
			out["replay"] = r.replayed
		}
		if err := r.printJSON(out); err != nil {
			return err
		}
		if failed+silent > 0 {
			return clierror.Reported{Code: clierror.ExitInvalid}
		}
		return nil
	}
	if offline > 0 {
		r.progress("%s offline and will deploy it when back", terminal.Count(offline, "atom is", "atoms are"))
	}
	switch {
	case failed > 0:
		return clierror.Invalid(remedy(all), "%d of %s rejected the version and kept the previous one", failed, terminal.Count(len(all), "atom", "atoms"))
	case silent > 0:
		return clierror.Invalid("a longer --wait, or read the logs of these atoms", "%s reported no result within %s", terminal.Count(silent, "atom", "atoms"), r.c.Wait)
	case len(all) > 0:
		r.progress("%s %s runs on %s", r.project, r.version, terminal.Count(active, "atom", "atoms"))
	}
	return nil
}

// remedy returns the hint for a version that atoms have rejected, by their
// reasons.
func remedy(all []target) string {
	about := func(text string) bool {
		return slices.ContainsFunc(all, func(a target) bool { return strings.Contains(a.Detail, text) })
	}
	const otherwise = "fix it and deploy a new version; or --rollback"
	switch {
	case about(access.File):
		return "allow it in the " + access.File + " of these atoms and deploy again; or " + otherwise
	case about("values are missing"):
		return "set the missing values, after which the atoms retry by themselves; or " + otherwise
	}
	return otherwise
}

func (r *rollout) printJSON(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return terminal.PrintJSON(r.s.Out, text)
}
