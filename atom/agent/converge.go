package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/atom/agent/compose"
	"valence/atom/agent/spool"
	"valence/internal/fault"
	"valence/internal/wire"
)

// maxAlteredFetches limits the downloads of a package that arrives altered.
const maxAlteredFetches = 3

// convergeLoop deals with generations and rollbacks until ctx ends.
func (dep *deployer) convergeLoop(ctx context.Context) {
	b := cloudclient.Backoff{Initial: dep.timing.MinBackoff, Max: dep.timing.MaxBackoff}
	var timer <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-dep.targetChanged:
		case <-timer:
		}
		timer = nil
		if project, why := dep.canary.FailingProject(); why != "" {
			dep.rollback(ctx, project, why)
		}
		dep.mu.Lock()
		d := dep.target
		dep.mu.Unlock()
		if d == nil {
			b.Reset()
			continue
		}
		err := dep.converge(ctx, d)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !compose.IsPermanent(err) {
			wait := b.After(err)
			dep.log.Warn("deployment failed; trying again", "generation", d.Generation, "error", err, "again", wait.String())
			timer = time.After(wait)
			continue
		}
		b.Reset()
		if err != nil {
			dep.recordRefusal(ctx, d.Desired, err)
		}
		dep.mu.Lock()
		if dep.target == d {
			dep.target = nil
		}
		again := dep.target != nil
		dep.mu.Unlock()
		if again {
			notify(dep.targetChanged)
		}
	}
}

// converge deploys a generation. A project that cannot run does not prevent the
// others: its previous version continues, if there is one.
func (dep *deployer) converge(ctx context.Context, d *target) error {
	left, err := dep.ensurePackages(ctx, d)
	if err != nil {
		return err
	}
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	s, before := dep.state, dep.current
	dep.mu.Unlock()
	now, err := dep.deployGeneration(ctx, d.Desired, before, s.desired(), s.requiredSerials(d.Desired), left)
	if err != nil {
		dep.restorePrevious(ctx, before)
		return err
	}
	changed := now.Digest != before.Digest
	next := s
	next.Generation, next.Desired, next.Wanted, next.Serials = d.Generation, now.Desired, nil, mergeSerials(now.Serials, s.Serials)
	next.RolledBack = retainRolledBack(s.RolledBack, d.Desired)
	if len(left) > 0 {
		now.Failure = describeFailures(left, now.Desired)
	}
	if len(left) > len(next.RolledBack) {
		next.Wanted = d.Desired
	}
	if changed {
		next.Previous, next.Since = s.rollbackTarget(before.Desired, now.Desired, dep.options.Clock()), dep.options.Clock().UTC()
	}
	if err := dep.applySwitches(ctx, &next, d.Desired); err != nil {
		return err
	}
	if err := dep.spool.SaveState(ctx, "state", next, dep.deploymentReports(d.Desired, left, wire.DeploymentFailed)...); err != nil {
		dep.restorePrevious(ctx, before)
		return fmt.Errorf("store the deployed state: %w", err)
	}
	dep.setCurrent(next, now, before.Desired, changed)
	notify(dep.sentTriggers.changed)
	dep.composer.RemoveUnused(next.Desired, next.Wanted, next.Previous)
	dep.reports.wakeSender()
	for project, why := range left {
		if isRolledBack(why) {
			dep.log.Warn("rolled-back deployment stays rolled back", "generation", d.Generation, "project", project, "reason", why)
			continue
		}
		dep.log.Error("deployment rejected; its previous version keeps running", "generation", d.Generation, "project", project, "reason", why)
	}
	if changed {
		dep.log.Info("deployed", "generation", d.Generation, "packages", titles(now.Desired))
	}
	return nil
}

// ensurePackages downloads the packages of a generation. left maps the projects
// that cannot run to the reasons.
func (dep *deployer) ensurePackages(ctx context.Context, d *target) (left map[string]error, err error) {
	dep.mu.Lock()
	kept, runs := dep.state.desired(), dep.current.Desired
	dep.mu.Unlock()
	left = map[string]error{}
	for _, x := range d.Deployments {
		if why := dep.checkRolledBack(x); why != nil {
			left[x.Project] = why
			continue
		}
		err := dep.composer.EnsurePackage(ctx, x)
		if errors.Is(err, compose.ErrAltered) {
			if d.tries++; d.tries >= maxAlteredFetches {
				err = &compose.PermanentError{Err: err}
			}
		}
		switch {
		case err == nil:
		case compose.IsPermanent(err) && !slices.ContainsFunc(runs.Deployments, func(y wire.Deployment) bool { return y.Package == x.Package }):
			left[x.Project] = err
		default:
			return nil, err
		}
	}
	for _, x := range kept.Deployments {
		if y := findDeployment(d.Desired, x.Project); y != nil && y.Package == x.Package {
			continue // already ensured
		}
		if err := dep.composer.EnsurePackage(ctx, x); err != nil {
			dep.log.Warn("package of the previous version is incomplete", "project", x.Project, "error", err)
		}
	}
	return left, nil
}

// setCurrent records a deployed composition.
func (dep *deployer) setCurrent(s savedState, now *compose.Composition, before *wire.Desired, changed bool) {
	dep.mu.Lock()
	dep.state, dep.current = s, now
	dep.mu.Unlock()
	dep.atom.SetMaxRetention(time.Duration(now.Desired.PurgeDays) * 24 * time.Hour)
	if !changed {
		dep.canary.SetPolicy(now.Desired.Policy)
		return
	}
	dep.canary.Start(s.Since, now.Desired.Policy, s.probationers(now), changedProjects(now.Desired, before))
}

