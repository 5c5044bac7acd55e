package sql

import (
	"encoding/json"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/spec"
)

const orders = "create table orders (id int primary key, name varchar(200), total decimal(30,10), big bigint)"

func TestQueryKeepsColumnsAndNumbers(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders)
		is(t, "exec", must(t, c, "exec", &exec{SQL: sqlOf("insert into orders (id, name, total, big) values (?, ?, ?, ?)", 7, "Zoë '\"\\;--", json.Number("0.1"), json.Number("9007199254740993"))}),
			map[string]string{driverPostgres: `{"rows_affected":1,"last_id":null}`, driverMySQL: `{"rows_affected":1,"last_id":null}`, driverSQLite: `{"rows_affected":1,"last_id":1}`}[driver])
		total := map[string]string{driverPostgres: "0.1000000000", driverMySQL: "0.1000000000", driverSQLite: "0.1"}[driver]
		want := `[{"big":9007199254740993,"total":` + total + `,"name":"Zoë '\"\\;--","id":7}]`
		is(t, "query", rows(t, c, "select big, total, name, id from orders where id = ?", 7), want)
		is(t, "without parameters", rows(t, c, "select big, total, name, id from orders"), want)
		is(t, "exact number", rows(t, c, "select id from orders where big = ?", json.Number("9007199254740992")), `[]`)
		is(t, "decimal", rows(t, c, "select id from orders where total = ?", json.Number("0.1")), `[{"id":7}]`)
		is(t, "one", must(t, c, "query", &query{SQL: sqlOf("select name from orders where id = ?", 8), One: true, MaxRows: 1}), `null`)
		is(t, "one", must(t, c, "query", &query{SQL: sqlOf("select id from orders where id = ?", 7), One: true, MaxRows: 1}), `{"id":7}`)
		is(t, "null", must(t, c, "exec", &exec{SQL: sqlOf("update orders set name = ? where id = ?", nil, 7)}), `{"rows_affected":1,"last_id":null}`)
		is(t, "null", rows(t, c, "select name from orders"), `[{"name":null}]`)
		_, err := run(t.Context(), c, "query", &query{SQL: sqlOf("select 1 as a, 2 as a"), MaxRows: 10})
		fails(t, err, CodeBadCall, false)
	})
}

func TestListsInIn(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id, name) values (1, 'a'), (2, 'b'), (3, 'c')")
		for _, test := range []struct {
			text string
			list []any
			want string
		}{
			{"select id from orders where id in (?) order by id", []any{1, 3}, `[{"id":1},{"id":3}]`},
			{"select id from orders where id in (?) order by id", []any{}, `[]`},
			{"select id from orders where id not in (?) order by id", []any{1, 3}, `[{"id":2}]`},
			{"select id from orders where id NOT IN ( ? ) order by id", []any{}, `[{"id":1},{"id":2},{"id":3}]`},
			{"select id from orders where name in (?) or id = 2 order by id", []any{"x') or (1=1", "c"}, `[{"id":2},{"id":3}]`},
			{"select id from orders where name in (?) or id = 2 order by id", []any{}, `[{"id":2}]`},
		} {
			is(t, test.text, rows(t, c, test.text, test.list), test.want)
		}
	})
}

// TestInjection binds hostile values at every place that allows a value.
func TestInjection(t *testing.T) {
	hostile := []string{"'; drop table orders; --", `" or ""="`, "1 or 1=1", "$1", "?", "\\' or 1=1 -- ", "%00", "') or ('1'='1", "${doc.x}", "/*", "\u02bc or 1=1", "0x27 or 1=1", ":name", "@x"}
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id, name) values (1, 'a')")
		for i, text := range hostile {
			is(t, "where "+text, rows(t, c, "select id from orders where name = ?", text), `[]`)
			is(t, "in "+text, rows(t, c, "select id from orders where name in (?)", []any{text, text}), `[]`)
			must(t, c, "exec", &exec{SQL: sqlOf("insert into orders (id, name) values (?, ?)", 100+i, text)})
			want, _ := json.Marshal([]map[string]string{{"name": text}})
			is(t, "insert "+text, rows(t, c, "select name from orders where id = ?", 100+i), string(document.AppendJSON(nil, document.FromPlain([]any{map[string]any{"name": text}}))))
			_ = want
			_, err := run(t.Context(), c, "upsert", &upsert{Table: "orders" + text, Key: []string{"id"}, Rows: []any{object("id", 1, text, 2)}})
			if err == nil {
				t.Errorf("upsert into a table called %q: got nil, want an error", text)
			}
			_, err = run(t.Context(), c, "upsert", &upsert{Table: "orders", Key: []string{"id"}, Rows: []any{object("id", 1, text, 2)}})
			if err == nil {
				t.Errorf("upsert of a column called %q: got nil, want an error", text)
			}
		}
		is(t, "count", rows(t, c, "select count(*) as n from orders"), `[{"n":`+string(document.AppendJSON(nil, integer(int64(1+len(hostile)))))+`}]`)
	})
}

