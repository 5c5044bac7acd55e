package operator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/operator"
	"valence/internal/wire"
)

// endpoint is one of this API, as it is called with every role. Reads change
// nothing, so one control plane serves all of them.
type endpoint struct {
	path, body string
	least      cloud.Role
	changes    bool
}

// endpoints has every one by its method and path: a new one without a rule here
// fails TestEveryEndpointWithEveryRole.
var endpoints = map[string]endpoint{
	"GET /accounts":                         {"/accounts", "", cloud.Admin, false},
	"POST /accounts":                        {"/accounts", `{"name":"acme"}`, cloud.Admin, true},
	"GET /tokens":                           {"/tokens", "", cloud.Admin, false},
	"POST /tokens":                          {"/tokens", `{"name":"x","role":"viewer"}`, cloud.Admin, true},
	"DELETE /tokens/{id}":                   {"/tokens/spare", "", cloud.Admin, true},
	"POST /install-tokens":                  {"/install-tokens", `{"environment":"prod"}`, cloud.Admin, true},
	"GET /atoms":                            {"/atoms", "", cloud.Viewer, false},
	"GET /atoms/{id}":                       {"/atoms/edge-01", "", cloud.Viewer, false},
	"GET /atoms/{id}/log":                   {"/atoms/edge-01/log?lines=10", "", cloud.Operator, false},
	"GET /atoms/{id}/listeners":             {"/atoms/edge-01/listeners", "", cloud.Viewer, false},
	"POST /atoms/{id}/listeners":            {"/atoms/edge-01/listeners", `{"process":"relay","action":"pause"}`, cloud.Operator, true},
	"DELETE /atoms/{id}":                    {"/atoms/edge-01", "", cloud.Admin, true},
	"POST /atoms/{id}/retire":               {"/atoms/edge-01/retire", "", cloud.Admin, true},
	"PATCH /atoms/{id}":                     {"/atoms/edge-01", `{"purge_days":14}`, cloud.Admin, true},
	"PUT /atoms/{id}/environment":           {"/atoms/edge-01/environment", `{"environment":"prod"}`, cloud.Admin, true},
	"DELETE /atoms/{id}/environment":        {"/atoms/edge-01/environment", "", cloud.Admin, true},
	"GET /schedules":                        {"/schedules?atom=edge-01", "", cloud.Viewer, false},
	"PATCH /atoms/{id}/schedules/{process}": {"/atoms/edge-01/schedules/nightly", `{"enabled":false}`, cloud.Operator, true},
	"POST /executions/{id}/resubmit":        {"/executions/{record}/resubmit", `{"from":"failed_step"}`, cloud.Operator, true},
	"GET /environments":                     {"/environments", "", cloud.Viewer, false},
	"POST /environments":                    {"/environments", `{"name":"new"}`, cloud.Admin, true},
	"DELETE /environments/{id}":             {"/environments/empty", "", cloud.Admin, true},
	"PATCH /environments/{id}/policy":       {"/environments/prod/policy", `{"short_poll":true}`, cloud.Admin, true},
	"GET /environments/{id}/fields":         {"/environments/prod/fields", "", cloud.Viewer, false},
	"PATCH /environments/{id}/fields":       {"/environments/prod/fields", `{"env.SHOP_URL":"https://shop.example"}`, cloud.Deployer, true},
	"GET /deployments":                      {"/deployments", "", cloud.Viewer, false},
	"GET /deployments/{id}":                 {"/deployments/{deployment}", "", cloud.Viewer, false},
	"DELETE /deployments/{id}":              {"/deployments/{deployment}", "", cloud.Deployer, true},
	"GET /audit":                            {"/audit", "", cloud.Admin, false},
	"POST /backup":                          {"/backup", `{"folder":"{folder}"}`, cloud.Admin, true},
}

// elsewhere are the endpoints that an atom has to answer, and here there is none.
var elsewhere = map[string]int{"GET /atoms/{id}/log": http.StatusConflict}

// office is a control plane with something of everything, and a token of every
// role.
type office struct {
	*cloudtest.Plane
	tokens     map[cloud.Role]string
	other      string // an admin's of another account
	deployment string
	record     string // of an execution that failed
}

