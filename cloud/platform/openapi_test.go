package platform

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"

	"valence/cloud"
)

// TestOpenAPI has the description read by somebody else's library, and holds
// that it has every endpoint.
func TestOpenAPI(t *testing.T) {
	d := open(t, cloud.Options{})
	w := d.askAs("", "", "GET", "openapi.json", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatal(w.Code, w.Header())
	}
	document, err := libopenapi.NewDocument(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if v := document.GetVersion(); v != "3.1.0" {
		t.Error(v)
	}
	model, err := document.BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		if !strings.HasPrefix(path, "/{accountId}/") {
			t.Error(path)
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
		t.Errorf("%d operations, %d endpoints", len(names), len(endpoints()))
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
