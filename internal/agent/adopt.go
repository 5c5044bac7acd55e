package agent

import (
	"context"
	"maps"
	"slices"
	"strings"

	"valence/internal/wire"
)

// adopt has the atom run a generation, and gives what it runs then. Where all
// of it cannot run together, what runs already goes on with the generation's
// values, and each project that is new or changed is taken if it can run
// beside that; for one that cannot, the version in kept is. left tells why
// others are not taken, and may name some from the start. An error is about all
// of it: then something else may run than before.
func (a *Agent) adopt(ctx context.Context, d *wire.Desired, before *version, kept *wire.Desired, serials map[string]int64, left map[string]error) (*version, error) {
	var whole error
	if len(left) == 0 {
		now, err := a.try(ctx, d, serials)
		if err == nil || !isPermanent(err) || len(d.Deployments) == 0 {
			return now, err
		}
		whole = err
	}
	base, open := split(d, before.desired, left)
	now, err := a.try(ctx, base, serials)
	switch {
	case err != nil && isPermanent(err) && whole != nil:
		return nil, whole
	case err != nil:
		return nil, err
	}
	for again := true; again; { // one may need another, of those that have not been taken yet
		again = false
		for _, x := range slices.Clone(open) {
			v, err := a.try(ctx, with(now.desired, x), serials)
			switch {
			case err == nil:
				now, again = v, true
				delete(left, x.Project)
				open = without(open, x.Project)
			case isPermanent(err):
				left[x.Project] = err
			default:
				return nil, err
			}
		}
	}
	for _, x := range kept.Deployments {
		if left[x.Project] == nil || find(now.desired, x.Project) != nil {
			continue
		}
		if v, err := a.try(ctx, with(now.desired, x), serials); err == nil {
			now = v
		} else if !isPermanent(err) {
			return nil, err
		}
	}
	return now, nil
}

// find gives the deployment of a project, nil if there is none.
func find(d *wire.Desired, project string) *wire.Deployment {
	for i := range d.Deployments {
		if d.Deployments[i].Project == project {
			return &d.Deployments[i]
		}
	}
	return nil
}

func without(all []wire.Deployment, project string) []wire.Deployment {
	return slices.DeleteFunc(slices.Clone(all), func(x wire.Deployment) bool { return x.Project == project })
}

// with gives a generation with a deployment in place of its project's.
func with(d *wire.Desired, x wire.Deployment) *wire.Desired {
	next := *d
	next.Deployments = append(without(d.Deployments, x.Project), x)
	return &next
}

// split parts a generation: what runs already of its projects, with everything
// else of the generation, and the deployments that are new or changed and not
// in left.
func split(d, runs *wire.Desired, left map[string]error) (base *wire.Desired, open []wire.Deployment) {
	next := *d
	next.Deployments = nil
	for _, x := range d.Deployments {
		old := find(runs, x.Project)
		same := old != nil && old.Package == x.Package
		switch {
		case same: // its statement may be newer
			next.Deployments = append(next.Deployments, x)
		case old != nil:
			next.Deployments = append(next.Deployments, *old)
		}
		if !same && left[x.Project] == nil {
			open = append(open, x)
		}
	}
	return &next, open
}

// try composes a generation and has the atom run it. Where it fails, what ran goes on.
func (a *Agent) try(ctx context.Context, d *wire.Desired, serials map[string]int64) (*version, error) {
	v, err := a.compose(d, a.local, serials)
	if err != nil {
		return nil, err
	}
	return v, a.enact(ctx, v)
}

// enact has the atom run a version, if it does not yet. The caller holds deploying.
func (a *Agent) enact(ctx context.Context, v *version) error {
	if v.print == a.enacted {
		return nil
	}
	a.mu.Lock()
	s := a.state
	a.mu.Unlock()
	if err := a.pause(ctx, &s, v.desired); err != nil { // before it is replaced
		return err
	}
	if err := a.atom.Deploy(ctx, v.releases...); err != nil {
		return deployError(err)
	}
	a.enacted = v.print
	return nil
}

// outages tells why projects do not run at all, in a line for each; those of
// left of which another version runs are none. All of it is in the reports.
func outages(left map[string]error, runs *wire.Desired) string {
	var all []string
	for _, project := range slices.Sorted(maps.Keys(left)) {
		if find(runs, project) == nil {
			why, _, _ := strings.Cut(left[project].Error(), "\n")
			all = append(all, project+": "+strings.TrimSuffix(why, ":"))
		}
	}
	return strings.Join(all[:min(len(all), 10)], "\n")
}
