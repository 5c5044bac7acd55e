package sql

import (
	"encoding/json"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"valence/connectors"
	"valence/connectors/connectortest"
	"valence/internal/spec"
)

func TestConform(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		c := connect(t, s, "create table conform (id int primary key, n int)", "create table messages (n int primary key)")
		subject := connectortest.Subject{
			Connector: Connector(""),
			Calls: []connectortest.Call{
				{Operation: "exec", With: connectortest.Settings{"sql": []any{"insert into conform (id, n) values (1, ", 2, ")"}}},
				{Operation: "query", With: connectortest.Settings{"sql": []any{"select id from conform where n = ", 2, ""}}},
				{Operation: "transaction", With: connectortest.Settings{"statements": []any{map[string]any{"sql": []any{"delete from conform"}}}}},
				{Operation: "upsert", With: connectortest.Settings{"table": "conform", "key": "id", "rows": []any{map[string]any{"id": 1, "n": 3}}}},
			},
		}
		if driver == driverSQLite { // which has no procedures
			subject.Connector.Operations = slices.DeleteFunc(subject.Connector.Operations, func(op connectors.Operation) bool { return op.Name == "procedure" })
			subject.Settings = connectortest.Settings{"driver": driver, "database": s.Database}
			subject.Away = connectortest.Settings{"driver": driver, "database": filepath.Join(t.TempDir(), "missing", "shop.db")}
		} else {
			must(t, c, "exec", &exec{SQL: sqlOf(map[string]string{driverPostgres: "create procedure nothing() language sql as 'select 1'", driverMySQL: "create procedure nothing() select 1"}[driver])})
			subject.Calls = append(subject.Calls, connectortest.Call{Operation: "procedure", With: connectortest.Settings{"name": "nothing"}})
			at := func(address string) connectortest.Settings {
				host, port, _ := net.SplitHostPort(address)
				n, _ := strconv.Atoi(port)
				return connectortest.Settings{"driver": driver, "host": host, "port": n, "database": s.Database, "user": s.User, "password": s.Password}
			}
			subject.Settings = at(net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
			subject.Away, subject.Silent = at(connectortest.AwayAddress(t)), at(connectortest.SilentAddress(t))
			subject.Secrets = []string{s.Password}
		}
		send := func(t *testing.T, doc string) {
			var m struct{ N int }
			if err := json.Unmarshal([]byte(doc), &m); err != nil {
				t.Fatal(err)
			}
			if _, err := c.db.ExecContext(t.Context(), "insert into messages (n) values ("+strconv.Itoa(m.N)+")"); err != nil {
				t.Fatal(err)
			}
		}
		subject.Source = &connectortest.Source{Ordered: true, Send: send, With: connectortest.Settings{"table": "messages", "key": "n", "every": "10ms",
			"done": []any{"delete from messages where n = ", spec.Late(spec.LateRow, "n"), ""}}}
		connectortest.Conform(t, subject)
		subject.Source.With = connectortest.Settings{"sql": []any{"select n from messages where n > ", spec.Late(spec.LateCursor, ""), " order by n limit 10"}, "cursor": "n", "start": -1, "every": "10ms"}
		if _, err := c.db.ExecContext(t.Context(), "delete from conform"); err != nil {
			t.Fatal(err)
		}
		t.Run("watermark", func(t *testing.T) { connectortest.Conform(t, subject) })
	})
}
