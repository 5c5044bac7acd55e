package run

import (
	"net/http"
	"reflect"
	"testing"

	"valence/atom/store"
	"valence/connectors"
	"valence/internal/document"
)

// TestStepViewHidesCredentials: operators see which headers an answer had, not
// its cookies; the journal, from which the execution resumes, still has them.
func TestStepViewHidesCredentials(t *testing.T) {
	sent := http.Header{"Set-Cookie": {"session=s3cr3t; Path=/"}, "Content-Type": {"application/json"}}
	body, err := packCall(&connectors.Result{Status: 200, Headers: sent, Doc: document.FromJSON([]byte(`{}`))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &StepView{}
	v.addEntry(store.Entry{Kind: KindCall, Path: "0", Body: body})
	if want := (http.Header{"Set-Cookie": {"session=[secret]; Path=/"}, "Content-Type": {"application/json"}}); !reflect.DeepEqual(v.Headers, want) {
		t.Errorf("got %v, want %v", v.Headers, want)
	}
	if r, _, err := unpackCall(body); err != nil || !reflect.DeepEqual(r.Headers, sent) {
		t.Errorf("the journal: got %v, %v, want %v", r.Headers, err, sent)
	}
}
