package cloud

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sort"
)

// Role is the role of a token. Each role includes the ones before it.
type Role string

// The roles, from least to most.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
	Deployer Role = "deployer"
	Admin    Role = "admin"
)

// Roles returns the roles, from least to most.
func Roles() []Role { return []Role{Viewer, Operator, Deployer, Admin} }

// Roles returns the roles that tokens may have.
func (s *Accounts) Roles(_ context.Context, p Principal) ([]Role, error) {
	if err := p.Allow("role.read"); err != nil {
		return nil, err
	}
	return Roles(), nil
}

// RoleID returns the id of a role, the same in every control plane.
func RoleID(r Role) string {
	sum := sha256.Sum256([]byte("valence-role-1\n" + r))
	return uuid([16]byte(sum[:16]), 8)
}

// rank returns the position of a role, or -1 if it is unknown.
func (r Role) rank() int { return slices.Index(Roles(), r) }

// Action is an operation that needs a permission.
type Action string

// minimumRole is the least role for every action. An unlisted action is allowed
// to nobody.
var minimumRole = map[Action]Role{
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
	"replay.create":     Deployer,

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

// MinimumRole returns the least role for an action, or false for an unknown
// action.
func MinimumRole(a Action) (Role, bool) {
	r, ok := minimumRole[a]
	return r, ok
}

// Actions returns every action, by name.
func Actions() []Action {
	all := make([]Action, 0, len(minimumRole))
	for a := range minimumRole {
		all = append(all, a)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}

// Allow returns nil if the principal's role includes an action in some
// environment, and otherwise ErrForbidden.
func (p Principal) Allow(a Action) error {
	need, known := minimumRole[a]
	if !known || p.Account == "" || p.Role.rank() < need.rank() {
		return &Error{ErrForbidden, fmt.Sprintf("%s requires the role %s; this token has the role %s", a, need, p.Role)}
	}
	return nil
}

// accountWide are the actions that concern the whole account. Tokens limited to
// environments may not perform them.
var accountWide = map[Action]bool{
	"account.create": true, "account.read": true, "token.create": true, "token.read": true, "token.delete": true,
	"audit.read": true, "backup.create": true, "environment.create": true,
}

// May reports whether the principal can perform an action on anything, so that
// user interfaces offer it.
func (p Principal) May(a Action) bool {
	return p.Allow(a) == nil && (len(p.Environments) == 0 || !accountWide[a])
}

// sees reports whether an environment is visible to the principal. The empty id
// stands for no environment.
func (p Principal) sees(environment string) bool {
	return len(p.Environments) == 0 || slices.Contains(p.Environments, environment)
}

// allowAccountWide returns nil if the principal may perform an action on the
// whole account.
func (p Principal) allowAccountWide(a Action) error {
	if err := p.Allow(a); err != nil {
		return err
	}
	if len(p.Environments) > 0 {
		return &Error{ErrForbidden, fmt.Sprintf("%s concerns the whole account; this token is limited to environments", a)}
	}
	return nil
}
