package console_test

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/console"
)

// endpoint is one page or action, requested with every role. Pages change
// nothing, so one control plane serves all of them.
type endpoint struct {
	path  string
	form  url.Values
	least cloud.Role
}

// endpoints lists every one by method and path. TestEveryEndpointWithEveryRole
// fails for a route that is missing here.
var endpoints = map[string]endpoint{
	"GET /{$}":                        {"/", nil, cloud.Viewer},
	"GET /atoms/{id}":                 {"/atoms/{atom}", nil, cloud.Viewer},
	"POST /atoms/{id}/log":            {"/atoms/{loose}/log", nil, cloud.Operator},
	"POST /atoms/{id}/listener":       {"/atoms/{atom}/listener", url.Values{"action": {"pause"}, "process": {"{process}"}}, cloud.Operator},
	"POST /atoms/{id}/rename":         {"/atoms/{atom}/rename", url.Values{"name": {"edge-02"}}, cloud.Admin},
	"POST /atoms/{id}/attach":         {"/atoms/{loose}/attach", url.Values{"environment": {"{empty}"}}, cloud.Admin},
	"GET /atoms/{id}/detach":          {"/atoms/{atom}/detach", nil, cloud.Admin},
	"POST /atoms/{id}/detach":         {"/atoms/{atom}/detach", nil, cloud.Admin},
	"GET /atoms/{id}/retire":          {"/atoms/{atom}/retire", nil, cloud.Admin},
	"POST /atoms/{id}/retire":         {"/atoms/{atom}/retire", nil, cloud.Admin},
	"GET /atoms/{id}/revoke":          {"/atoms/{atom}/revoke", nil, cloud.Admin},
	"POST /atoms/{id}/revoke":         {"/atoms/{atom}/revoke", url.Values{"typed": {"edge-01"}}, cloud.Admin},
	"GET /environments":               {"/environments", nil, cloud.Viewer},
	"POST /environments":              {"/environments", url.Values{"name": {"new"}, "classification": {"TEST"}}, cloud.Admin},
	"GET /environments/{id}":          {"/environments/{prod}", nil, cloud.Viewer},
	"POST /environments/{id}/policy":  {"/environments/{prod}/policy", url.Values{"percent": {"20"}, "minutes": {"5"}}, cloud.Admin},
	"POST /environments/{id}/fields":  {"/environments/{prod}/fields", url.Values{"name": {"env.SHOP_URL"}, "value": {"https://shop.example"}}, cloud.Deployer},
	"GET /environments/{id}/fields":   {"/environments/{prod}/fields?field=env.CITY", nil, cloud.Deployer},
	"GET /environments/{id}/delete":   {"/environments/{empty}/delete", nil, cloud.Admin},
	"POST /environments/{id}/delete":  {"/environments/{empty}/delete", url.Values{"typed": {"empty"}}, cloud.Admin},
	"GET /listeners":                  {"/listeners?environment={prod}&process=relay", nil, cloud.Viewer},
	"GET /listeners/change":           {"/listeners/change?environment={prod}&process=relay&action=pause", nil, cloud.Operator},
	"POST /listeners":                 {"/listeners", url.Values{"environment": {"{prod}"}, "process": {"relay"}, "action": {"pause"}}, cloud.Operator},
	"GET /deploy":                     {"/deploy?environment={empty}&package={package}", nil, cloud.Deployer},
	"POST /deploy":                    {"/deploy", url.Values{"environment": {"{empty}"}, "package": {"{package}"}}, cloud.Deployer},
	"GET /packages/{id}/process":      {"/packages/{package}/process?name=relay", nil, cloud.Deployer},
	"GET /packages/{id}/drawing":      {"/packages/{package}/drawing?name=relay", nil, cloud.Deployer},
	"GET /deployments/{id}":           {"/deployments/{deployment}", nil, cloud.Viewer},
	"GET /deployments/{id}/undeploy":  {"/deployments/{deployment}/undeploy", nil, cloud.Deployer},
	"POST /deployments/{id}/undeploy": {"/deployments/{deployment}/undeploy", url.Values{"typed": {"shop"}}, cloud.Deployer},
	"GET /executions":                 {"/executions?status=INPROCESS&atom={atom}", nil, cloud.Viewer},
	"GET /executions/{id}":            {"/executions/{record}", nil, cloud.Viewer},
	"GET /executions/{id}/cancel":     {"/executions/{record}/cancel", nil, cloud.Operator},
	"POST /executions/{id}/cancel":    {"/executions/{record}/cancel", nil, cloud.Operator},
	"GET /executions/{id}/resubmit":   {"/executions/{failed}/resubmit?from=failed_step", nil, cloud.Operator},
	"POST /executions/{id}/resubmit":  {"/executions/{failed}/resubmit", url.Values{"from": {"failed_step"}}, cloud.Operator},
	"GET /requests/{id}":              {"/requests/{request}", nil, cloud.Viewer},
	"GET /execute":                    {"/execute?atom={atom}", nil, cloud.Operator},
	"POST /execute":                   {"/execute", url.Values{"atom": {"{atom}"}, "process": {"{process}"}, "name": {"id"}, "value": {"4711"}, "key": {"k"}}, cloud.Operator},
	"GET /join":                       {"/join", nil, cloud.Admin},
	"POST /join":                      {"/join", url.Values{"environment": {"{prod}"}, "minutes": {"60"}, "name": {"new"}}, cloud.Admin},
	"GET /join/{id}":                  {"/join/{install}", nil, cloud.Admin},
	"GET /tokens":                     {"/tokens", nil, cloud.Admin},
	"POST /tokens":                    {"/tokens", url.Values{"name": {"x"}, "role": {"viewer"}, "days": {"1"}}, cloud.Admin},
	"GET /tokens/{id}/revoke":         {"/tokens/{spare}/revoke", nil, cloud.Admin},
	"POST /tokens/{id}/revoke":        {"/tokens/{spare}/revoke", nil, cloud.Admin},
	"GET /accounts":                   {"/accounts", nil, cloud.Admin},
	"POST /accounts":                  {"/accounts", url.Values{"name": {"acme"}}, cloud.Admin},
	"GET /audit":                      {"/audit", nil, cloud.Admin},
}

