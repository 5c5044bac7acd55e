package agent

import (
	"context"

	"valence/internal/wire"
	"valence/processes"
)

// start deploys the previously deployed generation and the local project.
// Packages that can no longer run are left out, reported in the heartbeat and
// retried with the control plane's packages. start fails if the local project
// cannot run.
func (dep *deployer) start(ctx context.Context) error {
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	s := dep.state
	dep.mu.Unlock()
	d, left := s.desired(), map[string]error{}
	for _, x := range d.Deployments {
		if _, err := dep.composer.ReadPackage(x.Package); err != nil {
			left[x.Project] = err
		}
	}
	now, err := dep.deployGeneration(ctx, d, dep.current, &wire.Desired{}, nil, left)
	if err != nil {
		return err
	}
	again := s.Wanted
	if len(left) > 0 {
		now.Failure = describeFailures(left, now.Desired)
		dep.log.Error("deployed projects can no longer run", "reason", now.Failure)
		if again == nil {
			again = d
		}
	}
	dep.setCurrent(s, now, nil, true)
	if again != nil {
		dep.mu.Lock()
		dep.target = &target{Desired: again}
		dep.mu.Unlock()
		notify(dep.targetChanged)
	}
	return nil
}

// reload replaces the local project. If the new files have errors, the previous
// version continues.
func (dep *deployer) reload(ctx context.Context, local []processes.File) error {
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	before := dep.current
	dep.mu.Unlock()
	v, err := dep.composer.Compose(before.Desired, local, nil)
	if err != nil {
		return err
	}
	if err := dep.deploy(ctx, v); err != nil {
		return err
	}
	v.Failure = before.Failure
	dep.local = local
	dep.mu.Lock()
	dep.current = v
	dep.mu.Unlock()
	return nil
}
