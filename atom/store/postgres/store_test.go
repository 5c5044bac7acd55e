package postgres_test

import (
	"os"
	"testing"

	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/atom/store/storetest"
	"valence/internal/test/servers"
)

var server *servers.Postgres

func TestMain(m *testing.M) { os.Exit(servers.RunPostgres(m, &server)) }

// open opens a member of a group.
func open(t testing.TB, database, name string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Options{URL: server.URL(database), Group: "shop", Member: name, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// empty empties the tables of a group, which is quicker than to make a database.
const empty = `DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || string_agg(tablename, ', ') FROM pg_tables
	WHERE tablename LIKE 'atom\_%' AND tablename NOT IN ('atom_schema', 'atom_group')); END $$`

// fast stops the server from flushing: no test here cuts the power.
func fast(t *testing.T) {
	server.Exec(t, "postgres", "ALTER SYSTEM SET fsync = off")
	server.Exec(t, "postgres", "SELECT pg_reload_conf()")
}

func TestConforms(t *testing.T) {
	fast(t)
	database := server.Database(t)
	open(t, database, "a").Close()
	storetest.Conform(t, func(t *testing.T) store.Store {
		server.Exec(t, database, empty)
		return open(t, database, "a")
	})
}

// group is a group in a database of its own.
type group struct{ database string }

func (g group) Open(t *testing.T) store.Store { return open(t, g.database, "a") }

func (group) Stop(member store.Store) { member.(*postgres.Store).Pause(true) }

func (group) Continue(member store.Store) { member.(*postgres.Store).Pause(false) }

func (group) Expire(stopped, other store.Store) error {
	if err := stopped.(*postgres.Store).Expire(); err != nil {
		return err
	}
	return other.(*postgres.Store).TakeOver()
}

func TestGroupConforms(t *testing.T) {
	fast(t)
	storetest.ConformGroup(t, func(t *testing.T) storetest.Group { return group{server.Database(t)} })
}
