package cli

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// packageBefore finds what ran before what is deployed: the newest that some
// atom took and kept. What failed everywhere, or was put back, is passed over.
func (r *rollout) packageBefore(ctx context.Context) (packageRef, error) {
	all, packs, err := r.deployments(ctx, r.environment.ID, r.c.Project)
	if err != nil {
		return packageRef{}, err
	}
	now, passed := "", []string{}
	seen := map[string]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		d := all[i]
		if now == "" {
			if d.Active {
				now, seen[d.Package] = d.Package, true
			}
			continue
		}
		if d.Package == now {
			continue
		}
		if _, err := r.p.call(ctx, http.MethodGet, "DeployedPackage/"+d.ID, nil, nil, &d); err != nil {
			return packageRef{}, err
		}
		if slices.ContainsFunc(d.Atoms, func(x atomResult) bool { return x.State == "active" }) {
			if len(passed) > 0 {
				r.progress("passed over %s", strings.Join(passed, ", "))
			}
			r.progress("back to   %s %s", packs[d.Package].Project, packs[d.Package].Version)
			return packs[d.Package], nil
		}
		if !seen[d.Package] {
			seen[d.Package] = true
			passed = append(passed, packs[d.Package].Version+" ("+howItEnded(d.Atoms)+")")
		}
	}
	switch {
	case now == "":
		return packageRef{}, wrong("valence cloud deployments --all, and --package SHA256", "nothing of the project %s is deployed to %s", r.c.Project, r.environment.Name)
	case len(passed) > 0:
		return packageRef{}, wrong("--package SHA256, for any that was uploaded", "no earlier version of %s has run on an atom of %s: %s", r.c.Project, r.environment.Name, strings.Join(passed, ", "))
	}
	return packageRef{}, wrong("--package SHA256, for any that was uploaded", "nothing was deployed before to %s of the project %s", r.environment.Name, r.c.Project)
}

// howItEnded tells why a deployment is none to go back to.
func howItEnded(atoms []atomResult) string {
	states := map[string]bool{}
	for _, x := range atoms {
		states[strings.ReplaceAll(x.State, "_", " ")] = true
	}
	if len(states) == 0 {
		return "no atom has told of it"
	}
	return strings.Join(sortedKeys(states), ", ")
}
