package platform

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"valence/connectors/connectortest"
)

func TestConforms(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			answer(w, 200, requested)
			return
		}
		answer(w, 200, `{"@type":"AsyncOperationResult","responseStatusCode":200,"numberOfResults":1,"result":[{"@type":"ExecutionRecord","status":"COMPLETE"}]}`)
	}))
	t.Cleanup(server.Close)
	settings := func(url string) connectortest.Settings {
		return connectortest.Settings{"url": url, "user": "relay@example.com", "token": "t0p-s3cret"}
	}
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settings(server.URL),
		Away:      settings("http://" + connectortest.AwayAddress(t)),
		Silent:    settings("http://" + connectortest.SilentAddress(t)),
		Secrets:   []string{"t0p-s3cret"},
		Calls: []connectortest.Call{
			{Operation: "execute", With: connectortest.Settings{"process": "fetch", "atom": "edge"}},
			{Operation: "record", With: connectortest.Settings{"request": "executionrecord-1"}},
		},
	})
}
