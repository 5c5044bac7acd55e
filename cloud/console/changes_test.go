package console_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"valence/cloud"
)

// TestTypedToConfirm checks that irreversible actions require the name to be
// typed.
func TestTypedToConfirm(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	for path, name := range map[string]string{"/atoms/{atom}/revoke": "edge-01", "/environments/{empty}/delete": "empty", "/deployments/{deployment}/undeploy": "shop"} {
		if a := v.get(t, path); !strings.Contains(a.text, `name="typed"`) || !strings.Contains(a.text, name) {
			t.Errorf("%s does not ask: %d %s", path, a.code, a.text)
		}
		for _, typed := range []string{"", "yes", strings.ToUpper(name)} {
			if a := v.do(t, http.MethodPost, path, url.Values{"typed": {typed}}); a.code != http.StatusBadRequest || !strings.Contains(a.text, "nothing was changed") {
				t.Errorf(`got %s, typed %q: %d, want code 400 and text with "nothing was changed"`, path, typed, a.code)
			}
		}
	}
	if x, err := o.Fleet.Atom(t.Context(), o.Admin, "edge-01"); err != nil || x.Revoked {
		t.Errorf("%+v, %v", x, err)
	}
}

// TestMakeToken checks that a token created on the page has the form's settings,
// works, and is shown once.
func TestMakeToken(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	a := v.do(t, http.MethodPost, "/tokens", url.Values{"name": {"ci"}, "role": {"deployer"}, "environment": {"{empty}"}, "days": {"7"}})
	secret := regexp.MustCompile(`vt_[A-Za-z0-9_-]+`).FindString(a.text)
	p, err := o.Accounts.Authenticate(t.Context(), cloud.DefaultAccount, "ci", secret)
	if err != nil || p.Role != cloud.Deployer || len(p.Environments) != 1 || p.Environments[0] != o.ids.Replace("{empty}") {
		t.Errorf("%+v, %v", p, err)
	}
	all, err := o.Accounts.Tokens(t.Context(), o.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if left := time.Until(x.Expires); x.Name == "ci" && (left < 6*24*time.Hour || left > 8*24*time.Hour) {
			t.Errorf("it expires in %s", left)
		}
	}
	if again := v.get(t, "/tokens"); strings.Contains(again.text, secret) {
		t.Error("it is shown again")
	}
	for _, form := range []url.Values{{"name": {""}, "role": {"viewer"}, "days": {"1"}}, {"name": {"x"}, "role": {"root"}, "days": {"1"}}, {"name": {"x"}, "role": {"viewer"}, "days": {"soon"}}} {
		if a := v.do(t, http.MethodPost, "/tokens", form); a.code != http.StatusBadRequest {
			t.Errorf("%v: got %d, want 400", form, a.code)
		}
	}
}

// TestDeploy rolls a version back and promotes it to another environment, each
// after a page that lists the changes.
func TestDeploy(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Deployer])
	first := ""
	packages, err := o.Packages.List(t.Context(), o.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range packages {
		if x.Version == "1" {
			first = x.ID
		}
	}
	if a := v.get(t, "/environments/{prod}"); !strings.Contains(a.text, "package="+first) {
		t.Errorf("the page does not lead back to the version before: %s", a.text)
	}
	ask := v.get(t, "/deploy?environment={prod}&package="+first)
	for _, want := range []string{"shop 1", "2 atoms", "It replaces 2"} {
		if !strings.Contains(ask.text, want) {
			t.Errorf("the page before does not say %q: %s", want, ask.text)
		}
	}
	for _, environment := range []string{"{prod}", "{empty}"} {
		a := v.do(t, http.MethodPost, "/deploy", url.Values{"environment": {environment}, "package": {first}})
		if a.code != http.StatusSeeOther {
			t.Fatalf("got %d %s, want 303", a.code, a.text)
		}
		if a := v.get(t, a.header.Get("Location")); !strings.Contains(a.text, "shop 1") || !strings.Contains(a.text, `id="done"`) {
			t.Errorf(`got %d %s, want text with "shop 1" and text with id="done"`, a.code, a.text)
		}
	}
	all, err := o.Deployments.List(t.Context(), o.Admin)
	if err != nil {
		t.Fatal(err)
	}
	active := map[string]string{}
	for _, d := range all {
		if d.Active {
			active[d.EnvironmentID] = d.PackageID
		}
	}
	if len(active) != 2 || active[o.ids.Replace("{prod}")] != first || active[o.ids.Replace("{empty}")] != first {
		t.Errorf(`got %v, want len(active) 2, active[o.ids.Replace("{prod}")] %q and active[o.ids.Replace("{empty}")] %q`, active, first, first)
	}
}

// TestWhatIsWrong checks that problems come first and say what to do next.
func TestWhatIsWrong(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Viewer])
	a := v.get(t, "/")
	for _, want := range []string{"loose is not attached to an environment", "never-started has joined but never polled", "valence run --data DIR"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("the overview does not say %q: %s", want, a.text)
		}
	}
	if strings.Index(a.text, "never-started has joined") > strings.Index(a.text, `id="atom-table"`) {
		t.Error("it is below")
	}
}
