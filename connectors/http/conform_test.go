package http

import (
	"io"
	nethttp "net/http"
	"testing"

	"valence/connectors/connectortest"
)

func TestConforms(t *testing.T) {
	url := serve(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ok":true}`)
	})
	settings := func(url string) connectortest.Settings {
		return connectortest.Settings{"url": url, "auth": map[string]any{"scheme": "bearer", "token": "t0p-s3cret"}}
	}
	path := connectortest.Settings{"path": "/orders/1"}
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settings(url),
		Away:      settings("http://" + connectortest.AwayAddress(t)),
		Silent:    settings("http://" + connectortest.SilentAddress(t)),
		Secrets:   []string{"t0p-s3cret"},
		Calls: []connectortest.Call{
			{Operation: "get", With: path}, {Operation: "head", With: path}, {Operation: "delete", With: path},
			{Operation: "post", With: path, Body: `{}`}, {Operation: "put", With: path, Body: `{}`}, {Operation: "patch", With: path, Body: `{}`},
			{Operation: "request", With: connectortest.Settings{"path": "/x", "method": "QUERY"}, Body: `{}`},
		},
	})
}
