package expression

import (
	"fmt"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/fault"
)

// TestSQL checks that the values of a statement are never a part of its text.
func TestSQL(t *testing.T) {
	for _, test := range []struct {
		path Path
		text string
		want string
	}{
		{SQL, "select 1", `["select 1"]`},
		{SQL, "select '$${x}'", `["select '${x}'"]`},
		{SQL, "select * from t where id = ${doc.id}", `["select * from t where id = ","1' or '1'='1",""]`},
		{SQL, "a = ${doc.id} and b in (${doc.list}) and c = ${doc.none}", `["a = ","1' or '1'='1"," and b in (",[1,2],") and c = ",null,""]`},
		{SQL, "a = ${1}${2}", `["a = ",1,"",2,""]`},
		{SQLText, "values (${doc.id}, ${1})", `["\u0000texts","values (",", ",")"]`},
		{SQLValues, "values (${doc.id}, ${1})", `["1' or '1'='1",1]`},
		{SQLText, "select 1", `["\u0000texts","select 1"]`},
		{SQLValues, "select 1", `[]`},
	} {
		tmpl, problems := CompileTemplate(&Node{Kind: Scalar, Value: test.text, Path: test.path}, nil)
		if problems.HasErrors() {
			t.Errorf("%s: got %v, want no problems", test.text, problems)
			continue
		}
		got, err := tmpl.Append(nil, &Env{Names: sqlNames{}})
		if err != nil || string(got) != test.want {
			t.Errorf("%s: got %s, %v, want %s", test.text, got, err, test.want)
		}
	}
}

// TestLateValues checks the values of a statement that the connector sets.
func TestLateValues(t *testing.T) {
	for text, want := range map[string]string{
		"select * from t where id > ${cursor} and a = ${doc.id}": `["select * from t where id > ",{"\u0000late":["cursor",""]}," and a = ","1' or '1'='1",""]`,
		"update t set d = 1 where id = ${ row.id }":              `["update t set d = 1 where id = ",{"\u0000late":["row","id"]},""]`,
		`update t set d = 1 where id = ${row["Order Id"]}`:       `["update t set d = 1 where id = ",{"\u0000late":["row","Order Id"]},""]`,
		"update t set d = ${row.n + 1}":                          "1:18 an expression cannot compute with `row`",
		"update t set d = ${row}":                                "1:18 an expression cannot compute with `row`",
		"select ${cursor.id}":                                    "1:8 an expression cannot compute with `cursor`",
		"select '${row.id}'":                                     "1:9 a value in an SQL statement needs no quotes",
		"select ${rows.id}":                                      "1:10 unknown name rows",
	} {
		tmpl, problems := CompileTemplate(&Node{Kind: Scalar, Pos: fault.Pos{Line: 1, Col: 1}, Value: text, Path: SQL, Late: []string{"row", "cursor"}}, nil)
		var got string
		if problems.HasErrors() {
			got = fmt.Sprintf("%d:%d %s", problems[0].Line, problems[0].Col, problems[0].Msg)
		} else if b, err := tmpl.Append(nil, &Env{Names: sqlNames{}}); err != nil {
			got = err.Error()
		} else {
			got = string(b)
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

type sqlNames struct{}

// Name returns the document.
func (sqlNames) Name(name string) (any, bool) {
	return document.Parse(`{"id":"1' or '1'='1","list":[1,2],"none":null}`), name == "doc"
}

func TestSQLPlaces(t *testing.T) {
	for text, want := range map[string]int{
		"select * from t where a = ${doc.a} limit ${doc.n}":                       0,
		"select extract(year from ${doc.a}), trim(both from ${doc.b})":            0,
		"select 1 where a is distinct from ${doc.a}":                              0,
		"select $$it's ok$$ || ${doc.a}":                                          0,
		"select 'it''s' || ${doc.a} -- it's\n || ${doc.b} /* it's */ || ${doc.c}": 0,
		"insert into t (a) values (${doc.a}, ${doc.b})":                           0,
		"update t set a = ${doc.a}":                                               0,
		"select '${doc.a}'":                                                       1,
		"select \"${doc.a}\", `${doc.b}`":                                         2,
		"select $x$ ${doc.a} $x$":                                                 1,
		"select t.${doc.a} from x${doc.b}":                                        2,
		"select ${doc.a}.b":                                                       1,
		"update ${doc.a} set ${doc.b} = 1":                                        2,
		"${doc.a}":                                                                1,
		"select $1, ${doc.a}":                                                     1,
	} {
		_, problems := CompileTemplate(&Node{Kind: Scalar, Value: text, Path: SQL}, nil)
		if len(problems) != want {
			t.Errorf("%s: got %v, want %d problems", text, problems, want)
		}
	}
}

// TestSQLTextIsReadOnce compiles a statement with the largest literal that is
// allowed. Copies of the text before each quote would make that quadratic.
func TestSQLTextIsReadOnce(t *testing.T) {
	text := "select '" + strings.Repeat("it''s ", 40_000) + "' where a = ${doc.a}"
	allocated := testing.AllocsPerRun(1, func() {
		if _, problems := CompileTemplate(&Node{Kind: Scalar, Value: text, Path: SQL}, nil); problems.HasErrors() {
			t.Fatal(problems)
		}
	})
	if allocated > 1000 {
		t.Errorf("got %v allocations, want a number that does not depend on the text", allocated)
	}
}
