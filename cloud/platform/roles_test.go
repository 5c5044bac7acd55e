package platform

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
)

// TestRules checks that an object has a rule for exactly the verbs it
// implements, so an endpoint without a rule cannot exist.
func TestRules(t *testing.T) {
	for _, e := range endpoints() {
		if _, ok := cloud.MinimumRole(e.action); !ok {
			t.Errorf("%s takes the action %q, which has no role", e.name(), e.action)
		}
		if e.doc == "" || e.run == nil {
			t.Errorf("%s has no description, or does nothing", e.name())
		}
	}
	rules(t, environmentObject)
	rules(t, atomObject)
	rules(t, attachmentObject)
	rules(t, installerTokenObject)
	rules(t, processObject)
	rules(t, componentObject)
	rules(t, packageObject)
	rules(t, deploymentObject)
	rules(t, recordObject)
	rules(t, schedulesObject)
	rules(t, scheduleStatusObject)
	rules(t, extensionsObject)
	rules(t, auditObject)
	rules(t, roleObject)
	if n := len(objects()); n != 14+1 {
		t.Errorf("%d objects: list the new one here", n)
	}
}

func rules[T any](t *testing.T, o *object[T]) {
	t.Helper()
	for v, has := range map[verb]bool{verbGet: o.Get != nil, verbBulk: o.Get != nil, verbQuery: o.List != nil || o.Page != nil,
		verbCreate: o.Create != nil, verbUpdate: o.Update != nil, verbDelete: o.Delete != nil} {
		if _, ok := o.Rules[v]; ok != has {
			t.Errorf("%s: %s: a rule: %v, a function: %v", o.Name, v, ok, has)
		}
	}
	if o.List != nil && o.Key == nil {
		t.Errorf("%s: it has a list and no key to order it by", o.Name)
	}
	seen := map[string]bool{}
	for _, p := range o.Properties {
		if p.Name == "" || p.Doc == "" || p.Of == nil || seen[p.Name] {
			t.Errorf("%s: the property %q is not whole, or there twice", o.Name, p.Name)
		}
		seen[p.Name] = true
	}
}

// TestEveryEndpointWithEveryRole calls every endpoint with every role, without a
// token, and with a token of another account.
func TestEveryEndpointWithEveryRole(t *testing.T) {
	shared := open(t, cloudtest.Options{Rate: 1e6}).furnish()
	for _, e := range endpoints() {
		t.Run(strings.ReplaceAll(e.name(), "/", "."), func(t *testing.T) {
			d := shared
			if reads := e.verb == verbGet || e.verb == verbBulk || e.verb == verbQuery || e.unavailable != ""; !reads {
				d = open(t, cloudtest.Options{}).furnish() // the endpoint changes the data
			}
			path, body := d.example(e)
			if w := d.askAs("", "", e.method, "default/"+path, body); w.Code != http.StatusUnauthorized {
				t.Errorf("without a token: got %d %s, want 401", w.Code, w.Body)
			}
			if w := d.askAs(d.other, "admin", e.method, "default/"+path, body); w.Code != http.StatusUnauthorized {
				t.Errorf("with another account's token: %d %s", w.Code, w.Body)
			}
			if w := d.askAs(d.other, "admin", e.method, "other/"+path, body, "Content-Type: application/json"); e.unavailable == "" && w.Code < 300 && strings.Contains(path, "-") {
				t.Errorf("another account sees it as its own: %d %s", w.Code, w.Body)
			}
			least, _ := cloud.MinimumRole(e.action)
			ok := func(status int) bool { return status < 300 || e.unavailable != "" }
			cloudtest.EveryRole(t, least, ok, func(r cloud.Role) (int, string) {
				w := d.askAs(d.tokens[r], string(r), e.method, "default/"+path, body, "Content-Type: application/json")
				if e.unavailable != "" && w.Code != http.StatusForbidden && w.Code != http.StatusNotImplemented {
					t.Errorf("%s: got %d, want 501: %s", r, w.Code, w.Body)
				}
				return w.Code, w.Body.String()
			})
		})
	}
}

