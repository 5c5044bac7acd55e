package dataplane

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/steps"
	"valence/processes"
	"valence/processes/loader"
)

// described returns the OpenAPI document of the processes of a file.
func described(t *testing.T, yaml string) map[string]any {
	t.Helper()
	project, problems := loader.Load([]processes.File{{Name: "p.yaml", Content: []byte(yaml)}}, &processes.Catalog{Steps: steps.Kinds()})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	var deployed []*atom.DeployedProcess
	for _, name := range slices.Sorted(maps.Keys(project.Processes)) {
		deployed = append(deployed, &atom.DeployedProcess{Process: project.Processes[name]})
	}
	s := serve(t, &fake{}, deployed...)
	var out map[string]any
	if err := json.Unmarshal(send(s, "GET", "/openapi.json", "").Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// jsonAt returns the JSON at a path of keys; "" if there is nothing.
func jsonAt(t *testing.T, v any, path ...string) string {
	t.Helper()
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok || m[key] == nil {
			return ""
		}
		v = m[key]
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOpenAPIDescribesReplies(t *testing.T) {
	d := described(t, `
process: stock
listen: { path: "/stock/{sku}", method: GET, output: json, auth: none }
steps:
  - if: ${request.query.all == "yes"}
    then:
      - reply: { sku: "${request.params.sku}", label: "item ${request.params.sku}", many: true, note: "${doc?.note ?? omit}" }
  - if: ${request.headers["X-Trace"] == "on"}
    then: [ { throw: no stock, status: 422 } ]
  - if: ${request.query.html == "yes"}
    then:
      - reply: "<p>none</p>"
        headers: { Content-Type: text/html }
        status: 404
  - reply: { lines: { $each: "${doc ?? []}", no: "${item}" } }
---
process: computed
listen: { path: /computed, input: none, output: text, auth: none }
steps:
  - reply: ok
    status: ${len(request.path)}
---
process: orders
listen: { path: /orders, input: json, auth: none, ack: { status: 202, body: { received: "no ${doc.id}" } } }
dedupe: { key: '${request.headers["X-Event-Id"]}', window: 1h }
steps:
  - log: ${doc.id}
`)
	for _, c := range []struct {
		path []string
		want string
	}{
		{[]string{"/stock/{sku}", "get", "responses", "200", "content", "application/json", "schema"},
			`{"anyOf":[{"properties":{"label":{"type":"string"},"many":{"const":true},"note":{},"sku":{}},"required":["sku","label","many"],"type":"object"},` +
				`{"properties":{"lines":{"items":{"properties":{"no":{}},"required":["no"],"type":"object"},"type":"array"}},"required":["lines"],"type":"object"}]}`},
		{[]string{"/stock/{sku}", "get", "responses", "404", "content"},
			`{"application/problem+json":{"schema":{"$ref":"#/components/schemas/problem"}},"text/html":{}}`},
		{[]string{"/stock/{sku}", "get", "responses", "422"}, `{"$ref":"#/components/responses/problem422"}`},
		{[]string{"/stock/{sku}", "get", "responses", "default"}, ``},
		{[]string{"/stock/{sku}", "get", "parameters"},
			`[{"in":"path","name":"sku","required":true,"schema":{"minLength":1,"not":{"enum":[".",".."]},"pattern":"^[^\\x00-\\x1f\\x7f]+$","type":"string"}},{"in":"query","name":"all","schema":{"type":"string"}},` +
				`{"in":"header","name":"X-Trace","schema":{"type":"string"}},{"in":"query","name":"html","schema":{"type":"string"}}]`},
		{[]string{"/computed", "post", "responses", "default", "content"}, `{"text/*":{"schema":{"type":"string"}}}`},
		{[]string{"/computed", "post", "responses", "200"}, ``},
		{[]string{"/orders", "post", "responses", "202", "content"},
			`{"application/json":{"schema":{"properties":{"received":{"type":"string"}},"required":["received"],"type":"object"}}}`},
		{[]string{"/orders", "post", "parameters"}, `[{"in":"header","name":"X-Event-Id","required":true,"schema":{"type":"string"}}]`},
		{[]string{"/orders", "post", "requestBody", "required"}, `true`},
	} {
		if got := jsonAt(t, d["paths"], c.path...); got != c.want {
			t.Errorf("%s: got %s, want %s", strings.Join(c.path, " "), got, c.want)
		}
	}
	if version := jsonAt(t, d, "info", "version"); len(version) != 14 {
		t.Errorf("got version %s, want 12 hexadecimal digits", version)
	}
}

func TestXMLBody(t *testing.T) {
	for _, c := range []struct{ profile, want string }{
		{`{"type":"object","required":["order"],"properties":{"order":{"type":"object","required":["@no","line"],"properties":{"@no":{"type":"integer"},"line":{"type":"array","items":{"type":"string"}}}}}}`,
			`{"properties":{"line":{"items":{"type":"string"},"minItems":1,"type":"array"},"no":{"type":"integer","xml":{"attribute":true}}},"required":["no","line"],"type":"object","xml":{"name":"order"}}`},
		{`{"properties":{"a":{},"b":{}}}`, `null`},
		{`{"properties":{"a":{"$ref":"#"}}}`, `null`},
		{`{"properties":{"a":{"required":["#text"]}}}`, `null`},
		{`{"properties":{"a":{"properties":{"@b":{},"b":{}}}}}`, `null`},
		{`true`, `null`},
	} {
		if got, err := json.Marshal(xmlBody([]byte(c.profile))); err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.profile, got, err, c.want)
		}
	}
}
