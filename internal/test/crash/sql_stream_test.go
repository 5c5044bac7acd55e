package crash

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"
)

const exportProject = `
process: by-key
listen: { path: /by-key, auth: none }
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - for_each: { call: shop.query, with: { sql: "select id from items where done = 0", key: id } }
    batch: 50
    steps:
      - { call: shop.exec, with: { sql: "update items set done = 1 where id <= ${item[len(item) - 1].id} and id >= ${item[0].id}" } }
      - { call: sink.post, with: { path: "/key/${item[0].id}" } }
---
process: by-order
listen: { path: /by-order, auth: none }
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - for_each: { call: shop.query, with: { sql: "select id from items order by id" } }
    batch: 50
    steps: [{ call: sink.post, with: { path: "/order/${item[0].id}" } }]
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
---
connection: shop
connector: sql
`

// TestLoopsOverQueriesResume kills the program while it iterates over a query.
// Each batch of rows is processed by one execution, although the loop with a key
// removes the rows from the query.
func TestLoopsOverQueriesResume(t *testing.T) {
	t.Parallel()
	const items = 10_000
	random := seeded(t)
	driver, dsn, settings, _ := crashSQLite(t)
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, text := range []string{"create table items (id integer primary key, done int default 0)",
		fmt.Sprintf("insert into items (id) with recursive n(i) as (select 1 union all select i + 1 from n where i < %d) select i from n", items)} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	dest := newSink(t)
	a := newAtom(t, dest.addr)
	a.runs(exportProject + settings)
	a.start()
	for _, path := range []string{"/by-key", "/by-order"} {
		if status, text := post("http://"+a.listen+path, "{}"); status != 200 && status != 202 {
			t.Fatalf("%s: got %d %s, want it accepted", path, status, text)
		}
	}
	for range 4 {
		pause(time.Duration(50+random.IntN(300)) * time.Millisecond)
		a.restart()
	}
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); pause(50 * time.Millisecond) {
		if len(a.executions("accepted"))+len(a.executions("running"))+len(a.executions("waiting")) == 0 {
			break
		}
	}
	if failed := a.executions("failed"); len(failed) > 0 {
		t.Fatalf("got %d failed executions, want none", len(failed))
	}
	for n := 1; n <= items; n += 50 {
		for _, path := range []string{"/key/", "/order/"} {
			if times, keys := dest.got(fmt.Sprint(path, n)); times == 0 || keys != 1 {
				t.Errorf("%s%d: got %d calls with %d keys, want one key", path, n, times, keys)
			}
		}
	}
	if text := a.out.String(); strings.Contains(text, "stream_changed") {
		t.Errorf("got %s", text)
	}
}
