package cloud

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sort"
)

// Role is what a token may do. Each may do what the one before it may.
type Role string

// The roles, from least to most.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Deployer Role = "deployer"
	Admin    Role = "admin"
)

// Roles lists the roles, from least to most.
func Roles() []Role { return []Role{Viewer, Operator, Deployer, Admin} }

// Roles lists the roles that tokens may have.
func (s *Service) Roles(_ context.Context, p Principal) ([]Role, error) {
	if err := p.Allow("role.read"); err != nil {
		return nil, err
	}
	return Roles(), nil
}

// RoleID gives the id of a role, the same for every control plane.
func RoleID(r Role) string {
	sum := sha256.Sum256([]byte("valence-role-1\n" + r))
	return uuid([16]byte(sum[:16]), 8)
}

// rank orders the roles; -1 for what is none.
func (r Role) rank() int { return slices.Index(Roles(), r) }

// Action is something that a principal may be allowed to do.
type Action string

// least is the one table of who may do what: the least role of every action.
// An action that is not in it is allowed to nobody.
var least = map[Action]Role{
	"role.read":      Viewer,
	"account.create": Admin,
	"account.read":   Admin,
	"token.create":   Admin,
	"token.read":     Admin,
	"token.delete":   Admin,
	"audit.read":     Admin,
	"backup.create":  Admin,

	"environment.create": Admin,
	"environment.read":   Viewer,
	"environment.update": Admin,
	"environment.delete": Admin,

	"installtoken.create": Admin,
	"atom.read":           Viewer,
	"atom.update":         Admin,
	"atom.log":            Operator,
	"atom.delete":         Admin,
	"attachment.create":   Admin,
	"attachment.read":     Viewer,
	"attachment.delete":   Admin,

	"component.read":   Viewer,
	"package.create":   Deployer,
	"package.read":     Viewer,
	"package.delete":   Deployer,
	"package.download": Deployer,

	"deployment.create": Deployer,
	"deployment.read":   Viewer,
	"deployment.delete": Deployer,

	"extension.read":   Viewer,
	"extension.update": Deployer,

	"execution.create":   Operator,
	"execution.read":     Viewer,
	"execution.cancel":   Operator,
	"execution.resubmit": Operator,
	"listener.read":      Viewer,
	"listener.update":    Operator,
	"schedule.read":      Viewer,
	"schedule.update":    Operator,
}

// Least gives the least role that an action takes; false for an action that
// there is not.
func Least(a Action) (Role, bool) {
	r, ok := least[a]
	return r, ok
}

// Actions lists every action, by name.
func Actions() []Action {
	all := make([]Action, 0, len(least))
	for a := range least {
		all = append(all, a)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}

// Allow gives nil if the principal's role takes an action, whatever the
// environment, and otherwise an error that is ErrForbidden.
func (p Principal) Allow(a Action) error {
	need, known := least[a]
	if !known || p.Account == "" || p.Role.rank() < need.rank() {
		return &Error{ErrForbidden, fmt.Sprintf("%s takes the role %s; this token has the role %s", a, need, p.Role)}
	}
	return nil
}

// whole lists the actions that are not about one environment: who is limited to
// some may not take them.
var whole = map[Action]bool{
	"account.create": true, "account.read": true, "token.create": true, "token.read": true, "token.delete": true,
	"audit.read": true, "backup.create": true, "environment.create": true,
}

// May reports whether there is anything that the principal may do an action
// with, so that it makes sense to offer it.
func (p Principal) May(a Action) bool {
	return p.Allow(a) == nil && (len(p.Environments) == 0 || !whole[a])
}

// in reports whether the principal may see an environment. What is in none is
// seen by who is not limited to some.
func (p Principal) in(environment string) bool {
	return len(p.Environments) == 0 || slices.Contains(p.Environments, environment)
}

// unlimited gives an error for an action that is not about one environment.
func (p Principal) unlimited(a Action) error {
	if err := p.Allow(a); err != nil {
		return err
	}
	if len(p.Environments) > 0 {
		return &Error{ErrForbidden, fmt.Sprintf("%s concerns the whole account; this token is limited to some environments", a)}
	}
	return nil
}
