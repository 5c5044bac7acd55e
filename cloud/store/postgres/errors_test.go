package postgres_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"valence/cloud/cloudtest"
	"valence/cloud/store/postgres"
)

// Each mistake has words of its own and says what to do. None tells the
// password.
func TestWhyNot(t *testing.T) {
	database := server.Database(t)
	server.Exec(t, "postgres", fmt.Sprintf(`CREATE ROLE poor LOGIN PASSWORD '%[1]s'; CREATE ROLE one LOGIN PASSWORD '%[1]s' CONNECTION LIMIT 0; CREATE ROLE shut LOGIN PASSWORD '%[1]s'`, cloudtest.PostgresPassword))
	server.Exec(t, database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	server.Allow(t, "hostnossl all shut all reject")
	newer := server.Database(t)
	open(t, newer)
	server.Exec(t, newer, "INSERT INTO cloud_schema VALUES(999)")
	as := func(user string) string {
		return strings.Replace(server.URL(database), cloudtest.PostgresUser+":", user+":", 1)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct{ name, url, text, hint string }{
		{"no database", server.URL("nowhere"), "has no database nowhere", "createdb nowhere"},
		{"wrong password", strings.Replace(server.URL(database), cloudtest.PostgresPassword, "wrong", 1), "the password for the user valence of the database is not right", "PGPASSWORD"},
		{"no rights", as("poor"), "the user poor may not do what the control plane has to", "GRANT CREATE"},
		{"full", as("one"), "has no connection left", "pool_max_conns"},
		{"only with TLS", as("shut"), "only with TLS, or not at all", "sslmode=verify-full"},
		{"nobody there", "postgres://valence@" + closed.Addr().String() + "/x?sslmode=disable", "cannot be reached", "whether the server runs"},
		{"a newer schema", server.URL(newer), "has schema version 999 and this program knows versions up to", "a backup made before the upgrade"},
		{"no URL", "postgres://valence:" + cloudtest.PostgresPassword + "@[::1/x", "the address of the database cannot be read", "postgres://user@host"},
	} {
		_, err := postgres.Open(t.Context(), postgres.Options{URL: c.url, Dir: t.TempDir()})
		e := (*postgres.Error)(nil)
		if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: %v\n%+v", c.name, err, e)
		}
		if err != nil && strings.Contains(err.Error()+e.Hint, cloudtest.PostgresPassword) {
			t.Errorf("%s: it tells the password: %v", c.name, err)
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
			t.Errorf("%s: %v", c.key, err)
		}
	}
	if has, err := st.HasKey(ctx); err != nil || !has {
		t.Errorf("%v, %v", has, err)
	}
}
