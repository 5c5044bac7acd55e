package sql

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/fault"
)

func TestLockedRowsAreRetryable(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		c := connect(t, s, orders, "insert into orders (id, name) values (1, 'a')")
		impatient := *s
		impatient.Session = []string{map[string]string{driverPostgres: "set lock_timeout = '50ms'", driverMySQL: "set innodb_lock_wait_timeout = 1", driverSQLite: "pragma busy_timeout = 50"}[driver]}
		other := connect(t, &impatient)
		tx, err := c.db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec("update orders set name = 'b' where id = 1"); err != nil {
			t.Fatal(err)
		}
		_, err = run(t.Context(), other, "exec", &exec{SQL: sqlOf("update orders set name = ? where id = 1", "c")})
		fails(t, err, map[string]string{driverPostgres: "55P03", driverMySQL: "HY000", driverSQLite: "55P03"}[driver], true)
	})
}

func TestWrongPasswordIsNoSecret(t *testing.T) {
	for driver, code := range map[string]string{driverPostgres: "28P01", driverMySQL: "28000"} {
		s := *database(t, driver)
		s.Password = "wrong-and-secret"
		_, err := run(t.Context(), connect(t, &s), "query", &query{SQL: sqlOf("select 1"), MaxRows: 1})
		if f := fails(t, err, code, false); strings.Contains(f.Error(), "wrong-and-secret") {
			t.Errorf("got %v, want no password in it", f)
		}
	}
}

func TestTerminatedQueryIsRetryable(t *testing.T) {
	c := connect(t, database(t, driverPostgres))
	_, err := run(t.Context(), c, "query", &query{SQL: sqlOf("select pg_terminate_backend(pg_backend_pid())"), MaxRows: 1})
	fails(t, err, "57P01", true)
	is(t, "the next query", rows(t, c, "select 1 as a"), `[{"a":1}]`)
}

