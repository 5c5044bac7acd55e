package platform

import (
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/connectors"
	"valence/connectors/all"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// TestConnector executes a process and reads its record with the connector
// `platform`, through this API.
func TestConnector(t *testing.T) {
	d := open(t, cloudtest.Options{}).furnish()
	server := httptest.NewServer(d.handler)
	defer server.Close()
	kind := all.Registry("test")["platform"]
	settings := kind.NewSettings()
	bind(t, kind.Settings, settings, map[string]any{"url": server.URL, "user": "operator", "token": d.tokens[cloud.Operator]})
	conn, err := kind.Open(settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func(operation string, with map[string]any, key string) (map[string]any, error) {
		t.Helper()
		op, ok := kind.Operation(operation)
		if !ok {
			t.Fatal(operation)
		}
		w := op.NewWith()
		bind(t, op.With, w, with)
		r, err := op.Run(t.Context(), conn, w, &connectors.Call{IdempotencyKey: key, Body: document.FromJSON([]byte(`{"id":4711}`))})
		if err != nil {
			return nil, err
		}
		got, _ := document.Plain(r.Doc.Value()).(map[string]any)
		return got, nil
	}
	props := &document.Object{}
	props.Set("recordId", "4711")
	execute := map[string]any{"process": "fetch-order", "atom": "edge-01", "props": props, "document": true}
	first, err := call("execute", execute, "key-1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := call("execute", execute, "key-1")
	if err != nil || again["request_id"] != first["request_id"] {
		t.Fatalf("the same call made another request: %v, %v, %v", first, again, err)
	}
	id, _ := first["request_id"].(string)
	r, err := d.service.Executions.ExecutionRequest(t.Context(), d.admin, id)
	if err != nil || string(r.Props) != `{"recordId":"4711"}` || r.By != "operator" {
		t.Fatalf(`got %+v, %v, want Props {"recordId":"4711"}, By operator and no error`, r, err)
	}
	var f *fault.Failure
	if _, err := call("record", map[string]any{"request": id, "wait": "1ms"}, ""); !errors.As(err, &f) || f.Code != "not_ended" || !f.Retryable {
		t.Fatalf("before it has ended: %v", err)
	}
	go d.report("run-1", id, "completed")
	began := time.Now()
	record, err := call("record", map[string]any{"request": id, "wait": "20s"}, "")
	if err != nil || record["status"] != "COMPLETE" || record["processName"] != "fetch-order" || time.Since(began) > 10*time.Second {
		t.Fatalf(`got %v, %v, want record["status"] COMPLETE, record["processName"] fetch-order, time at most %v and no error`, record, err, 10*time.Second)
	}
	if _, err := call("execute", map[string]any{"process": "nothing", "atom": "edge-01"}, "key-2"); !errors.As(err, &f) || f.Status != 404 || f.Retryable {
		t.Fatalf("a process that there is not: %v", err)
	}
}

// bind decodes settings from values.
func bind(t *testing.T, fields []spec.Field, target any, values map[string]any) {
	t.Helper()
	o := &document.Object{}
	for k, v := range values {
		o.Set(k, v)
	}
	if err := spec.Bind(fields, target, o); err != nil {
		t.Fatal(err)
	}
}
