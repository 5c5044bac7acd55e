package sql

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

func TestOnlyReads(t *testing.T) {
	for text, want := range map[string]string{
		"select * from orders where id = ${doc.id}":                       "",
		" ( select 1 ) union select 2":                                    "",
		"with a as (select 1) select * from a":                            "",
		"-- update\nselect 'insert into x' as a, \"delete from\" from t;": "",
		"show tables":                     "",
		"update orders set a = 1":         "must read, but starts with `update`",
		"/* select */ Delete from orders": "must read, but starts with `delete`",
		"call f()":                        "must read, but starts with `call`",
		"with a as (insert into t values (1) returning id) select * from a": "must read, but contains `into`",
		"with a as (delete from t returning id) select * from a":            "must read, but contains `delete from`",
		"with a as (update t set b = 1 returning id) select * from a":       "must read, but contains `update t set`",
		"select * into copy from orders":                                    "must read, but contains `into`",
		"select 1; drop table orders":                                       "must be one statement",
		"":                                                                  "is empty",
		"(1)":                                                               "must start with `select` or `with`",
	} {
		if got, hint := onlyReads(spec.Statement{Texts: []string{text}}); got != want || (hint == "") != (want == "") {
			t.Errorf("%s: got %q (%s), want %q", text, got, hint, want)
		}
	}
}

// TestQueriesCannotWrite checks statements that reach the database: also a
// function that writes changes nothing, and the connection can be used for
// writing afterwards.
func TestQueriesCannotWrite(t *testing.T) {
	writes := map[string][]string{
		driverPostgres: {"insert into orders (id) values (2) returning id", "select add_order()", "with a as (insert into orders (id) values (3) returning id) select * from a", "select nextval('numbers')"},
		driverMySQL:    {"insert into orders (id) values (2) returning id", "select add_order()"},
		driverSQLite:   {"insert into orders (id) values (2) returning id", "pragma user_version = 7"},
	}
	each(t, func(t *testing.T, driver string) {
		s := database(t, driver)
		s.Pool.Max = 1
		c := connect(t, s, orders)
		switch driver {
		case driverPostgres:
			connect(t, s, "create sequence numbers", "create function add_order() returns int language sql as 'insert into orders (id) values (9) returning id'")
		case driverMySQL:
			connect(t, s, "create function add_order() returns int begin insert into orders (id) values (9); return 9; end")
		}
		for _, text := range writes[driver] {
			_, err := run(t.Context(), c, "query", &query{SQL: sqlOf(text), MaxRows: 10})
			f := fails(t, err, "25006", false)
			if !strings.Contains(f.Message, "exec") {
				t.Errorf("%s: got %s, want the remedy", text, f.Message)
			}
		}
		is(t, "rows", rows(t, c, "select id from orders"), `[]`)
		must(t, c, "exec", &exec{SQL: sqlOf("insert into orders (id) values (1)")})
		is(t, "rows", rows(t, c, "select id from orders"), `[{"id":1}]`)
	})
}

// TestQueryIsLinted checks the position of a statement that writes in a file.
func TestQueryIsLinted(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte("max_rows: 5\nsql: delete from orders where id = ${doc.id}\n"), &doc); err != nil {
		t.Fatal(err)
	}
	var got []string
	d := &spec.Decoder{File: "a.yaml", Dynamic: true, Report: func(p *fault.Problem) { got = append(got, fmt.Sprintf("%d:%d %s %s", p.Line, p.Col, p.Code, p.Msg)) }}
	d.Mapping(doc.Content[0], &spec.Keys{What: "`with:`", Fields: queryOperation.With, Target: &query{}})
	if want := []string{"2:6 wrong-value `sql:` must read, but starts with `delete`"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
