package imap

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/test/servers"
)

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestConforms(t *testing.T) {
	settings := to(t, server.Port)
	c := client(t, settings)
	if err := c.Create("Other", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	put(t, c, "Other", plain("x"))
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  settings,
		Away:      to(t, portOf(t, connectortest.AwayAddress(t))),
		Silent:    to(t, portOf(t, connectortest.SilentAddress(t))),
		Secrets:   []string{servers.MailPassword},
		Calls: []connectortest.Call{
			{Operation: "list", With: connectortest.Settings{"folder": "Other"}},
			{Operation: "flag", With: connectortest.Settings{"folder": "Other", "uid": 1, "add": []any{"seen"}}},
			{Operation: "move", With: connectortest.Settings{"folder": "Other", "uid": 1, "to": "Other"}},
		},
		Source: &connectortest.Source{
			With: connectortest.Settings{"archive": "Archive", "every": "10s"},
			Send: func(t *testing.T, doc string) { put(t, c, inbox, plain(doc)) },
			Doc: func(m *connectors.Message) string {
				return strings.TrimSpace(textOf(m))
			},
			Ordered: true,
		},
	})
}
