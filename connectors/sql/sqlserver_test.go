package sql

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"valence/connectors/connectortest"
	"valence/internal/document"
)

func TestSQLServerStatements(t *testing.T) {
	s := sqlOf("select * from t where a = ? and b in (?) and c not in (?)", 1, []any{2, "x"}, []any{})
	text, args, err := sqlServer.render(s.Texts, s.Values)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "text", text, "select * from t where a = @p1 and b in (@p2, @p3) and c not in (select null where 1 = 0)")
	is(t, "arguments", fmt.Sprintf("%T %T %T", args...), "int64 int64 string")
	q := &queue{connection: &connection{dialect: &sqlServer}, listen: queueOf(), table: `"outbox"`}
	before, after := sqlServer.claim(q.table, 7)
	is(t, "claim", strings.Join(q.condition(before, " order by id"+after).Texts, "?"), `select top (7) * from "outbox" with (updlock, readpast, rowlock) where (status = ?) order by id`)
	is(t, "once", fmt.Sprintf(sqlServer.remember, "@p1"), "if not exists (select 1 from valence_done with (updlock, holdlock) where id = @p1) insert into valence_done (id) values (@p1)")
	if !returnsRows.MatchString("insert into t (a) output inserted.id values (1)") {
		t.Error("output inserted: got no rows, want rows")
	}
}

func TestSQLServerErrors(t *testing.T) {
	for number, want := range map[int32]string{2627: "23505 false", 1205: "40001 true", 1222: "55P03 true", 18456: "28000 false", 208: "42S02 false", 50000: "HY000 false"} {
		code, retryable, ok := sqlServerState(fmt.Errorf("wrapped: %w", mssql.Error{Number: number}))
		if got := fmt.Sprint(code, " ", retryable); got != want || !ok {
			t.Errorf("%d: got %s, want %s", number, got, want)
		}
	}
	if _, _, ok := sqlServerState(errors.New("lost")); ok {
		t.Error("another error: got a code, want none")
	}
}

func TestSQLServerColumns(t *testing.T) {
	at := time.Date(2026, 2, 1, 3, 4, 5, 600_000_000, time.UTC)
	for _, test := range []struct {
		typ  string
		v    any
		want string
	}{
		{"DECIMAL", []byte("1.10"), "1.10"},
		{"MONEY", []byte("-3.5000"), "-3.5000"},
		{"DATE", at, `"2026-02-01"`},
		{"DATETIME2", at, `"2026-02-01T03:04:05.6Z"`},
		{"TIME", at, `"03:04:05.6"`},
		{"BIGINT", int64(9007199254740993), "9007199254740993"},
		{"BIT", true, "true"},
		{"VARBINARY", []byte{0, 255}, `{"raw":"AP8=","encoding":"base64"}`},
		{"UNIQUEIDENTIFIER", []byte{0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8}, `"01234567-89AB-CDEF-0102-030405060708"`},
	} {
		is(t, test.typ, string(appendValue(nil, sqlServerColumn(test.typ, test.v))), test.want)
	}
}

// TestSQLServerConnects checks servers that cannot be reached or never answer.
func TestSQLServerConnects(t *testing.T) {
	for name, address := range map[string]string{"away": connectortest.AwayAddress(t), "silent": connectortest.SilentAddress(t)} {
		host, port, _ := net.SplitHostPort(address)
		n, _ := strconv.Atoi(port)
		c, err := open(&settings{Driver: driverSQLServer, Host: host, Port: n, User: "sa", Password: "not-in-any-message", ConnectTimeout: 300 * time.Millisecond, Pool: pool{Max: 1}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = run(ctx, c, "query", &query{SQL: sqlOf("select 1"), MaxRows: 1})
		f := fails(t, err, "connect", true)
		if strings.Contains(f.Error(), "not-in-any-message") {
			t.Errorf("%s: got %v, want no password", name, f)
		}
	}
}

// TestOracleNeedsItsBuild checks the reason that a program without the driver
// names.
func TestOracleNeedsItsBuild(t *testing.T) {
	wrong := strings.Join(check(&settings{Driver: driverOracle, Host: "db.example"}), "; ")
	if withOracle != (wrong == "") || !withOracle && !strings.Contains(wrong, "go build -tags oracle") {
		t.Errorf("got %q, want the build it needs", wrong)
	}
	if _, err := open(&settings{Driver: driverOracle, Host: "db.example", TLS: tlsNone}, nil); (err == nil) != withOracle {
		t.Errorf("open: got %v", err)
	}
}

func TestProcedureParameters(t *testing.T) {
	p, err := sqlServer.procedure(&procedure{Name: "sales.close", In: object("year", 2026, "total", 1), Out: []string{"total", "n"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range p.parameters {
		got = append(got, fmt.Sprintf("%s %v %v", x.name, x.in, x.out))
	}
	is(t, "parameters", strings.Join(got, ", "), "year true false, total true true, n false true")
	is(t, "name", p.name+" "+p.schema+" "+p.bare, `"sales"."close" sales close`)
	if v := number(document.Number("1.5")); v != "1.5" {
		t.Errorf("got %v, want exact text", v)
	}
}
