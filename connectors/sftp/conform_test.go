package sftp

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"valence/connectors/connectortest"
)

const password = "not-in-any-message"

func TestConforms(t *testing.T) {
	dir := root(t)
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	n := 0
	secret := connectortest.Settings{"password": password, "root": dir}
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  at(t, sshd.Address, secret),
		Away:      at(t, connectortest.AwayAddress(t), secret),
		Silent:    at(t, connectortest.SilentAddress(t), secret),
		Secrets:   []string{password},
		Calls: []connectortest.Call{
			{Operation: "write", With: connectortest.Settings{"path": "out/a.json"}, Body: `{"n":1}`},
			{Operation: "read", With: connectortest.Settings{"path": "out/a.json"}},
			{Operation: "list", With: connectortest.Settings{"path": "out"}},
			{Operation: "move", With: connectortest.Settings{"path": "out/a.json", "to": "out/b.json"}},
			{Operation: "append", With: connectortest.Settings{"path": "out/b.json"}, Body: `{"n":2}`},
			{Operation: "delete", With: connectortest.Settings{"path": "out/b.json"}},
			{Operation: "mkdir", With: connectortest.Settings{"path": "out/new"}},
		},
		Source: &connectortest.Source{
			With:    connectortest.Settings{"folder": "in", "pattern": "*.json", "stable_for": "0s", "every": "10ms", "archive": "done"},
			Ordered: true,
			Send: func(t *testing.T, doc string) {
				n++
				name := fmt.Sprintf("%s/in/%06d", dir, n)
				if err := os.WriteFile(name+".tmp", []byte(doc), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(name+".tmp", name+".json"); err != nil {
					t.Fatal(err)
				}
			},
		},
	})
}