func object(pairs ...any) *document.Object {
	o := &document.Object{}
	for i := 0; i < len(pairs); i += 2 {
		o.Set(pairs[i].(string), document.FromPlain(pairs[i+1]))
	}
	return o
}

func TestTypes(t *testing.T) {
	for _, test := range []struct{ driver, query, want string }{
		{driverPostgres, "select date '2026-02-01' as a, timestamp '2026-02-01 03:04:05.678' as b, timestamptz '2026-02-01 03:04:05+02' as c, time '03:04' as d",
			`[{"a":"2026-02-01","b":"2026-02-01T03:04:05.678Z","c":"2026-02-01T01:04:05Z","d":"03:04:00"}]`},
		{driverPostgres, `select '\x00ff'::bytea as a, '{"k": [1.10, null]}'::jsonb as b, true as c, 1.10::numeric as d, 'NaN'::numeric as e, 1.1::real as f, 1e300::float8 as g, 12345678901234567890::numeric as h, 'infinity'::timestamptz as i`,
			`[{"a":{"raw":"AP8=","encoding":"base64"},"b":{"k": [1.10, null]},"c":true,"d":1.10,"e":"NaN","f":1.1,"g":1e+300,"h":12345678901234567890,"i":"infinity"}]`},
		{driverPostgres, "select 'a3bb189e-8bf9-3888-9912-ace4e6543002'::uuid as a, array[1,2] as b, null::int as c, interval '1 day' as d", `[{"a":"a3bb189e-8bf9-3888-9912-ace4e6543002","b":"{1,2}","c":null,"d":"1 day"}]`},
		{driverMySQL, "select date '2026-02-01' as a, timestamp '2026-02-01 03:04:05.678' as b, time '03:04:00' as d, x'00ff' as e, 1.10 as f, 18446744073709551615 as g, true as h, 1.5e0 as i",
			`[{"a":"2026-02-01","b":"2026-02-01T03:04:05.678Z","d":"03:04:00","e":{"raw":"AP8=","encoding":"base64"},"f":1.10,"g":18446744073709551615,"h":1,"i":1.5}]`},
		{driverSQLite, "select x'00ff' as a, 1.5 as b, 9223372036854775807 as c, null as d, 'x' as e", `[{"a":{"raw":"AP8=","encoding":"base64"},"b":1.5,"c":9223372036854775807,"d":null,"e":"x"}]`},
	} {
		c := connect(t, database(t, test.driver))
		is(t, test.driver, rows(t, c, test.query), test.want)
		if test.driver == driverMySQL {
			is(t, "prepared", rows(t, c, strings.Replace(test.query, " as i", " as i where 1 = ?", 1), 1), test.want)
		}
	}
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), map[string]string{
			driverPostgres: "create table t (b bytea, j jsonb)", driverMySQL: "create table t (b blob, j json)", driverSQLite: "create table t (b blob, j text)"}[driver])
		file := map[string]any{"raw": "AP8=", "encoding": "base64"}
		must(t, c, "exec", &exec{SQL: sqlOf("insert into t (b, j) values (?, ?)", file, map[string]any{"a": []any{1}})})
		is(t, "bytes", rows(t, c, "select b from t"), `[{"b":{"raw":"AP8=","encoding":"base64"}}]`)
		got := rows(t, c, "select j from t")
		if clean := strings.NewReplacer(" ", "", `\`, "", `"{`, "{", `}"}`, "}}").Replace(got); clean != `[{"j":{"a":[1]}}]` {
			t.Errorf("json: got %s", got)
		}
	})
}

func TestMaxRows(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id) values (1), (2), (3)")
		_, err := run(t.Context(), c, "query", &query{SQL: sqlOf("select id from orders"), MaxRows: 2})
		fails(t, err, CodeTooMany, false)
		_, err = run(t.Context(), c, "query", &query{SQL: sqlOf("select id from orders"), One: true, MaxRows: 2})
		fails(t, err, CodeTooMany, false)
		is(t, "exactly", must(t, c, "query", &query{SQL: sqlOf("select id from orders order by id"), MaxRows: 3}), `[{"id":1},{"id":2},{"id":3}]`)
	})
}

func TestExecEach(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders)
		list := []any{}
		for i := range 1000 {
			list = append(list, object(spec.EachValues, []any{i, "n", json.Number("1.50")}))
		}
		insert := spec.Statement{Texts: []string{"insert into orders (id, name, total) values (", ", ", ", ", ")"}}
		got := must(t, c, "exec", &exec{SQL: insert, Each: list})
		if !strings.HasPrefix(got, `{"rows_affected":1000,`) {
			t.Errorf("got %s, want 1000 rows", got)
		}
		_, err := run(t.Context(), c, "exec", &exec{SQL: insert, Each: append([]any{object(spec.EachValues, []any{5000, "n", nil})}, list[0])})
		fails(t, err, duplicates[driver], false)
		is(t, "count", rows(t, c, "select count(*) as n from orders"), `[{"n":1000}]`)
		is(t, "empty", must(t, c, "exec", &exec{SQL: insert, Each: []any{}}), `{"rows_affected":0,"last_id":null}`)
		is(t, "returning", must(t, c, "exec", &exec{SQL: sqlOf("delete from orders where id in (?) returning id", []any{1, 2})}), `[{"id":1},{"id":2}]`)
	})
}

func TestTransaction(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id, name) values (1, 'a')")
		both := func(id any, expect int) *transaction {
			return &transaction{Statements: []statement{
				{SQL: sqlOf("insert into orders (id, name) values (?, 'b')", id), Expect: anyRows},
				{SQL: sqlOf("update orders set name = 'c' where id = ?", 1), Expect: expect, Into: "changed"},
				{SQL: sqlOf("select id, name from orders order by id"), Expect: anyRows, Into: "all"},
			}}
		}
		_, err := run(t.Context(), c, "transaction", both(2, 2))
		fails(t, err, CodeUnexpected, false)
		_, err = run(t.Context(), c, "transaction", both(1, 1))
		fails(t, err, duplicates[driver], false)
		is(t, "rolled back", rows(t, c, "select id, name from orders"), `[{"id":1,"name":"a"}]`)
		is(t, "result", must(t, c, "transaction", both(2, 1)), `{"changed":{"rows_affected":1,"last_id":null},"all":[{"id":1,"name":"c"},{"id":2,"name":"b"}]}`)
	})
}

func TestUpsert(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id, name) values (1, 'a')")
		list := []any{object("id", 1, "name", "x", "total", 5), object("id", 2, "name", "y"), object("id", 1, "name", "z")}
		is(t, "first", must(t, c, "upsert", &upsert{Table: "orders", Key: []string{"id"}, Columns: []string{"name"}, Rows: list}), `{"inserted":1,"updated":2}`)
		is(t, "again", must(t, c, "upsert", &upsert{Table: "orders", Key: []string{"id"}, Columns: []string{"name"}, Rows: list}), `{"inserted":0,"updated":3}`)
		is(t, "rows", rows(t, c, "select id, name, total from orders order by id"), `[{"id":1,"name":"z","total":null},{"id":2,"name":"y","total":null}]`)
		is(t, "only keys", must(t, c, "upsert", &upsert{Table: "orders", Key: []string{"id"}, Rows: []any{object("id", 1), object("id", 9)}}), `{"inserted":1,"updated":1}`)
	})
}

func TestOnce(t *testing.T) {
	each(t, func(t *testing.T, driver string) {
		c := connect(t, database(t, driver), orders, "insert into orders (id, name, big) values (1, 'a', 0)")
		add := &exec{SQL: sqlOf("update orders set big = big + ? where id = 1", 1), Once: true}
		_, err := run(t.Context(), c, "exec", add)
		f := fails(t, err, CodeNoTable, false)
		if !strings.Contains(f.Message, "create table valence_done") || !strings.Contains(f.Message, "valence connection prepare") {
			t.Errorf("got %s, want the command and the DDL", f.Message)
		}
		if _, err := c.db.ExecContext(t.Context(), c.dialect.doneTable); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			got, err := runKey(t.Context(), c, "exec", add, "same")
			if err != nil {
				t.Fatal(err)
			}
			is(t, "result", got, `{"rows_affected":1,"last_id":null}`)
		}
		is(t, "written once", rows(t, c, "select big from orders"), `[{"big":1}]`)
		bad := &exec{SQL: sqlOf("insert into orders (id) values (1)"), Once: true}
		_, err = runKey(t.Context(), c, "exec", bad, "other")
		fails(t, err, duplicates[driver], false)
		is(t, "a failed call is not recorded", rows(t, c, "select count(*) as n from valence_done"), `[{"n":1}]`)
	})
}
