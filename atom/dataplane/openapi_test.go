package dataplane

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"

	"valence/atom"
	"valence/internal/profile"
	"valence/processes"
)

func shaped(name, source string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) {
		s, err := profile.Compile([]byte(source), name)
		if err != nil {
			panic(err)
		}
		d.Process.Delivery.Profile = &processes.Profile{Name: name, Schema: s, Source: []byte(source)}
	}
}

// TestOpenAPI validates the document of every kind of listener with an
// independent library.
func TestOpenAPI(t *testing.T) {
	node := `{"type":"object","properties":{"$ref":{"type":"string"},"children":{"type":"array","items":{"$ref":"#"}},"size":{"$ref":"#/$defs/size"}},
		"$defs":{"size":{"type":"integer"}}}`
	s := serve(t, &fake{},
		on("/orders", shaped("node", node), guarded("shop", "api_key", map[string]any{"header": "X-Api-Key", "key": "s3cret-key"})),
		on("/orders/{id}", methods("GET", "DELETE"), takesAs("none"), replies("json"), guarded("people", "basic", map[string]any{"user": "u", "password": "s3cret-key"})),
		on("/orders/{number}", methods("PUT"), replies("xml"), takesAs("xml"), shaped("node", node)),
		on("/quotes", modes(processes.Continue, "sync", "deferred", "callback"), shaped("node", node), guarded("tokens", "jwt", map[string]any{"key": strings.Repeat("k", 32)})),
		on("/hooks", takesAs("binary"), guarded("signed", "hmac", map[string]any{"preset": "github", "secret": "s3cret-key"})),
		on("/forms", takesAs("form"), func(d *atom.DeployedProcess) { d.Process.Listen.Ack = &processes.Ack{Status: 204} }),
		on("/texts", takesAs("text"), replies("text"), methods("POST", "PROPFIND"), limited(processes.Limits{Rate: 5})),
		on("/files", takesAs("multipart"), replies("binary"), guarded("query", "api_key", map[string]any{"query": "key", "key": "s3cret-key"})),
	)
	get := func() string {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/openapi.json", nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("got %v, %v, want status 200, Content-Type \"application/json\"", w.Code, w.Header())
		}
		return w.Body.String()
	}
	text := get()
	if strings.Contains(text, "s3cret-key") {
		t.Error("got a secret in the document, want none")
	}
	parsed, err := libopenapi.NewDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	model, err := parsed.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	operations := map[string]bool{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			if op.OperationId == "" || operations[op.OperationId] {
				t.Errorf("%s %s: the operation id %q is missing or there twice", method, path, op.OperationId)
			}
			operations[op.OperationId] = true
			if strings.Count(path, "{") > len(op.Parameters) {
				t.Errorf("%s %s: got %d parameters, want at least %d", method, path, len(op.Parameters), strings.Count(path, "{"))
			}
		}
	}
	if len(operations) != 10 {
		t.Errorf("got %v, want 10 operations", operations)
	}
	for name, schema := range model.Model.Components.Schemas.FromOldest() {
		if _, err := schema.BuildSchema(); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	for _, want := range []string{
		`"$ref":"#/components/schemas/profile-node/$defs/size"`, `"$ref":"#/components/schemas/profile-node"}`,
		`"name":"X-Api-Key"`, `"in":"query","name":"key"`, `"bearerFormat":"JWT"`, `"name":"X-Hub-Signature-256"`, `"scheme":"basic"`,
		`"{$request.header.Callback-Url}"`, `"application/problem+xml"`, `"/executions/{id}"`, `"204":`, `"429":`, `"required":true}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("without %s", want)
		}
	}

	// A deployment changes the document, and other methods are rejected.
	s.Deploy([]*atom.DeployedProcess{on("/orders", takesAs("none"), replies("json"), methods("GET"))})
	var now struct {
		Paths map[string]any `json:"paths"`
	}
	if err := json.Unmarshal([]byte(get()), &now); err != nil || len(now.Paths) != 1 {
		t.Errorf("got %+v %v, want len(now.Paths) 1 and no error", now, err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/openapi.json", nil))
	if w.Code != 405 {
		t.Errorf("got %v, want status 405", w.Code)
	}
}

func TestEmbeddedSchema(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`{"items":{"$ref":"#"}}`, `{"items":{"$ref":"/r"}}`},
		{`{"$defs":{"default":{"$ref":"#/$defs/a"}}}`, `{"$defs":{"default":{"$ref":"/r/$defs/a"}}}`},
		{`{"anyOf":[{"$ref":"#/$defs/a"},{"const":{"$ref":"#/b"}}],"default":{"$ref":"#/c"}}`,
			`{"anyOf":[{"$ref":"/r/$defs/a"},{"const":{"$ref":"#/b"}}],"default":{"$ref":"#/c"}}`},
		{`{"$id":"urn:x","not":{"$ref":"#/$defs/a"}}`, `{"$id":"urn:x","not":{"$ref":"#/$defs/a"}}`},
		{`{"maximum":12345678901234567890.10}`, `{"maximum":12345678901234567890.10}`},
		{`true`, `true`},
	} {
		if got, err := json.Marshal(embedded([]byte(c.in), "/r")); err != nil || string(got) != c.out {
			t.Errorf("%s: got %s, %v, want %q and no error", c.in, got, err, c.out)
		}
	}
}
