package nats

import (
	"testing"

	"github.com/nats-io/nats.go"

	"valence/connectors/connectortest"
)

func TestConforms(t *testing.T) {
	name, _ := stream(t, broker.URL, nil)
	nc, js := client(t, broker.URL)
	if _, err := nc.Subscribe("conform.request", func(m *nats.Msg) { _ = m.Respond([]byte(`{"ok":true}`)) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	settings := func(address string) connectortest.Settings {
		return connectortest.Settings{"url": "nats://relay:t0p-s3cret@" + address}
	}
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settings(broker.URL[len("nats://"):]),
		Away:      settings(connectortest.AwayAddress(t)),
		Silent:    settings(connectortest.SilentAddress(t)),
		Secrets:   []string{"t0p-s3cret"},
		Calls: []connectortest.Call{
			{Operation: "publish", With: connectortest.Settings{"subject": name + ".out"}, Body: `{"n":1}`},
			{Operation: "request", With: connectortest.Settings{"subject": "conform.request"}, Body: `{"n":1}`},
		},
		Source: &connectortest.Source{
			With: connectortest.Settings{"stream": name, "consumer": "conform", "subject": name + ".in"},
			Send: func(t *testing.T, doc string) {
				if _, err := js.Publish(t.Context(), name+".in", []byte(doc)); err != nil {
					t.Fatal(err)
				}
			},
		},
	})
}
