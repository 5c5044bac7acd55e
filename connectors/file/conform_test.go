package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"valence/connectors/connectortest"
)

func TestConforms(t *testing.T) {
	root := t.TempDir()
	n := 0
	connectortest.Conform(t, connectortest.Subject{
		Connector: Connector("1.2.3"),
		Settings:  connectortest.Settings{"root": root},
		Away:      connectortest.Settings{"root": filepath.Join(root, "not", "mounted")},
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
				name := fmt.Sprintf("%s/in/%06d", root, n)
				put(t, name+".tmp", doc)
				if err := os.Rename(name+".tmp", name+".json"); err != nil {
					t.Fatal(err)
				}
			},
		},
	})
}