func open(t *testing.T) *office {
	t.Helper()
	o := &office{tokens: map[cloud.Role]string{}}
	o.Plane = cloudtest.Start(t, cloudtest.Options{Handler: func(s *cloud.Service) http.Handler { return operator.New(s, nil) }})
	e := o.Environment(t, "prod")
	o.Environment(t, "empty")
	atom := cloudtest.Join(t, o.URL, o.InstallToken(t, "prod"), "edge-01")
	_, d := o.Deploy(t, e.ID, "shop", "1", "process: relay\nsteps:\n  - log: ${env.SHOP_URL}\n---\nprocess: nightly\nschedule: { cron: \"@daily\" }\nsteps:\n  - log: x\n")
	o.deployment = d.ID
	// Of an atom that has not asked: of one in touch its log would be waited for.
	if err := o.Report(t.Context(), atom.ID, wire.Reports{Executions: []wire.ExecutionReport{{Execution: "x1", Process: "relay", Kind: "listener", Status: "failed", Received: time.Now(), Ended: time.Now()}}}); err != nil {
		t.Fatal(err)
	}
	found, _, err := o.Records(t.Context(), o.Admin, cloud.RecordFilter{}, cloud.Place{}, 1)
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	o.record = found[0].ID
	for _, r := range append(cloud.Roles(), "spare") {
		role := r
		if r == "spare" {
			role = cloud.Viewer
		}
		x, err := o.CreateToken(t.Context(), o.Admin, cloud.Token{Name: string(r), Role: role})
		if err != nil {
			t.Fatal(err)
		}
		o.tokens[r] = x.Secret
	}
	if o.other, err = o.CreateAccount(t.Context(), o.Admin, "other"); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) call(t *testing.T, token, account, method string, e endpoint) (int, string) {
	t.Helper()
	fill := strings.NewReplacer("{deployment}", o.deployment, "{record}", o.record, "{folder}", filepath.Join(t.TempDir(), "copy"))
	req, err := http.NewRequestWithContext(t.Context(), method, o.URL+operator.Root+account+fill.Replace(e.path), strings.NewReader(fill.Replace(e.body)))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// TestEveryEndpointWithEveryRole calls all there is with every role, with no
// token, and with one of another account.
func TestEveryEndpointWithEveryRole(t *testing.T) {
	routes := operator.Routes()
	cloudtest.Ruled(t, routes, endpoints)
	shared := open(t)
	for name := range routes {
		e := endpoints[name]
		t.Run(strings.ReplaceAll(name, "/", "."), func(t *testing.T) {
			method, _, _ := strings.Cut(name, " ")
			o := shared
			if e.changes {
				o = open(t)
			}
			for who, token := range map[string]string{"nobody": "", "another account": o.other, "an unknown token": "vt_nothing"} {
				if code, text := o.call(t, token, "default", method, e); code != http.StatusUnauthorized {
					t.Errorf("%s: %d %s", who, code, text)
				}
			}
			if code, text := o.call(t, o.other, "other", method, e); regexp.MustCompile(`edge-01|prod`).MatchString(text) && code < 300 {
				t.Errorf("another account sees it as its own: %d %s", code, text)
			}
			done := false
			for _, role := range cloud.Roles() {
				allowed := slices.Index(cloud.Roles(), role) >= slices.Index(cloud.Roles(), e.least)
				code, text := o.call(t, o.tokens[role], "default", method, e)
				switch {
				case !allowed && code != http.StatusForbidden:
					t.Errorf("%s: %d, want 403: %s", role, code, text)
				case allowed && !done && code >= 300 && code != elsewhere[name]:
					t.Errorf("%s: %d: %s", role, code, text)
				case allowed && (code == http.StatusForbidden || code == http.StatusUnauthorized):
					t.Errorf("%s: %d: %s", role, code, text)
				}
				done = done || allowed
			}
		})
	}
}

// TestAudited: what was changed is in the audit log with who, what and from where.
func TestAudited(t *testing.T) {
	o := open(t)
	for _, name := range []string{"POST /tokens", "PATCH /environments/{id}/fields", "POST /atoms/{id}/retire", "DELETE /atoms/{id}"} {
		method, _, _ := strings.Cut(name, " ")
		if code, text := o.call(t, o.tokens[cloud.Admin], "default", method, endpoints[name]); code >= 300 {
			t.Fatalf("%s: %d %s", name, code, text)
		}
	}
	for range 3 { // so does one that may not, once a minute
		if code, text := o.call(t, o.tokens[cloud.Viewer], "default", "POST", endpoints["POST /tokens"]); code != http.StatusForbidden {
			t.Fatalf("%d %s", code, text)
		}
	}
	_, text := o.call(t, o.tokens[cloud.Admin], "default", "GET", endpoints["GET /audit"])
	if strings.Count(text, `"action":"denied","object":"token.create"`) != 1 {
		t.Errorf("what was denied is not in the audit log: %s", text)
	}
	var log struct {
		Entries []struct{ Who, Action, From string }
	}
	if err := json.Unmarshal([]byte(text), &log); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, e := range log.Entries {
		if e.Who == "admin" && e.From == "127.0.0.1" {
			seen[e.Action] = e.Who
		}
	}
	for _, action := range []string{"token.create", "extension.update", "atom.retire", "atom.delete"} {
		if seen[action] == "" {
			t.Errorf("%s is not in the audit log: %s", action, text)
		}
	}
}

// TestLimitedTokensAreToldNothing asks everything there is with a token of
// another environment: no answer holds what is in this one.
func TestLimitedTokensAreToldNothing(t *testing.T) {
	o := open(t)
	x, err := o.CreateToken(t.Context(), o.Admin, cloud.Token{Name: "limited", Role: cloud.Admin, Environments: []string{"empty"}})
	if err != nil {
		t.Fatal(err)
	}
	prod, err := o.Service.Environment(t.Context(), o.Admin, "prod")
	if err != nil {
		t.Fatal(err)
	}
	for name := range operator.Routes() {
		method, _, _ := strings.Cut(name, " ")
		code, answer := o.call(t, x.Secret, "default", method, endpoints[name])
		for _, hidden := range []string{"prod", "edge-01", prod.ID, o.deployment} {
			if code < 300 && strings.Contains(answer, hidden) {
				t.Errorf("%s: %d tells %q: %s", name, code, hidden, answer)
			}
		}
	}
}

// What has a name is found by it, whatever the name is.
func TestNamesAreAnything(t *testing.T) {
	o := open(t)
	for _, name := range []string{"a/b", "50% of it", "<script>", "../atoms", "ü?#"} {
		if _, err := o.CreateToken(t.Context(), o.Admin, cloud.Token{Name: name, Role: cloud.Viewer}); err != nil {
			t.Fatal(err)
		}
		if code, text := o.call(t, o.tokens[cloud.Admin], "default", "DELETE", endpoint{path: "/tokens/" + url.PathEscape(name)}); code != http.StatusNoContent {
			t.Errorf("%q: %d %s", name, code, text)
		}
	}
}
