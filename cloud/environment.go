package cloud

import (
	"context"
	"strings"
	"time"

	"valence/internal/wire"
)

// Environments holds environments, with their policies, values and secrets.
type Environments struct{ *core }

// Create creates an environment. Its classification is TEST by default.
func (s *Environments) Create(ctx context.Context, p Principal, e Environment) (Environment, error) {
	if err := p.allowAccountWide("environment.create"); err != nil {
		return Environment{}, err
	}
	if e.Classification == "" {
		e.Classification = Test
	}
	c, err := s.begin(ctx)
	if err != nil {
		return Environment{}, err
	}
	defer c.end()
	e.ID, e.Account, e.Created, e.Revision = newID(), p.Account, time.Now().UTC(), s.nextRevision()
	if err := s.check(&e); err != nil {
		return Environment{}, err
	}
	c.put(&e)
	c.audit(p, "environment.create", e.ID, e.Name)
	return e, s.commit(ctx, c)
}

func (s *Environments) check(e *Environment) error {
	e.Name = strings.TrimSpace(e.Name)
	switch {
	case !validName(e.Name):
		return invalid("name", "must be 1 to 200 characters without control characters")
	case e.Classification != Production && e.Classification != Test:
		return invalid("classification", "must be %s or %s", Production, Test)
	case e.Policy.RollbackRate < 0 || e.Policy.RollbackRate > 1:
		return invalid("rollback_rate", "must be 0 to 1")
	case e.Policy.RollbackMinutes < 0:
		return invalid("rollback_minutes", "must be 0 or more")
	}
	if other := s.state.environment(e.Account, e.Name); other != nil && other.ID != e.ID {
		return conflict("an environment named %s already exists: choose another name", e.Name)
	}
	return nil
}

// Get returns the environment with an id or name.
func (s *Environments) Get(_ context.Context, p Principal, id string) (Environment, error) {
	if err := p.Allow("environment.read"); err != nil {
		return Environment{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.state.environment(p.Account, id)
	if e == nil || !p.sees(e.ID) {
		return Environment{}, notFound("environment", id)
	}
	return *e, nil
}

// List returns the visible environments, by name.
func (s *Environments) List(_ context.Context, p Principal) ([]Environment, error) {
	if err := p.Allow("environment.read"); err != nil {
		return nil, err
	}
	return list(s.core, s.state.environments, func(e *Environment) bool { return e.Account == p.Account && p.sees(e.ID) },
		func(a, b Environment) bool { return a.Name < b.Name }), nil
}

// Rename renames an environment.
func (s *Environments) Rename(ctx context.Context, p Principal, id, name string) (Environment, error) {
	return s.change(ctx, p, id, "name "+name, func(e *Environment) { e.Name = name })
}

// SetPolicy sets the policy of an environment.
func (s *Environments) SetPolicy(ctx context.Context, p Principal, id string, policy wire.Policy) (Environment, error) {
	return s.change(ctx, p, id, "policy", func(e *Environment) { e.Policy = policy })
}

func (s *Environments) change(ctx context.Context, p Principal, id, detail string, f func(*Environment)) (Environment, error) {
	c, err := s.begin(ctx)
	if err != nil {
		return Environment{}, err
	}
	defer c.end()
	e, err := s.environmentFor(p, "environment.update", id)
	if err != nil {
		return Environment{}, err
	}
	next := *e
	f(&next)
	if err := s.check(&next); err != nil {
		return Environment{}, err
	}
	s.touchEnvironment(c, &next)
	c.audit(p, "environment.update", e.ID, detail+" of "+next.Name)
	return next, s.commit(ctx, c)
}

// Delete deletes an environment without atoms, with its deployments and values.
func (s *Environments) Delete(ctx context.Context, p Principal, id string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	e, err := s.environmentFor(p, "environment.delete", id)
	if err != nil {
		return err
	}
	if len(s.state.atomsIn[e.ID]) > 0 {
		return conflict("the environment %s still has atoms: detach, retire or revoke them first", e.Name)
	}
	c.drop(e)
	for _, d := range s.state.deployments {
		if d.EnvironmentID == e.ID {
			c.drop(d)
		}
	}
	for _, x := range s.state.extensions[e.ID] {
		c.drop(x)
	}
	c.audit(p, "environment.delete", e.ID, e.Name)
	return s.commit(ctx, c)
}