// restorePrevious deploys the previous composition again after a newer one
// could not be stored.
func (dep *deployer) restorePrevious(ctx context.Context, before *compose.Composition) {
	if err := dep.deploy(context.WithoutCancel(ctx), before); err != nil {
		dep.log.Error("cannot restore the previous version", "error", err)
	}
}

// deployError marks errors of the composition, as opposed to those of the atom,
// as permanent.
func deployError(err error) error {
	if problems := (fault.Problems)(nil); errors.As(err, &problems) {
		return compose.Permanentf("it cannot start: %v", strings.TrimSpace(problems.Error()))
	}
	if atom.IsUnavailable(err) || errors.Is(err, context.Canceled) {
		return err
	}
	return &compose.PermanentError{Err: err}
}

// recordRefusal stores and reports that a generation is rejected. Its switches
// are applied nevertheless.
func (dep *deployer) recordRefusal(ctx context.Context, d *wire.Desired, why error) {
	dep.log.Error("generation rejected; the previous one keeps running", "generation", d.Generation, "packages", titles(d), "reason", why)
	dep.mu.Lock()
	next := dep.state
	dep.mu.Unlock()
	if err := dep.applySwitches(ctx, &next, d); err != nil {
		dep.log.Error("cannot pause or resume triggers", "error", err)
	}
	next.Refused, next.Wanted = max(next.Refused, d.Generation), d
	if err := dep.spool.SaveState(ctx, "state", next, dep.deploymentReports(d, failAll(d, why), wire.DeploymentFailed)...); err != nil {
		dep.log.Error("cannot store a failed deployment", "error", err)
	}
	dep.mu.Lock()
	dep.state.Refused, dep.state.Wanted, dep.state.SwitchesApplied, dep.state.Paused = next.Refused, next.Wanted, next.SwitchesApplied, next.Paused
	dep.mu.Unlock()
	dep.reports.wakeSender()
	notify(dep.sentTriggers.changed)
}

// rollback restores the previous version of a failing project. With project ""
// it restores the whole previous generation.
func (dep *deployer) rollback(ctx context.Context, project, why string) {
	dep.deploying.Lock()
	defer dep.deploying.Unlock()
	dep.mu.Lock()
	s, runs := dep.state, dep.current
	dep.mu.Unlock()
	if s.Previous == nil {
		return
	}
	next, left := s, map[string]error{}
	x, old := findDeployment(runs.Desired, project), findDeployment(s.Previous, project)
	switch {
	case project == "":
		next.Desired, next.Generation, next.Refused = s.Previous, s.Previous.Generation, max(s.Refused, s.Generation)
		next.Wanted, left = nil, failAll(runs.Desired, errors.New(why))
	case x == nil, old == nil:
		return
	default:
		next.Desired = replaceDeployment(runs.Desired, *old)
		if next.RolledBack = maps.Clone(s.RolledBack); next.RolledBack == nil {
			next.RolledBack = map[string]rolledBack{}
		}
		next.RolledBack[project] = rolledBack{Deployment: x.ID, Package: x.Package, Reason: why}
		left[project] = next.RolledBack[project].err()
	}
	if len(changedProjects(next.Desired, s.Previous)) == 0 { // nothing is new any more
		next.Previous, next.Since = nil, time.Time{}
	}
	v, err := dep.composer.Compose(next.Desired, dep.local, nil)
	if err == nil {
		err = dep.deploy(ctx, v)
	}
	if err != nil {
		dep.log.Error("new version fails too often, and the previous one cannot be restored", "project", project, "why", why, "error", err)
		dep.canary.Stop(project)
		return
	}
	v.Failure = runs.Failure
	if err := dep.spool.SaveState(ctx, "state", next, dep.deploymentReports(runs.Desired, left, wire.DeploymentRolledBack)...); err != nil {
		dep.log.Error("cannot store a rollback; it is repeated after a restart", "error", err)
	}
	dep.log.Error("new version failed too often; rolled back", "generation", s.Generation, "packages", titles(next.Desired), "project", project, "why", why)
	dep.setCurrent(next, v, runs.Desired, true) // paused triggers stay paused
	dep.reports.wakeSender()
	notify(dep.sentTriggers.changed)
}

// deploymentReports returns one report per package of a generation: active, or
// the outcome given by left and otherwise.
func (dep *deployer) deploymentReports(d *wire.Desired, left map[string]error, otherwise string) []spool.Report {
	at := dep.options.Clock().UTC()
	became := func(pack, project string) spool.Report {
		r := wire.DeploymentReport{Generation: d.Generation, Package: pack, State: wire.DeploymentActive, At: at}
		if why := left[project]; why != nil {
			r.State, r.Detail = otherwise, truncate(why.Error())
			if isRolledBack(why) {
				r.State = wire.DeploymentRolledBack
			}
		}
		return spool.NewReport(spool.KindDeployment, r)
	}
	if len(d.Deployments) == 0 {
		return []spool.Report{became("", "")}
	}
	all := make([]spool.Report, len(d.Deployments))
	for i, x := range d.Deployments {
		all[i] = became(x.Package, x.Project)
	}
	return all
}

// failAll maps every project of a generation to the same error.
func failAll(d *wire.Desired, why error) map[string]error {
	left := map[string]error{"": why}
	for _, x := range d.Deployments {
		left[x.Project] = why
	}
	return left
}

func titles(d *wire.Desired) []string {
	names := make([]string, len(d.Deployments))
	for i, x := range d.Deployments {
		names[i] = strings.TrimSpace(x.Project + " " + x.Version)
	}
	return names
}