// elsewhere lists endpoints that need a connected atom, which this test lacks.
var elsewhere = map[string]int{"POST /atoms/{id}/log": http.StatusConflict}

// TestEveryEndpointWithEveryRole requests every endpoint with every role,
// without a session, and with a session of another account. A form without the
// session's token is rejected for everyone.
func TestEveryEndpointWithEveryRole(t *testing.T) {
	routes := console.Routes()
	cloudtest.CheckRules(t, routes, endpoints)
	shared := open(t)
	for name := range routes {
		e := endpoints[name]
		t.Run(strings.ReplaceAll(name, "/", "."), func(t *testing.T) {
			method, _, _ := strings.Cut(name, " ")
			o := shared
			if method != http.MethodGet {
				o = open(t)
			}
			if a := (&visitor{o: o}).do(t, method, e.path, e.form); a.code != http.StatusUnauthorized {
				t.Errorf("nobody: got %d %s, want 401", a.code, a.text)
			}
			other := o.signIn(t, o.other).do(t, method, e.path, e.form)
			if regexp.MustCompile(`edge-01|prod`).MatchString(strings.ReplaceAll(other.text, e.path, "")) && other.code < 300 {
				t.Errorf("another account sees it as its own: %d %s", other.code, other.text)
			}
			if strings.Contains(e.path, "/{") && other.code != http.StatusNotFound && other.code != http.StatusConflict {
				t.Errorf("another account: %d", other.code)
			}
			if method != http.MethodGet {
				forged(t, o, e)
			}
			ok := func(status int) bool { return status < 400 || status == elsewhere[name] }
			cloudtest.EveryRole(t, e.least, ok, func(role cloud.Role) (int, string) {
				a := o.signIn(t, o.tokens[role]).do(t, method, e.path, e.form)
				return a.code, a.text
			})
		})
	}
}

// forged sends a form without the session's token, as an administrator.
func forged(t *testing.T, o *office, e endpoint) {
	t.Helper()
	v := o.signIn(t, o.tokens[cloud.Admin])
	own := v.csrf
	for name, value := range map[string]string{"nothing": "", "another session's": o.signIn(t, o.tokens[cloud.Admin]).csrf} {
		v.csrf = value
		if a := v.do(t, http.MethodPost, e.path, e.form); a.code != http.StatusForbidden {
			t.Errorf("a form with %s: got %d %s, want 403", name, a.code, a.text)
		}
	}
	v.csrf = own
	for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}} {
		v.header = header
		if a := v.do(t, http.MethodPost, e.path, e.form); a.code != http.StatusForbidden {
			t.Errorf("from another site, %v: %d %s", header, a.code, a.text)
		}
	}
}

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"#?]+)`)
	pageLink   = regexp.MustCompile(`href="(/[^"#?]*)`)
)

// TestNothingIsOfferedThatIsRefused checks that every form and link on the pages
// of a role leads to an allowed action.
func TestNothingIsOfferedThatIsRefused(t *testing.T) {
	o := open(t)
	actions := console.Routes()
	offered := map[cloud.Role]map[string]bool{}
	for _, role := range cloud.Roles() {
		offered[role] = map[string]bool{}
		v := o.signIn(t, o.tokens[role])
		paths := []string{"/atoms/{loose}", "/environments/{empty}", "/executions/{failed}"}
		for name, e := range endpoints {
			if strings.HasPrefix(name, "GET ") {
				paths = append(paths, e.path)
			}
		}
		for _, path := range paths {
			a := v.get(t, path)
			for _, m := range formAction.FindAllStringSubmatch(a.text, -1) {
				offered[role]["POST "+pattern(m[1])] = true
			}
			for _, m := range pageLink.FindAllStringSubmatch(a.text, -1) {
				offered[role]["GET "+pattern(m[1])] = true
			}
		}
		for name := range offered[role] {
			action, known := actions[name]
			if name == "POST /signout" || strings.HasPrefix(name, "GET /static/") {
				continue
			}
			least, _ := cloud.MinimumRole(action)
			if !known || slices.Index(cloud.Roles(), role) < slices.Index(cloud.Roles(), least) {
				t.Errorf("%s is offered %s, which takes %q", role, name, least)
			}
		}
	}
	for name := range actions {
		if !offered[cloud.Admin][name] && name != "GET /join/{id}" && name != "GET /requests/{id}" {
			t.Errorf("%s is offered to nobody", name)
		}
	}
}

// pattern returns the route of a path.
func pattern(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch path {
	case "/":
		return "/{$}"
	case "/listeners/change":
		return path
	}
	if len(parts) > 1 && parts[0] != "static" {
		parts[1] = "{id}"
	}
	return "/" + strings.Join(parts, "/")
}
