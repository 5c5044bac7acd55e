package operator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/operator"
	"valence/internal/wire"
)

// endpoint is an example request to one endpoint. Reads share one control
// plane.
type endpoint struct {
	path, body string
	least      cloud.Role
	changes    bool
}

// endpoints holds every endpoint by method and path. A new one without an
// example fails TestEveryEndpointWithEveryRole.
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
	"POST /environments/{id}/replays":       {"/environments/empty/replays", `{"package":"{package}","last":10}`, cloud.Deployer, true},
	"GET /replays/{id}":                     {"/replays/{replay}", "", cloud.Deployer, false},
	"DELETE /replays/{id}":                  {"/replays/{replay}", "", cloud.Deployer, true},
	"GET /audit":                            {"/audit", "", cloud.Admin, false},
	"POST /backup":                          {"/backup", `{"folder":"{folder}"}`, cloud.Admin, true},
}

// elsewhere holds the statuses of endpoints that need a connected atom, which
// this test lacks.
var elsewhere = map[string]int{"GET /atoms/{id}/log": http.StatusConflict}

// fixture is a control plane with at least one object of every kind and a token
// for every role.
type fixture struct {
	*cloudtest.Plane
	tokens     map[cloud.Role]string
	other      string // an admin's token of another account
	deployment string
	record     string // of a failed execution
	pack       string // id
	replay     string
}

func open(t *testing.T) *fixture {
	t.Helper()
	o := &fixture{}
	o.Plane = cloudtest.Start(t, cloudtest.Options{Handler: func(s *cloud.Service) http.Handler { return operator.New(s, nil) }})
	e := o.Environment(t, "prod")
	o.Environment(t, "empty")
	atom := cloudtest.Join(t, o.URL, o.InstallToken(t, "prod"), "edge-01")
	x, d := o.Deploy(t, e.ID, "shop", "1", "process: relay\nsteps:\n  - log: ${env.SHOP_URL}\n---\nprocess: nightly\nschedule: { cron: \"@daily\" }\nsteps:\n  - log: x\n")
	replay, err := o.Replays.Start(t.Context(), o.Admin, cloud.ReplayRequest{EnvironmentID: "empty", PackageID: x.ID, Last: 1})
	if err != nil {
		t.Fatal(err)
	}
	o.deployment, o.pack, o.replay = d.ID, x.ID, replay.ID
	// The atom never polls; otherwise its log would be waited for.
	if err := o.AtomAPI.StoreReports(t.Context(), atom.ID, wire.Reports{Executions: []wire.ExecutionReport{{Execution: "x1", Process: "relay", Kind: "listener", Status: "failed", Received: time.Now(), Ended: time.Now()}}}); err != nil {
		t.Fatal(err)
	}
	found, _, err := o.Executions.Records(t.Context(), o.Admin, cloud.RecordFilter{}, cloud.Cursor{}, 1)
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v, want len(found) 1 and no error", found, err)
	}
	o.record = found[0].ID
	o.tokens, o.other = o.RoleTokens(t), o.OtherAccount(t)
	o.Token(t, cloud.Token{Name: "spare", Role: cloud.Viewer})
	return o
}

func (o *fixture) call(t *testing.T, token, account, method string, e endpoint) (int, string) {
	t.Helper()
	fill := strings.NewReplacer("{deployment}", o.deployment, "{record}", o.record, "{package}", o.pack, "{replay}", o.replay, "{folder}", filepath.Join(t.TempDir(), "copy"))
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

// TestEveryEndpointWithEveryRole calls every endpoint with every role, without
// a token, and with a token of another account.
func TestEveryEndpointWithEveryRole(t *testing.T) {
	routes := operator.Routes()
	cloudtest.CheckRules(t, routes, endpoints)
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
					t.Errorf("%s: got %d %s, want 401", who, code, text)
				}
			}
			if code, text := o.call(t, o.other, "other", method, e); regexp.MustCompile(`edge-01|prod`).MatchString(text) && code < 300 {
				t.Errorf("another account sees it as its own: %d %s", code, text)
			}
			ok := func(status int) bool { return status < 300 || status == elsewhere[name] }
			cloudtest.EveryRole(t, e.least, ok, func(role cloud.Role) (int, string) {
				return o.call(t, o.tokens[role], "default", method, e)
			})
		})
	}
}

// TestAudited: the audit log says who changed something, what, when and from
// where.
func TestAudited(t *testing.T) {
	o := open(t)
	for _, name := range []string{"POST /tokens", "PATCH /environments/{id}/fields", "POST /atoms/{id}/retire", "DELETE /atoms/{id}"} {
		method, _, _ := strings.Cut(name, " ")
		if code, text := o.call(t, o.tokens[cloud.Admin], "default", method, endpoints[name]); code >= 300 {
			t.Fatalf("%s: got %d %s, want less than 300", name, code, text)
		}
	}
	for range 3 { // refusals are logged once a minute
		if code, text := o.call(t, o.tokens[cloud.Viewer], "default", "POST", endpoints["POST /tokens"]); code != http.StatusForbidden {
			t.Fatalf("got %d %s, want 403", code, text)
		}
	}
	_, text := o.call(t, o.tokens[cloud.Admin], "default", "GET", endpoints["GET /audit"])
	if strings.Count(text, `"action":"denied","object":"token.create"`) != 1 {
		t.Errorf("the denied action is not in the audit log: %s", text)
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

// TestLimitedTokensSeeNothing: responses to a token of another environment
// contain nothing of this one.
func TestLimitedTokensSeeNothing(t *testing.T) {
	o := open(t)
	x, err := o.Accounts.CreateToken(t.Context(), o.Admin, cloud.Token{Name: "limited", Role: cloud.Admin, Environments: []string{"empty"}})
	if err != nil {
		t.Fatal(err)
	}
	prod, err := o.Service.Environments.Get(t.Context(), o.Admin, "prod")
	if err != nil {
		t.Fatal(err)
	}
	for name := range operator.Routes() {
		method, _, _ := strings.Cut(name, " ")
		code, answer := o.call(t, x.Secret, "default", method, endpoints[name])
		for _, hidden := range []string{"prod", "edge-01", prod.ID, o.deployment} {
			if code < 300 && strings.Contains(answer, hidden) {
				t.Errorf("%s: got %d with %q: %s", name, code, hidden, answer)
			}
		}
	}
}

// Objects are found by any valid name.
func TestAnyName(t *testing.T) {
	o := open(t)
	for _, name := range []string{"a/b", "50% of it", "<script>", "../atoms", "ü?#"} {
		if _, err := o.Accounts.CreateToken(t.Context(), o.Admin, cloud.Token{Name: name, Role: cloud.Viewer}); err != nil {
			t.Fatal(err)
		}
		if code, text := o.call(t, o.tokens[cloud.Admin], "default", "DELETE", endpoint{path: "/tokens/" + url.PathEscape(name)}); code != http.StatusNoContent {
			t.Errorf("%q: got %d %s, want 204", name, code, text)
		}
	}
}
