package agent

import (
	"context"
	"maps"
	"slices"
	"strings"

	"valence/atom/agent/compose"
	"valence/internal/wire"
)

// deployGeneration deploys a generation and returns the composition that runs.
// If the generation cannot run as a whole, unchanged projects continue with its
// new values, and each new or changed project is added if it can run with the
// others. A project that cannot runs in its version from kept. left maps such
// projects to their errors and may contain some initially. On an error,
// something other than before may be running.
func (dep *deployer) deployGeneration(ctx context.Context, d *wire.Desired, before *compose.Composition, kept *wire.Desired, serials map[string]int64, left map[string]error) (*compose.Composition, error) {
	var whole error
	if len(left) == 0 {
		now, err := dep.composeAndDeploy(ctx, d, serials)
		if err == nil || !compose.IsPermanent(err) || len(d.Deployments) == 0 {
			return now, err
		}
		whole = err
	}
	base, open := splitChanged(d, before.Desired, left)
	now, err := dep.composeAndDeploy(ctx, base, serials)
	switch {
	case err != nil && compose.IsPermanent(err) && whole != nil:
		return nil, whole
	case err != nil:
		return nil, err
	}
	for again := true; again; { // a project may depend on one not added yet
		again = false
		for _, x := range slices.Clone(open) {
			v, err := dep.composeAndDeploy(ctx, replaceDeployment(now.Desired, x), serials)
			switch {
			case err == nil:
				now, again = v, true
				delete(left, x.Project)
				open = removeDeployment(open, x.Project)
			case compose.IsPermanent(err):
				left[x.Project] = err
			default:
				return nil, err
			}
		}
	}
	for _, x := range kept.Deployments {
		if left[x.Project] == nil || findDeployment(now.Desired, x.Project) != nil {
			continue
		}
		if v, err := dep.composeAndDeploy(ctx, replaceDeployment(now.Desired, x), serials); err == nil {
			now = v
		} else if !compose.IsPermanent(err) {
			return nil, err
		}
	}
	return now, nil
}

// findDeployment returns the deployment of a project, or nil.
func findDeployment(d *wire.Desired, project string) *wire.Deployment {
	for i := range d.Deployments {
		if d.Deployments[i].Project == project {
			return &d.Deployments[i]
		}
	}
	return nil
}

func removeDeployment(all []wire.Deployment, project string) []wire.Deployment {
	return slices.DeleteFunc(slices.Clone(all), func(x wire.Deployment) bool { return x.Project == project })
}

// replaceDeployment returns a copy of d in which x replaces the deployment of
// its project.
func replaceDeployment(d *wire.Desired, x wire.Deployment) *wire.Desired {
	next := *d
	next.Deployments = append(removeDeployment(d.Deployments, x.Project), x)
	return &next
}

// splitChanged returns d with the deployments that already run, and the new or
// changed deployments of projects that are not in left.
func splitChanged(d, runs *wire.Desired, left map[string]error) (base *wire.Desired, open []wire.Deployment) {
	next := *d
	next.Deployments = nil
	for _, x := range d.Deployments {
		old := findDeployment(runs, x.Project)
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

// composeAndDeploy composes a generation and deploys it. If it fails, the
// previous composition continues.
func (dep *deployer) composeAndDeploy(ctx context.Context, d *wire.Desired, serials map[string]int64) (*compose.Composition, error) {
	v, err := dep.composer.Compose(d, dep.local, serials)
	if err != nil {
		return nil, err
	}
	return v, dep.deploy(ctx, v)
}

// deploy deploys a composition unless it already runs. The caller holds
// deploying.
func (dep *deployer) deploy(ctx context.Context, v *compose.Composition) error {
	if v.Digest == dep.deployedDigest {
		return nil
	}
	dep.mu.Lock()
	s := dep.state
	dep.mu.Unlock()
	if err := dep.pauseTriggers(ctx, &s, v.Desired); err != nil { // before the old version is replaced
		return err
	}
	if err := dep.atom.Deploy(ctx, v.Releases...); err != nil {
		return deployError(err)
	}
	dep.deployedDigest = v.Digest
	return nil
}

// describeFailures returns one line for each project in left of which no
// version runs.
func describeFailures(left map[string]error, runs *wire.Desired) string {
	var all []string
	for _, project := range slices.Sorted(maps.Keys(left)) {
		if findDeployment(runs, project) == nil {
			why, rest, _ := strings.Cut(left[project].Error(), "\n")
			if strings.HasSuffix(why, ":") { // a list follows
				first, _, _ := strings.Cut(rest, "\n")
				why += " " + first
			}
			all = append(all, project+": "+why)
		}
	}
	return strings.Join(all[:min(len(all), 10)], "\n")
}
