package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/internal/pgdb"
	"valence/internal/test/servers"
)

// Each mistake has its own message and hint, and nothing is written.
func TestOpenErrors(t *testing.T) {
	server.Exec(t, "postgres", fmt.Sprintf("CREATE ROLE poor LOGIN PASSWORD '%s'", servers.PostgresPassword))
	denied, newer, readOnly := server.Database(t), server.Database(t), server.Database(t)
	server.Exec(t, denied, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	server.Exec(t, newer, "CREATE TABLE atom_schema(version int NOT NULL); INSERT INTO atom_schema VALUES(999)")
	server.Exec(t, "postgres", "ALTER DATABASE "+readOnly+" SET default_transaction_read_only = on")
	unsafe := server.Database(t)
	server.Exec(t, "postgres", "ALTER DATABASE "+unsafe+" SET synchronous_commit = off")
	other := server.Database(t)
	server.Exec(t, other, "CREATE TABLE unrelated(n int)")
	open(t, other, "a").Close()
	for _, c := range []struct{ name, url, group, text, hint string }{
		{"another group", server.URL(other), "stock", "belongs to the group shop", "--group shop"},
		{"a newer schema", server.URL(newer), "shop", "has schema version 999, newer than", "run the newer version"},
		{"no rights", strings.Replace(server.URL(denied), servers.PostgresUser+":", "poor:", 1), "shop", "the user poor lacks privileges", "GRANT CREATE"},
		{"read-only", server.URL(readOnly), "shop", "is read-only, like a standby", "the address of the primary"},
		{"commits that are not flushed", server.URL(unsafe), "shop", "before they are on disk: synchronous_commit is off", "SET synchronous_commit = on"},
		{"wrong password", strings.Replace(server.URL(other), servers.PostgresPassword, "wrong", 1), "shop", "wrong password for the database user", "PGPASSWORD"},
	} {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: c.url, Group: c.group})
		if err == nil {
			s.Close()
		}
		var e *pgdb.Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, c.text) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%s: got %v %+v, want %q and %q", c.name, err, e, c.text, c.hint)
		}
	}
	for _, database := range []string{denied, newer, unsafe} {
		conn := connect(t, database)
		var tables int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_tables WHERE tablename = 'atom_execution'").Scan(&tables); err != nil || tables != 0 {
			t.Errorf("%s: got %d tables, %v, want none", database, tables, err)
		}
	}
}

func connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// A member that is stopped inside a transaction holds the lock of its epoch. A
// takeover ends the session, so that nothing of it is committed.
func TestTakeoverEndsOpenTransactions(t *testing.T) {
	g := group{server.Database(t)}
	first, second := g.Open(t).(*postgres.Store), g.Open(t).(*postgres.Store)
	defer first.Close()
	defer second.Close()
	nothing := func(map[string]int64) {}
	for _, s := range []store.Store{first, second} {
		if err := s.Join(t.Context(), nothing, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	stopped := connect(t, g.database)
	tx, err := stopped.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock_shared($1, $2)", postgres.LockClass, int32(first.Epoch())); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "INSERT INTO atom_content(hash, body) VALUES('late', '')"); err != nil {
		t.Fatal(err)
	}
	if err := g.Expire(first, second); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("got no error from a commit after the takeover, want the session ended")
	}
	if _, err := second.Content(t.Context(), "late"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("the late write: got %v, want ErrUnknown", err)
	}
}

// A store that does not run any more refuses work instead of blocking.
func TestStoppedStoreRefuses(t *testing.T) {
	s := open(t, server.Database(t), "a")
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept(t.Context(), &store.Message{Process: "p"}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
