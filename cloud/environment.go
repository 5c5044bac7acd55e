package cloud

import (
	"context"
	"strings"
	"time"

	"valence/internal/wire"
)

// CreateEnvironment makes an environment. Its classification is TEST unless
// it is said.
func (s *Service) CreateEnvironment(ctx context.Context, p Principal, e Environment) (Environment, error) {
	if err := p.unlimited("environment.create"); err != nil {
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
	e.ID, e.Account, e.Created, e.Revision = newID(), p.Account, time.Now().UTC(), s.revision()
	if err := s.checkEnvironment(&e); err != nil {
		return Environment{}, err
	}
	c.put(&e)
	c.audit(p, "environment.create", e.ID, e.Name)
	return e, s.commit(ctx, c)
}

func (s *Service) checkEnvironment(e *Environment) error {
	e.Name = strings.TrimSpace(e.Name)
	switch {
	case !goodName(e.Name):
		return invalid("name", "is 1 to 200 characters, none of them a control character")
	case e.Classification != Production && e.Classification != Test:
		return invalid("classification", "is %s or %s", Production, Test)
	case e.Policy.RollbackRate < 0 || e.Policy.RollbackRate > 1:
		return invalid("rollback_rate", "is from 0 to 1")
	case e.Policy.RollbackMinutes < 0:
		return invalid("rollback_minutes", "is 0 or more")
	}
	if other := s.state.environment(e.Account, e.Name); other != nil && other.ID != e.ID {
		return conflict("there is an environment %s already: choose another name", e.Name)
	}
	return nil
}

// Environment gives one, by id or name.
func (s *Service) Environment(_ context.Context, p Principal, id string) (Environment, error) {
	if err := p.Allow("environment.read"); err != nil {
		return Environment{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.state.environment(p.Account, id)
	if e == nil || !p.in(e.ID) {
		return Environment{}, missing("environment", id)
	}
	return *e, nil
}

// Environments lists those that the principal may see, by name.
func (s *Service) Environments(_ context.Context, p Principal) ([]Environment, error) {
	if err := p.Allow("environment.read"); err != nil {
		return nil, err
	}
	return list(s, s.state.environments, func(e *Environment) bool { return e.Account == p.Account && p.in(e.ID) },
		func(a, b Environment) bool { return a.Name < b.Name }), nil
}

// RenameEnvironment changes the name.
func (s *Service) RenameEnvironment(ctx context.Context, p Principal, id, name string) (Environment, error) {
	return s.changeEnvironment(ctx, p, id, "name "+name, func(e *Environment) { e.Name = name })
}

// SetPolicy changes what an environment asks of its atoms.
func (s *Service) SetPolicy(ctx context.Context, p Principal, id string, policy wire.Policy) (Environment, error) {
	return s.changeEnvironment(ctx, p, id, "policy", func(e *Environment) { e.Policy = policy })
}

func (s *Service) changeEnvironment(ctx context.Context, p Principal, id, detail string, f func(*Environment)) (Environment, error) {
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
	if err := s.checkEnvironment(&next); err != nil {
		return Environment{}, err
	}
	s.touch(c, &next)
	c.audit(p, "environment.update", e.ID, detail)
	return next, s.commit(ctx, c)
}

// environmentFor finds an environment and judges an action in it. The caller
// holds changing or mu.
func (s *Service) environmentFor(p Principal, a Action, id string) (*Environment, error) {
	if err := p.Allow(a); err != nil {
		return nil, err
	}
	e := s.state.environment(p.Account, id)
	if e == nil || !p.in(e.ID) {
		return nil, missing("environment", id)
	}
	return e, nil
}

// DeleteEnvironment removes an environment that no atom is attached to, with
// its deployments and values.
func (s *Service) DeleteEnvironment(ctx context.Context, p Principal, id string) error {
	c, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	e, err := s.environmentFor(p, "environment.delete", id)
	if err != nil {
		return err
	}
	if len(s.state.attached[e.ID]) > 0 {
		return conflict("the environment %s has atoms: detach, retire or revoke them first", e.Name)
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