// cutting returns the port of a proxy that forwards a commit and then cuts the
// connection while cut is set.
func cutting(t *testing.T, port int, cut *atomic.Bool) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				client.Close()
				return
			}
			var lost atomic.Bool
			go func() {
				defer client.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := server.Read(b)
					if err != nil || lost.Load() {
						return
					}
					if _, err := client.Write(b[:n]); err != nil {
						return
					}
				}
			}()
			go func() {
				defer server.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := client.Read(b)
					if err != nil {
						return
					}
					if cut.Load() && bytes.Contains(bytes.ToLower(b[:n]), []byte("commit")) {
						lost.Store(true)
						_, _ = server.Write(b[:n])
						_, _ = io.ReadAtLeast(server, b, 1) // the answer, which the client does not get
						client.Close()
						return
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestLostCommit checks that a commit without an answer is reported as such,
// and that a repetition with `once` writes nothing more.
func TestLostCommit(t *testing.T) {
	for _, driver := range []string{driverPostgres, driverMySQL} {
		t.Run(driver, func(t *testing.T) {
			s := database(t, driver)
			direct := connect(t, s, orders, dialects[driver].doneTable, "insert into orders (id, big) values (1, 0)")
			var cut atomic.Bool
			cut.Store(true)
			through := *s
			through.Port = cutting(t, s.Port, &cut)
			c := connect(t, &through)
			add := exec{SQL: sqlOf("update orders set big = big + ? where id = 1", 1)}
			_, err := run(t.Context(), c, "exec", &add)
			if f := fails(t, err, CodeUnknown, false); !strings.Contains(f.Message, "once: true") {
				t.Errorf("got %s, want the remedy", f.Message)
			}
			is(t, "committed", rows(t, direct, "select big from orders"), `[{"big":1}]`)
			add.Once = true
			_, err = runKey(t.Context(), c, "exec", &add, "lost")
			fails(t, err, CodeUnknown, true)
			cut.Store(false)
			for range 2 {
				got, err := runKey(t.Context(), c, "exec", &add, "lost")
				if err != nil {
					t.Fatal(err)
				}
				is(t, "recorded result", got, `{"rows_affected":1,"last_id":null}`)
			}
			is(t, "written once", rows(t, direct, "select big from orders"), `[{"big":2}]`)
		})
	}
}

func TestSQLiteOpensNoOtherFile(t *testing.T) {
	c := connect(t, database(t, driverSQLite), orders)
	other := filepath.Join(t.TempDir(), "other.db")
	for _, text := range []string{"attach database ? as other", "vacuum into ?"} {
		if _, err := c.db.ExecContext(t.Context(), text, other); err == nil {
			t.Errorf("%s: got nil, want an error", text)
		}
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("the other file was created")
	}
	data := t.TempDir()
	policy, err := access.Local(data)
	if err != nil {
		t.Fatal(err)
	}
	inside, err := open(&settings{Driver: driverSQLite, Database: filepath.Join(data, "valence.db"), ConnectTimeout: 1e9}, policy)
	if err == nil {
		defer inside.Close()
		if _, err = run(t.Context(), inside, "query", &query{SQL: sqlOf("select 1"), MaxRows: 1}); err == nil {
			t.Error("opened a database in the data folder of the atom")
		}
	}
}

func TestURL(t *testing.T) {
	for _, test := range []struct {
		s    settings
		want string
	}{
		{settings{Driver: driverPostgres, URL: "postgres://u:p@db.example:1234/shop?sslmode=disable"}, "db.example:1234 shop u p none"},
		{settings{Driver: driverMySQL, URL: "mysql://u@db.example/shop"}, "db.example:3306 shop u  "},
		{settings{Driver: driverMySQL, URL: "mysql://u@db.example/shop", User: "v"}, "db.example:3306 shop v  "},
		{settings{Driver: driverMySQL, URL: "postgres://u@db.example/shop"}, "error: `url:` is not for `driver: mysql`"},
		{settings{Driver: driverPostgres, URL: "postgres://u@db.example/shop?sslmode=prefer"}, "error: `url:` has an sslmode"},
		{settings{Driver: driverPostgres, URL: "postgres://u@db.example/shop?passfile=/etc/passwd"}, "error: `url:` has the parameter \"passfile\""},
		{settings{Driver: driverPostgres, URL: "postgres://u:secret@%zz"}, "error: `url:` must be"},
	} {
		got, err := test.s.fromURL()
		text := fmt.Sprintf("%s:%d %s %s %s %s", got.Host, got.port(), got.Database, got.User, got.Password, got.TLS)
		if err != nil {
			text = "error: " + err.Error()
		}
		if !strings.HasPrefix(text, test.want) || strings.Contains(text, "secret") {
			t.Errorf("%s: got %q, want %q", test.s.URL, text, test.want)
		}
	}
}

// TestTimeoutWithinTheSecondRow checks that a row that SQLite computes for long
// does not outlast the timeout of the call.
func TestTimeoutWithinTheSecondRow(t *testing.T) {
	s := database(t, driverSQLite)
	c, err := open(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	slow := "select 1 as n union all select count(*) from (with recursive r(i) as (select 1 union all select i + 1 from r where i < 20000000) select i from r)"
	_, err = run(ctx, c, "query", &query{SQL: sqlOf(slow), MaxRows: 10})
	fails(t, err, fault.CodeTimeout, true)
	if got := c.db.Stats().InUse; got != 1 {
		t.Errorf("got %d running queries after the call, want 1", got)
	}
}

// stalling returns the port of a proxy that forwards everything until a client
// sends the text, and then neither forwards nor answers.
func stalling(t *testing.T, port int, text string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				client.Close()
				return
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			go func() { _, _ = io.Copy(client, server) }()
			go func() {
				b := make([]byte, 64<<10)
				for {
					n, err := client.Read(b)
					if err != nil || bytes.Contains(bytes.ToLower(b[:n]), []byte(text)) {
						return
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// TestSilentServer checks that a server that stops answering delays a call only
// until its timeout, also during a commit.
func TestSilentServer(t *testing.T) {
	for _, driver := range []string{driverPostgres, driverMySQL} {
		for _, test := range []struct {
			text, code string
			retryable  bool
		}{
			{"update orders", fault.CodeTimeout, true},
			{"select id", fault.CodeTimeout, true},
			{"commit", CodeUnknown, false},
		} {
			t.Run(driver+" "+test.text, func(t *testing.T) {
				s := *database(t, driver)
				connect(t, &s, orders)
				s.Port = stalling(t, s.Port, test.text)
				c := connect(t, &s)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				var err error
				if test.text == "select id" {
					_, err = run(ctx, c, "query", &query{SQL: sqlOf("select id from orders"), MaxRows: 1})
				} else {
					_, err = run(ctx, c, "exec", &exec{SQL: sqlOf("update orders set name = ?", "x")})
				}
				fails(t, err, test.code, test.retryable)
			})
		}
	}
}

// TestOpeningWhileOthersAreBusy finds, with the race detector, reads of the
// state of a connection that another goroutine uses.
func TestOpeningWhileOthersAreBusy(t *testing.T) {
	c := connect(t, database(t, driverMySQL))
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			if _, err := c.db.ExecContext(t.Context(), "do sleep(0.1)"); err != nil {
				t.Error(err)
			}
		})
	}
	busy.Wait()
}

// TestDeadlockVictimIsRetryable checks the failure of the transaction that the
// database ends.
func TestDeadlockVictimIsRetryable(t *testing.T) {
	for driver, code := range map[string]string{driverPostgres: "40P01", driverMySQL: "40001"} {
		c := connect(t, database(t, driver), orders, "insert into orders (id) values (1), (2)")
		locked := &sync.WaitGroup{}
		locked.Add(2)
		failures := make(chan error, 2)
		for i := range 2 {
			go func() {
				_, err := c.transaction(t.Context(), &connectors.Call{}, false, func(tx *work) ([]byte, error) {
					_, err := tx.Exec(fmt.Sprintf("update orders set name = 'a' where id = %d", 1+i))
					locked.Done()
					if err != nil {
						return nil, err
					}
					locked.Wait()
					_, err = tx.Exec(fmt.Sprintf("update orders set name = 'b' where id = %d", 2-i))
					return []byte("null"), err
				})
				failures <- err
			}()
		}
		first, second := <-failures, <-failures
		if (first == nil) == (second == nil) {
			t.Fatalf("%s: got %v and %v, want one failure", driver, first, second)
		}
		fails(t, cmp.Or(first, second), code, true)
	}
}
