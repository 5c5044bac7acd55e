package crash

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"valence/internal/test/servers"
)

const sqlProject = `
process: jobs
workers: 8
retry: { max_attempts: 200, backoff: 50ms..200ms }
subscribe:
  connection: shop
  table: jobs
  key: id
  where: status = 'new'
  done: update jobs set status = 'done' where id = ${row.id}
  batch: 20
  every: 50ms
steps:
  - call: sink.post
    with: { path: "/a/${input.id}" }
---
process: events
workers: 8
retry: { max_attempts: 200, backoff: 50ms..200ms }
subscribe: { connection: shop, sql: "select id from events where id > ${cursor} order by id limit 50", cursor: id, every: 50ms }
steps:
  - call: sink.post
    with: { path: "/b/${input.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
---
connection: shop
connector: sql
connect_timeout: 2s
`

// TestRowsRunOnceThroughKills kills the program, and once the database, while
// rows are written to a queue table and to one that is read by a watermark. Each
// row starts one execution, identified by the idempotency keys of its calls.
func TestRowsRunOnceThroughKills(t *testing.T) {
	const count = 300
	for name, open := range map[string]func(t *testing.T) (driver, dsn, settings string, crash func() error){"postgres": crashPostgres, "mysql": crashMariaDB, "sqlite": crashSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := seeded(t)
			driver, dsn, settings, crash := open(t)
			db, err := sql.Open(driver, dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			for _, text := range []string{"create table jobs (id int primary key, status varchar(10))", "create table events (id int primary key)"} {
				if _, err := db.ExecContext(t.Context(), text); err != nil {
					t.Fatal(err)
				}
			}
			dest := newSink(t)
			a := newAtom(t, dest.addr)
			a.runs(sqlProject + settings)
			a.start()
			write := func(text string) error {
				_, err := db.ExecContext(t.Context(), text)
				for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); pause(20 * time.Millisecond) {
					if _, err = db.ExecContext(t.Context(), text); err != nil && strings.Contains(strings.ToLower(err.Error()), "duplicate") {
						err = nil // the server was killed after the commit
					}
				}
				return err
			}
			written := make(chan error, 1)
			go func() {
				for n := range count {
					err := write(fmt.Sprintf("insert into jobs (id, status) values (%d, 'new')", n+1))
					if err == nil {
						err = write(fmt.Sprintf("insert into events (id) values (%d)", n+1))
					}
					if err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			for round := range 5 {
				pause(time.Duration(50+random.IntN(200)) * time.Millisecond)
				if round == 2 && crash != nil {
					if err := crash(); err != nil {
						t.Fatal(err)
					}
					continue
				}
				a.restart()
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			waiting := -1
			for end := time.Now().Add(60 * time.Second); time.Now().Before(end); pause(50 * time.Millisecond) {
				err := db.QueryRowContext(t.Context(), "select count(*) from jobs where status = 'new'").Scan(&waiting)
				if times, _ := dest.got(fmt.Sprint("/b/", count)); err == nil && waiting == 0 && times > 0 &&
					len(a.executions("accepted"))+len(a.executions("running"))+len(a.executions("waiting")) == 0 {
					break
				}
			}
			if waiting != 0 {
				t.Errorf("got %d rows that are not done, want none", waiting)
			}
			for n := range count {
				for _, path := range []string{"/a/", "/b/"} {
					if times, keys := dest.got(fmt.Sprint(path, n+1)); times == 0 || keys != 1 {
						t.Errorf("row %s%d: got %d calls of %d executions, want one execution", path, n+1, times, keys)
					}
				}
			}
		})
	}
}

func crashPostgres(t *testing.T) (driver, dsn, settings string, crash func() error) {
	p, err := servers.NewPostgres()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Remove)
	name := p.Database(t)
	settings = fmt.Sprintf("driver: postgres\nhost: 127.0.0.1\nport: %d\ndatabase: %s\nuser: %s\npassword: %s\n", p.Port, name, servers.PostgresUser, servers.PostgresPassword)
	return "pgx", p.URL(name), settings, func() error { p.Kill(syscall.SIGKILL); return p.Start() }
}

func crashMariaDB(t *testing.T) (driver, dsn, settings string, crash func() error) {
	m, err := servers.NewMariaDB()
	if err == nil {
		err = m.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	settings = fmt.Sprintf("driver: mysql\nhost: 127.0.0.1\nport: %d\ndatabase: shop\nuser: root\npassword: %s\n", m.Port, servers.MariaDBPassword)
	return "mysql", fmt.Sprintf("root:%s@tcp(127.0.0.1:%d)/shop", servers.MariaDBPassword, m.Port), settings, func() error { m.Kill(syscall.SIGKILL); return m.Start() }
}

func crashSQLite(t *testing.T) (driver, dsn, settings string, crash func() error) {
	path := filepath.Join(t.TempDir(), "shop.db")
	return "sqlite", "file:" + path + "?_pragma=busy_timeout(5000)", "driver: sqlite\ndatabase: " + path + "\n", nil
}
