package platform

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"valence/cloud/cloudtest"

	"github.com/pb33f/libopenapi"
)

// TestOpenAPI parses the description with a third-party library and checks that
// it contains every endpoint.
func TestOpenAPI(t *testing.T) {
	d := open(t, cloudtest.Options{})
	w := d.askAs("", "", "GET", "openapi.json", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got %v %v, want status 200 and Content-Type application/json", w.Code, w.Header())
	}
	document, err := libopenapi.NewDocument(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if v := document.GetVersion(); v != "3.1.0" {
		t.Errorf("got %q, want 3.1.0", v)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		if !strings.HasPrefix(path, "/{accountId}/") {
			t.Errorf(`got %q, want text beginning with "/{accountId}/"`, path)
		}
		for method, op := range item.GetOperations().FromOldest() {
			if op.OperationId == "" || names[op.OperationId] {
				t.Errorf("%s %s: the operation id %q is missing or there twice", method, path, op.OperationId)
			}
			names[op.OperationId] = true
			if op.Responses == nil || op.Responses.FindResponseByCode(401) == nil {
				t.Errorf("%s %s has no answer 401", method, path)
			}
		}
	}
	if len(names) != len(endpoints()) {
		t.Errorf("got %d operations, %d endpoints, want %v", len(names), len(endpoints()), len(endpoints()))
	}
	for name, schema := range model.Model.Components.Schemas.FromOldest() {
		if _, err := schema.BuildSchema(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var any map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &any); err != nil {
		t.Error(err)
	}
}
