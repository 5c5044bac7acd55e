package cloudtest

import (
	"net/http"
	"slices"
	"testing"

	"valence/cloud"
)

// RoleTokens creates an API token for every role, named after it.
func (p *Plane) RoleTokens(t testing.TB) map[cloud.Role]string {
	t.Helper()
	tokens := map[cloud.Role]string{}
	for _, r := range cloud.Roles() {
		tokens[r] = p.Token(t, cloud.Token{Name: string(r), Role: r}).Secret
	}
	return tokens
}

// Token creates an API token.
func (p *Plane) Token(t testing.TB, x cloud.Token) cloud.Token {
	t.Helper()
	x, err := p.Accounts.CreateToken(t.Context(), p.Admin, x)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// OtherAccount creates the account other and returns its admin's token.
func (p *Plane) OtherAccount(t testing.TB) string {
	t.Helper()
	token, err := p.Accounts.Create(t.Context(), p.Admin, "other")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// CheckRules checks that each route has a rule in its test, and an action that
// some role may perform.
func CheckRules[R any](t *testing.T, routes map[string]cloud.Action, rules map[string]R) {
	t.Helper()
	for name, action := range routes {
		if _, ok := rules[name]; !ok {
			t.Errorf("%s has no rule in this test", name)
		}
		if _, ok := cloud.MinimumRole(action); !ok {
			t.Errorf("%s requires the action %q, which has no role", name, action)
		}
	}
	if len(routes) != len(rules) {
		t.Errorf("got %d rules, want one for each of %d endpoints", len(rules), len(routes))
	}
}

// EveryRole calls an endpoint with every role. Roles below least must get 403.
// The first allowed one must get a status that ok accepts; the others anything
// but 401 and 403, because the first call may have deleted the object.
func EveryRole(t *testing.T, least cloud.Role, ok func(status int) bool, call func(role cloud.Role) (status int, body string)) {
	t.Helper()
	roles := cloud.Roles()
	for i, role := range roles {
		status, body := call(role)
		first := slices.Index(roles, least)
		switch {
		case i < first && status != http.StatusForbidden:
			t.Errorf("%s: got %d, want 403: %s", role, status, body)
		case i == first && !ok(status):
			t.Errorf("%s: got %d: %s", role, status, body)
		case i >= first && (status == http.StatusForbidden || status == http.StatusUnauthorized):
			t.Errorf("%s: got %d, want it allowed: %s", role, status, body)
		}
	}
}
