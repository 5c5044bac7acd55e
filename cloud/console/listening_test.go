package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"valence/cloud"
)

// TestDeployedListenersShowPauses checks that the pages of an environment and of
// a deployment show pauses made after the deployment.
func TestDeployedListenersShowPauses(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Operator])
	shows := func(when, want string) {
		t.Helper()
		for _, path := range []string{"/environments/{prod}", "/deployments/{deployment}"} {
			if a := v.get(t, path); !strings.Contains(a.text, want) {
				t.Errorf("%s: %s: got a page without %q", when, path, want)
			}
		}
	}
	shows("at first", ">RUNNING</span>")
	if a := v.do(t, http.MethodPost, "/atoms/{atom}/listener", url.Values{"action": {"pause"}, "process": {"{process}"}}); a.code != http.StatusSeeOther {
		t.Fatalf("got %d %s, want 303", a.code, a.text)
	}
	shows("one is paused", "1 of 2 paused")
	if a := v.do(t, http.MethodPost, "/listeners", url.Values{"environment": {"{prod}"}, "process": {"relay"}, "action": {"pause"}}); a.code != http.StatusSeeOther {
		t.Fatalf("got %d %s, want 303", a.code, a.text)
	}
	shows("both are paused", ">PAUSED</span>")
}

// TestAuditNamesEnvironments checks that entries name the environment and not
// only its id.
func TestAuditNamesEnvironments(t *testing.T) {
	o := open(t)
	v := o.signIn(t, o.tokens[cloud.Admin])
	v.do(t, http.MethodPost, "/atoms/{atom}/listener", url.Values{"action": {"pause"}, "process": {"{process}"}})
	if err := o.Deployments.Undeploy(t.Context(), o.Admin, o.ids.Replace("{deployment}")); err != nil {
		t.Fatal(err)
	}
	page := v.get(t, "/audit").text
	for _, want := range []string{"set env.CITY in prod", "pause relay on edge-01 in prod", "shop 2 from prod"} {
		if !strings.Contains(page, want) {
			t.Errorf("got no entry %q", want)
		}
	}
}
