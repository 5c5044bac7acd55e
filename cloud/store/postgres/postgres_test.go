package postgres_test

import (
	"os"
	"testing"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/cloud/store/postgres"
	"valence/internal/test/servers"
)

var server *servers.Postgres

func TestMain(m *testing.M) { os.Exit(servers.RunPostgres(m, &server)) }

// open opens a store until the test ends.
func open(t testing.TB, database string) *postgres.Store {
	t.Helper()
	st, err := postgres.Open(t.Context(), postgres.Options{URL: server.URL(database), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestStore(t *testing.T) {
	cloudtest.Suite(t, func(t *testing.T) (cloud.Store, func() cloud.Store) {
		database := server.Database(t)
		return open(t, database), func() cloud.Store { return open(t, database) }
	})
}
