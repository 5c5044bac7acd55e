package cloud

import (
	"context"
	"fmt"
	"slices"
	"time"
	"valence/internal/wire"
)

// Deployments assigns packages to environments.
type Deployments struct{ *core }

// Deploy makes a package the active one of its project in an environment.
// Deploying the active package again changes at most its listener status and
// statement. If an atom rolled it back, it becomes a new deployment, which
// atoms try again.
func (s *Deployments) Deploy(ctx context.Context, p Principal, d Deployment) (Deployment, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Deployment{}, err
	}
	defer c.end()
	e, err := s.environmentFor(p, "deployment.create", d.EnvironmentID)
	if err != nil {
		return Deployment{}, err
	}
	x := owned(s.state.packages, d.PackageID, p.Account, func(x *Package) string { return x.Account })
	if x == nil {
		return Deployment{}, notFound("package", d.PackageID)
	}
	if d.ListenerStatus != "" && d.ListenerStatus != Running && d.ListenerStatus != Paused {
		return Deployment{}, invalid("listenerStatus", "must be %s or %s", Running, Paused)
	}
	if err := checkStatement(d.Statement, d.Signature, x, e.Name); err != nil {
		return Deployment{}, err
	}
	if len(d.Statement) == 0 && checkStatement(x.Statement, x.Signature, x, e.Name) == nil {
		d.Statement, d.Signature = x.Statement, x.Signature // a package statement for another environment does not replace it
	}
	if err := s.state.checkProcessNames(e, x); err != nil {
		return Deployment{}, err
	}
	before := s.state.activeIn[e.ID][x.Project]
	detail := fmt.Sprintf("%s %s to %s", x.Project, x.Version, e.Name)
	if d.TestsSkipped {
		detail += ", tests skipped"
	}
	same := before != nil && before.PackageID == x.ID
	if same {
		back, err := s.rolledBack(ctx, before)
		if err != nil {
			return Deployment{}, err
		}
		same = !back
	}
	if same {
		return s.redeploy(ctx, c, p, e, before, d, detail+" again")
	}
	return s.replace(ctx, c, p, e, before, d, detail)
}

// redeploy sets the listener status and the statement of an active deployment.
func (s *Deployments) redeploy(ctx context.Context, c *change, p Principal, e *Environment, active *Deployment, d Deployment, detail string) (Deployment, error) {
	next := *active
	if d.ListenerStatus != "" {
		next.ListenerStatus = d.ListenerStatus
	}
	if len(d.Statement) > 0 {
		next.Statement, next.Signature = d.Statement, d.Signature
	}
	if next.ListenerStatus == active.ListenerStatus && string(next.Statement) == string(active.Statement) {
		return next, nil
	}
	next.Revision = s.nextRevision()
	c.put(&next)
	s.touchEnvironment(c, e)
	c.audit(p, "deployment.create", next.ID, detail)
	return next, s.commit(ctx, c)
}

// replace makes d the active deployment in place of before, if there is one. It
// continues with its listener status unless d sets one.
func (s *Deployments) replace(ctx context.Context, c *change, p Principal, e *Environment, before *Deployment, d Deployment, detail string) (Deployment, error) {
	switch {
	case d.ListenerStatus != "":
		d.Revision = s.nextRevision()
	case before != nil:
		d.ListenerStatus, d.Revision = before.ListenerStatus, before.Revision
	default:
		d.ListenerStatus = Running
	}
	if before != nil {
		old := *before
		old.Active = false
		c.put(&old)
	}
	d.ID, d.Account, d.EnvironmentID, d.By, d.Created, d.Active, d.Results = newID(), p.Account, e.ID, p.User, time.Now().UTC(), true, nil
	c.put(&d)
	s.touchEnvironment(c, e)
	c.audit(p, "deployment.create", d.ID, detail)
	return d, s.commit(ctx, c)
}

// rolledBack reports whether an atom rolled a deployment back. The atom refuses
// that deployment from then on.
func (s *Deployments) rolledBack(ctx context.Context, d *Deployment) (bool, error) {
	all, err := s.store.Results(ctx, d.ID)
	return slices.ContainsFunc(all, func(r DeploymentResult) bool { return r.State == wire.DeploymentRolledBack }), err
}

// Get returns a deployment with its results on each atom.
func (s *Deployments) Get(ctx context.Context, p Principal, id string) (Deployment, error) {
	if err := p.Allow("deployment.read"); err != nil {
		return Deployment{}, err
	}
	s.mu.RLock()
	d := owned(s.state.deployments, id, p.Account, func(d *Deployment) string { return d.Account })
	s.mu.RUnlock()
	if d == nil || !p.sees(d.EnvironmentID) {
		return Deployment{}, notFound("deployment", id)
	}
	x := *d
	var err error
	if x.Results, err = s.store.Results(ctx, id); err != nil {
		return Deployment{}, err
	}
	return x, nil
}

// List returns the visible deployments, newest first, without results.
func (s *Deployments) List(_ context.Context, p Principal) ([]Deployment, error) {
	if err := p.Allow("deployment.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.deployments, func(d *Deployment) bool { return d.Account == p.Account && p.sees(d.EnvironmentID) },
		func(a, b Deployment) bool { return a.Created.After(b.Created) }), nil
}

// Undeploy deactivates a deployment. Its record remains.
func (s *Deployments) Undeploy(ctx context.Context, p Principal, id string) error {
	if err := p.Allow("deployment.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	d := owned(s.state.deployments, id, p.Account, func(d *Deployment) string { return d.Account })
	if d == nil || !p.sees(d.EnvironmentID) {
		return notFound("deployment", id)
	}
	if !d.Active {
		return nil
	}
	next := *d
	next.Active = false
	c.put(&next)
	if e := s.state.environments[d.EnvironmentID]; e != nil {
		s.touchEnvironment(c, e)
	}
	detail := "from " + s.environmentName(d.EnvironmentID)
	if x := s.state.packages[d.PackageID]; x != nil {
		detail = x.Project + " " + x.Version + " " + detail
	}
	c.audit(p, "deployment.delete", d.ID, detail)
	return s.commit(ctx, c)
}

// AtomProcesses returns the processes deployed to an atom, by name.
func (s *Deployments) AtomProcesses(_ context.Context, p Principal, atom string) ([]Component, error) {
	if err := p.Allow("component.read"); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, err := s.atomFor(p, "atom.read", atom)
	if err != nil {
		return nil, err
	}
	all := []Component{}
	for _, c := range s.state.processesOf(a.ID) {
		all = append(all, *c)
	}
	return all, nil
}