// example returns a working request to an endpoint.
func (d *desk) example(e endpoint) (path, body string) {
	d.t.Helper()
	ids := map[string]string{"Environment": d.environment, "Atom": d.atom, "EnvironmentAtomAttachment": d.attachment, "Process": d.component,
		"ComponentMetadata": d.component, "PackagedComponent": d.pkg, "DeployedPackage": d.deployment, "ExecutionRecord": d.execution,
		"EnvironmentExtensions": d.environment, "Role": string(cloud.Viewer), "EnvironmentRole": "r", "ProcessSchedules": d.schedule("nightly"), "ProcessScheduleStatus": d.schedule("nightly")}
	id := ids[e.object]
	switch key := string(e.verb) + " " + e.object; {
	case key == "delete Environment":
		id = d.empty
	case key == "delete PackagedComponent":
		id = d.spare
	case e.verb == verbQuery && e.more:
		body = position{Object: e.object}.token()
	case e.verb == verbBulk:
		body = `{"type":"GET","request":[{"id":"` + id + `"}]}`
	case e.verb == verbCreate:
		body = map[string]string{
			"Environment":               `{"name":"new","classification":"TEST"}`,
			"EnvironmentAtomAttachment": `{"atomId":"` + d.atom + `","environmentId":"` + d.environment + `"}`,
			"InstallerToken":            `{"installType":"ATOM","durationMinutes":"60"}`,
			"PackagedComponent":         `{"componentId":"` + d.component + `","packageVersion":"2.0.0"}`,
			"DeployedPackage":           `{"environmentId":"` + d.environment + `","packageId":"` + d.pkg + `"}`,
		}[e.object]
	case e.verb == verbUpdate:
		body = map[string]string{"Environment": `{"name":"renamed"}`, "Atom": `{"name":"renamed"}`,
			"ProcessScheduleStatus": `{"enabled":"false"}`,
			"ProcessSchedules":      `{"Schedule":[{"minutes":"0-59/15","hours":"2-4","daysOfWeek":"2-6","daysOfMonth":"*","months":"*","years":"*"}]}`,
			"EnvironmentExtensions": `{"partial":true,"properties":{"property":[{"name":"SHOP_URL","value":"https://shop"}]}}`}[e.object]
	}
	question := `{"QueryFilter":{"expression":{"operator":"EQUALS","property":"containerId","argument":["` + d.atom + `"]}}}`
	run := `{"atomId":"` + d.atom + `","processId":"` + d.component + `"}`
	switch strings.Join(e.path, "/") {
	case "executeProcess", "ExecutionRequest":
		body = run
	case "ExecutionRecord/async/{id}":
		id = d.request
	case "cancelExecution/{id}":
		id = d.execution
	case "changeListenerStatus":
		body = `{"containerId":"` + d.atom + `","action":"pause_all"}`
	case "async/ListenerStatus/query", "ListenerStatus/query/async":
		body = question
	case "async/ListenerStatus/response/{id}", "ListenerStatus/async/{id}":
		id = listenerToken + position{Object: "ListenerStatus", Query: []byte(question)}.token()
	case "Package/upload":
		return "Package/upload?project=shop&version=9", string(d.archive(project + "# nine\n"))
	case "Package/{id}/archive":
		id = d.pkg
	}
	if placeholders(e) > 0 && id == "" {
		d.t.Fatalf("no example for %s", e.name())
	}
	return strings.ReplaceAll(strings.Join(e.path, "/"), "{id}", url.PathEscape(id)), body
}

// TestLimitedToEnvironments checks that a token limited to one environment
// neither sees nor changes another.
func TestLimitedToEnvironments(t *testing.T) {
	d := open(t, cloudtest.Options{}).furnish()
	token := d.token(cloud.Admin, d.empty)
	for _, c := range []struct{ method, path, body string }{
		{"GET", "Environment/" + d.environment, ""},
		{"POST", "Environment/" + d.environment, `{"name":"x"}`},
		{"GET", "Atom/" + d.atom, ""},
		{"DELETE", "Atom/" + d.atom, ""},
		{"GET", "DeployedPackage/" + d.deployment, ""},
		{"DELETE", "DeployedPackage/" + d.deployment, ""},
		{"POST", "DeployedPackage", `{"environmentId":"` + d.environment + `","packageId":"` + d.pkg + `"}`},
		{"POST", "ExecutionRequest", `{"atomId":"` + d.atom + `","processId":"` + d.component + `"}`},
		{"GET", "ExecutionRecord/async/" + d.request, ""},
		{"GET", "ExecutionRecord/" + d.execution, ""},
		{"POST", "cancelExecution/" + d.execution, ""},
		{"GET", "EnvironmentExtensions/" + d.environment, ""},
		{"POST", "EnvironmentExtensions/" + d.environment, `{"partial":true}`},
		{"GET", "ProcessSchedules/" + d.schedule("nightly"), ""},
		{"POST", "ProcessScheduleStatus/" + d.schedule("nightly"), `{"enabled":false}`},
		{"POST", "changeListenerStatus", `{"containerId":"` + d.atom + `","action":"pause_all"}`},
	} {
		if w := d.askAs(token, "admin", c.method, "default/"+c.path, c.body, "Content-Type: application/json"); w.Code != http.StatusNotFound && w.Code != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
	for _, name := range []string{"Atom", "EnvironmentAtomAttachment", "DeployedPackage", "ExecutionRecord", "ProcessSchedules", "ProcessScheduleStatus"} {
		if w := d.askAs(token, "admin", "POST", "default/"+name+"/query", "", "Accept: application/json"); !strings.Contains(w.Body.String(), `"numberOfResults":0`) {
			t.Errorf(`%s: got %d %s, want text with "numberOfResults":0`, name, w.Code, w.Body)
		}
	}
}

// TestLimitedTokensSeeNothing calls every endpoint with a token of another
// environment. No response contains an id or name of this one, except that an
// error may repeat the requested id.
func TestLimitedTokensSeeNothing(t *testing.T) {
	d := open(t, cloudtest.Options{Rate: 1e6}).furnish()
	token := d.token(cloud.Admin, d.empty)
	names := []string{"prod", "edge-01", "plant-7"}
	ids := []string{d.environment, d.atom, d.attachment, d.deployment, d.request, d.execution}
	for _, e := range endpoints() {
		path, body := d.example(e)
		hidden := names
		for _, format := range []string{"json", "xml"} {
			w := d.askAs(token, string(cloud.Admin), e.method, "default/"+path, body, "Content-Type: application/json", "Accept: application/"+format)
			if w.Code < 300 && e.verb != verbBulk { // bulk rejects each id separately
				hidden = append(hidden, ids...)
			}
			for _, x := range hidden {
				if strings.Contains(w.Body.String(), x) {
					t.Errorf("%s: got %d %s, want a response without %q", e.name(), w.Code, w.Body, x)
				}
			}
		}
	}
}
