package postgres_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"valence/cloud/store/postgres"
	"valence/internal/pgdb"
	"valence/internal/test/servers"
)

// Each mistake has its own message and hint. None contains the password.
func TestOpenErrors(t *testing.T) {
	database := server.Database(t)
	server.Exec(t, "postgres", fmt.Sprintf(`CREATE ROLE poor LOGIN PASSWORD '%[1]s'; CREATE ROLE one LOGIN PASSWORD '%[1]s' CONNECTION LIMIT 0; CREATE ROLE shut LOGIN PASSWORD '%[1]s'`, servers.PostgresPassword))
	server.Exec(t, database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	server.Allow(t, "hostnossl all shut all reject")
	newer := server.Database(t)
	open(t, newer)
	server.Exec(t, newer, "INSERT INTO cloud_schema VALUES(999)")
	as := func(user string) string {
		return strings.Replace(server.URL(database), servers.PostgresUser+":", user+":", 1)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct{ name, url, text, hint string }{
		{"no database", server.URL("nowhere"), "has no database nowhere", "createdb nowhere"},
		{"wrong password", strings.Replace(server.URL(database), servers.PostgresPassword, "wrong", 1), "wrong password for the database user valence", "PGPASSWORD"},
		{"no rights", as("poor"), "the user poor lacks privileges", "GRANT CREATE"},
		{"full", as("one"), "has no free connections", "pool_max_conns"},
		{"only with TLS", as("shut"), "from this address without TLS", "sslmode=verify-full"},
		{"nobody there", "postgres://valence@" + closed.Addr().String() + "/x?sslmode=disable", "cannot reach the server", "the server is running"},
		{"a newer schema", server.URL(newer), "has schema version 999, newer than the", "a backup made before the upgrade"},
		{"no URL", "postgres://valence:" + servers.PostgresPassword + "@[::1/x", "invalid database address", "postgres://user@host"},
	} {
		_, err := postgres.Open(t.Context(), postgres.Options{URL: c.url, Dir: t.TempDir()})
		e := (*pgdb.Error)(nil)
		if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: %v\n%+v", c.name, err, e)
		}
		if err != nil && strings.Contains(err.Error()+e.Hint, servers.PostgresPassword) {
			t.Errorf("%s: the error contains the password: %v", c.name, err)
		}
	}
}

func TestKey(t *testing.T) {
	st := open(t, server.Database(t))
	ctx := t.Context()
	if has, err := st.HasKey(ctx); err != nil || has {
		t.Errorf("%v, %v", has, err)
	}
	for _, c := range []struct {
		key  string
		want error
	}{{"one", nil}, {"one", nil}, {"another", postgres.ErrKey}} {
		if err := st.AgreeOnKey(ctx, []byte(c.key)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.key, err, c.want)
		}
	}
	if has, err := st.HasKey(ctx); err != nil || !has {
		t.Errorf("%v, %v", has, err)
	}
}
