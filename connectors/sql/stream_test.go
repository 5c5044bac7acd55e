package sql

import (
	"fmt"
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/document"
)

// streamed reads the next page of a loop.
func streamed(t *testing.T, c *connection, w *query, at string) (ids []string, next string, err error) {
	t.Helper()
	r, err := queryOperation.Run(t.Context(), c, w, &connectors.Call{Paged: true, Page: at})
	if err != nil {
		return nil, "", err
	}
	list, _ := document.Decode(r.Doc.Value()).([]any)
	for _, e := range list {
		id, _ := document.Key(e, "id")
		ids = append(ids, fmt.Sprint(id))
	}
	return ids, r.Next, nil
}

const manyOrders = 2*pageRows + 500

func insertMany(t *testing.T, c *connection) {
	t.Helper()
	values := make([]string, manyOrders)
	for i := range values {
		values[i] = fmt.Sprintf("(%d, 'new')", i+1)
	}
	must(t, c, "exec", &exec{SQL: sqlOf("insert into orders (id, name) values " + strings.Join(values, ", "))})
}

// TestStream reads a query in pages, with and without interruptions, and with
// every row changed after its page.
func TestStream(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		for _, test := range []struct {
			name      string
			w         query
			interrupt bool
			change    string
		}{
			{"order", query{SQL: sqlOf("select id, name from orders where id > ? order by id", 0)}, false, ""},
			{"order, interrupted", query{SQL: sqlOf("select id from orders order by id -- all")}, true, "update orders set name = 'done' where id <= ?"},
			{"key", query{SQL: sqlOf("select id, name from orders;"), Key: "id"}, false, "update orders set name = 'done' where id <= ?"},
			{"key, interrupted", query{SQL: sqlOf("select id, name from orders where name = ? -- new", "new"), Key: "id"}, true, "update orders set name = 'done' where id <= ?"},
			{"key, deleted", query{SQL: sqlOf("select id from orders"), Key: "id"}, true, "delete from orders where id <= ?"},
		} {
			t.Run(test.name, func(t *testing.T) {
				s := database(t, driver)
				c := connect(t, s, orders)
				insertMany(t, c)
				n, pages := 0, 0
				for at := ""; ; pages++ {
					ids, next, err := streamed(t, c, &test.w, at)
					if err != nil {
						t.Fatal(err)
					}
					for _, id := range ids {
						if n++; id != fmt.Sprint(n) {
							t.Fatalf("got row %s, want %d", id, n)
						}
					}
					if next == "" {
						break
					}
					if test.change != "" && driver != driverSQLite || test.interrupt {
						must(t, c, "exec", &exec{SQL: sqlOf(strings.NewReplacer("id <= ?", "id <= 0 + ?").Replace(orNothing(test.change)), n)})
					}
					if test.interrupt {
						c.streams.close()
						c.streams.closed = false
					}
					at = next
				}
				if n != manyOrders || pages != 2 {
					t.Errorf("got %d rows in %d full pages, want %d in 2", n, pages, manyOrders)
				}
				if got := c.db.Stats().InUse; got != 0 {
					t.Errorf("got %d connections in use after the last page, want 0", got)
				}
			})
		}
	})
}

func orNothing(text string) string {
	if text == "" {
		return "update orders set name = 'x' where id < -?"
	}
	return text
}

// TestStreamThatChanged checks that a loop never leaves out rows without an
// error.
func TestStreamThatChanged(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders)
		insertMany(t, c)
		w := &query{SQL: sqlOf("select id from orders where name = 'new' order by id")}
		_, next, err := streamed(t, c, w, "")
		if err != nil {
			t.Fatal(err)
		}
		c.streams.close()
		must(t, c, "exec", &exec{SQL: sqlOf("update orders set name = 'done' where id <= 700")})
		_, _, err = streamed(t, c, w, next)
		if f := fails(t, err, CodeChanged, false); !strings.Contains(f.Message, "`key:`") {
			t.Errorf("got %s, want the remedy", f.Message)
		}
	})
}

// TestStreamsLeaveConnections checks that open streams leave connections to
// calls, and that the page of a failed attempt can be read again.
func TestStreamsLeaveConnections(t *testing.T) {
	s := database(t, driverPostgres)
	s.Pool.Max = 4
	c := connect(t, s, orders)
	insertMany(t, c)
	w := &query{SQL: sqlOf("select id from orders order by id")}
	nexts := make([]string, 6)
	for i := range nexts {
		var err error
		if _, nexts[i], err = streamed(t, c, w, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.db.Stats().InUse; got != 2 {
		t.Errorf("got %d open streams, want 2 of 4 connections", got)
	}
	is(t, "a call", rows(t, c, "select count(*) as n from orders"), fmt.Sprintf(`[{"n":%d}]`, manyOrders))
	for _, next := range nexts {
		for range 2 { // the second attempt is after the stream has gone on
			ids, _, err := streamed(t, c, w, next)
			if err != nil || len(ids) != pageRows || ids[0] != fmt.Sprint(pageRows+1) {
				t.Fatalf("got %d rows and %v, want the second page", len(ids), err)
			}
		}
	}
}
