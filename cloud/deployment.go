package cloud

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Deploy makes a package the one of its project in an environment; the one
// before is inactive from then on. Deploying what is active already changes
// nothing but its listeners, and is no error; what an atom has put back is
// deployed anew, and atoms try it again.
func (s *Service) Deploy(ctx context.Context, p Principal, d Deployment) (Deployment, error) {
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
		return Deployment{}, missing("package", d.PackageID)
	}
	if d.ListenerStatus != "" && d.ListenerStatus != Running && d.ListenerStatus != Paused {
		return Deployment{}, invalid("listenerStatus", "is %s or %s", Running, Paused)
	}
	if err := checkStatement(d.Statement, d.Signature, x, e.Name); err != nil {
		return Deployment{}, err
	}
	if len(d.Statement) == 0 && checkStatement(x.Statement, x.Signature, x, e.Name) == nil {
		d.Statement, d.Signature = x.Statement, x.Signature // another one for the package, made for elsewhere, does not change it
	}
	if err := s.clash(e, x); err != nil {
		return Deployment{}, err
	}
	before := s.state.active[e.ID][x.Project]
	detail := fmt.Sprintf("%s %s to %s", x.Project, x.Version, e.Name)
	same := before != nil && before.PackageID == x.ID
	if same {
		back, err := s.putBack(ctx, before)
		if err != nil {
			return Deployment{}, err
		}
		same = !back
	}
	if same {
		next := *before
		if d.ListenerStatus != "" {
			next.ListenerStatus = d.ListenerStatus
		}
		if len(d.Statement) > 0 {
			next.Statement, next.Signature = d.Statement, d.Signature
		}
		if next.ListenerStatus == before.ListenerStatus && string(next.Statement) == string(before.Statement) {
			return next, nil
		}
		next.Revision = s.revision()
		c.put(&next)
		s.touch(c, e)
		c.audit(p, "deployment.create", next.ID, detail+" again")
		return next, s.commit(ctx, c)
	}
	if before != nil {
		old := *before
		old.Active = false
		c.put(&old)
	}
	said := d.ListenerStatus != ""
	if !said {
		d.ListenerStatus = Running
		if before != nil {
			d.ListenerStatus, d.Revision = before.ListenerStatus, before.Revision
		}
	}
	d.ID, d.Account, d.EnvironmentID, d.By, d.Created, d.Active, d.Results = newID(), p.Account, e.ID, p.User, time.Now().UTC(), true, nil
	if said {
		d.Revision = s.revision()
	}
	c.put(&d)
	s.touch(c, e)
	c.audit(p, "deployment.create", d.ID, detail)
	return d, s.commit(ctx, c)
}

// putBack reports whether an atom has put a deployment back: it does not take
// the same one again.
func (s *Service) putBack(ctx context.Context, d *Deployment) (bool, error) {
	all, err := s.store.Results(ctx, d.ID)
	return slices.ContainsFunc(all, func(r DeploymentResult) bool { return r.State == "rolled_back" }), err
}

// clash finds a process that another project of the environment has, too: an
// atom knows its processes by name.
func (s *Service) clash(e *Environment, x *Package) error {
	names := map[string]bool{}
	for _, id := range x.Components {
		if c := s.state.components[id]; c != nil {
			names[c.Name] = true
		}
	}
	for project, d := range s.state.active[e.ID] {
		if project == x.Project {
			continue
		}
		for _, id := range s.state.packages[d.PackageID].Components {
			if c := s.state.components[id]; c != nil && names[c.Name] {
				return conflict("the project %s in %s has a process %s, too, and an atom knows its processes by name: rename one of them", project, e.Name, c.Name)
			}
		}
	}
	return nil
}

// Deployment gives one, with what became of it on each atom.
func (s *Service) Deployment(ctx context.Context, p Principal, id string) (Deployment, error) {
	if err := p.Allow("deployment.read"); err != nil {
		return Deployment{}, err
	}
	s.mu.RLock()
	d := owned(s.state.deployments, id, p.Account, func(d *Deployment) string { return d.Account })
	s.mu.RUnlock()
	if d == nil || !p.in(d.EnvironmentID) {
		return Deployment{}, missing("deployment", id)
	}
	x := *d
	var err error
	if x.Results, err = s.store.Results(ctx, id); err != nil {
		return Deployment{}, err
	}
	return x, nil
}

// Deployments lists those that the principal may see, newest first, without
// their results.
func (s *Service) Deployments(_ context.Context, p Principal) ([]Deployment, error) {
	if err := p.Allow("deployment.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.deployments, func(d *Deployment) bool { return d.Account == p.Account && p.in(d.EnvironmentID) },
		func(a, b Deployment) bool { return a.Created.After(b.Created) }), nil
}

// Undeploy takes a deployment out of its environment; the record of it stays.
func (s *Service) Undeploy(ctx context.Context, p Principal, id string) error {
	if err := p.Allow("deployment.delete"); err != nil {
		return err
	}
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	d := owned(s.state.deployments, id, p.Account, func(d *Deployment) string { return d.Account })
	if d == nil || !p.in(d.EnvironmentID) {
		return missing("deployment", id)
	}
	if !d.Active {
		return nil
	}
	next := *d
	next.Active = false
	c.put(&next)
	if e := s.state.environments[d.EnvironmentID]; e != nil {
		s.touch(c, e)
	}
	c.audit(p, "deployment.delete", d.ID, "")
	return s.commit(ctx, c)
}

// AtomProcesses lists the processes that are deployed to an atom, by name.
func (s *Service) AtomProcesses(_ context.Context, p Principal, atom string) ([]Component, error) {
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
	for _, c := range s.deployedTo(a.ID) {
		all = append(all, *c)
	}
	return all, nil
}

// process finds an active deployment's process on an atom, by id. The caller
// holds changing or mu.
func (s *Service) deployed(atom, component string) *Component {
	c := s.state.components[component]
	at := s.state.attachedTo[atom]
	if c == nil || at == nil {
		return nil
	}
	d := s.state.active[at.EnvironmentID][c.Project]
	if d == nil || !slices.Contains(s.state.packages[d.PackageID].Components, component) {
		return nil
	}
	return c
}

// processID gives the id of a process that is deployed on an atom, by its
// name; "" where the control plane does not know it. The caller holds changing
// or mu.
func (s *Service) processID(atom, name string) string {
	at := s.state.attachedTo[atom]
	if at == nil {
		return ""
	}
	for _, d := range s.state.active[at.EnvironmentID] {
		for _, id := range s.state.packages[d.PackageID].Components {
			if c := s.state.components[id]; c != nil && c.Name == name {
				return id
			}
		}
	}
	return ""
}
