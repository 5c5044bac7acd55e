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

// What cannot be taken back is done only where its name was typed.
func TestTypedToConfirm(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	for path, name := range map[string]string{"/atoms/{atom}/revoke": "edge-01", "/environments/{empty}/delete": "empty", "/deployments/{deployment}/undeploy": "shop"} {
		if a := v.get(t, path); !strings.Contains(a.text, `name="typed"`) || !strings.Contains(a.text, name) {
			t.Errorf("%s does not ask: %d %s", path, a.code, a.text)
		}
		for _, typed := range []string{"", "yes", strings.ToUpper(name)} {
			if a := v.do(t, http.MethodPost, path, url.Values{"typed": {typed}}); a.code != http.StatusBadRequest || !strings.Contains(a.text, "nothing was done") {
				t.Errorf("%s, typed %q: %d", path, typed, a.code)
			}
		}
	}
	if x, err := o.Atom(t.Context(), o.Admin, "edge-01"); err != nil || x.Revoked {
		t.Errorf("%+v, %v", x, err)
	}
}

// A token that the page makes is what the form says, works, and is shown once.
func TestMakeToken(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	a := v.do(t, http.MethodPost, "/tokens", url.Values{"name": {"ci"}, "role": {"deployer"}, "environment": {"{empty}"}, "days": {"7"}})
	secret := regexp.MustCompile(`vt_[A-Za-z0-9_-]+`).FindString(a.text)
	p, err := o.Authenticate(t.Context(), cloud.DefaultAccount, "ci", secret)
	if err != nil || p.Role != cloud.Deployer || len(p.Environments) != 1 || p.Environments[0] != o.ids.Replace("{empty}") {
		t.Errorf("%+v, %v", p, err)
	}
	all, err := o.Tokens(t.Context(), o.Admin)
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
			t.Errorf("%v: %d", form, a.code)
		}
	}
}

// A version goes back, and from one environment to the next, with a page before
// that says what will change.
func TestDeploy(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Deployer])
	first := ""
	packages, err := o.Packages(t.Context(), o.Admin)
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
			t.Fatalf("%d %s", a.code, a.text)
		}
		if a := v.get(t, a.header.Get("Location")); !strings.Contains(a.text, "shop 1") || !strings.Contains(a.text, `id="done"`) {
			t.Errorf("%d %s", a.code, a.text)
		}
	}
	all, err := o.Deployments(t.Context(), o.Admin)
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
		t.Errorf("%v", active)
	}
}

// What is wrong is on top, and says what to do next.
func TestWhatIsWrong(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Viewer])
	a := v.get(t, "/")
	for _, want := range []string{"loose is in no environment", "never-started has joined and never asked", "valence run --data DIR"} {
		if !strings.Contains(a.text, want) {
			t.Errorf("the overview does not say %q: %s", want, a.text)
		}
	}
	if strings.Index(a.text, "never-started has joined") > strings.Index(a.text, `id="atom-table"`) {
		t.Error("it is below")
	}
}
