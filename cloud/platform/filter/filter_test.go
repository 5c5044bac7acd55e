package filter

import (
	"strings"
	"testing"
	"time"

	"valence/cloud/platform/codec"
)

var properties = map[string]Type{"name": Text, "version": Number, "deleted": Bool, "at": Time, "note": Text}

var objects = []map[string]string{
	{"name": "Order intake", "version": "2", "deleted": "false", "at": "2026-01-31T15:32:00.500Z"},
	{"name": "order archive", "version": "10", "deleted": "true", "at": "2026-02-01T00:00:00Z", "note": "100% sure"},
	{"name": "Invoices", "version": "-1.5", "deleted": "false", "at": "2025-12-31T23:59:59Z"},
}

func names(f Filter) string {
	var out []string
	for _, o := range objects {
		if f.Match(func(p string) (string, bool) { v, ok := o[p]; return v, ok }) {
			out = append(out, o["name"])
		}
	}
	return strings.Join(out, ",")
}

func parse(t *testing.T, body string) (Filter, error) {
	t.Helper()
	n, err := codec.Decode([]byte(body), codec.Sniff([]byte(body), codec.JSON))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(n, properties)
}

func simple(op, property string, args ...string) string {
	return `{"operator":"` + op + `","property":"` + property + `","argument":["` + strings.Join(args, `","`) + `"]}`
}

func TestOperators(t *testing.T) {
	all := "Order intake,order archive,Invoices"
	for _, c := range []struct{ expression, want string }{
		{simple("EQUALS", "name", "ORDER INTAKE"), "Order intake"},
		{simple("equals", "name", "order intake"), "Order intake"},
		{simple("NOT_EQUALS", "name", "invoices"), "Order intake,order archive"},
		{simple("NOT_EQUALS", "note", "x"), all},
		{simple("LIKE", "name", "ORDER%"), "Order intake,order archive"},
		{simple("LIKE", "name", "%i%v%"), "order archive,Invoices"},
		{simple("LIKE", "name", "order"), ""},
		{simple("LIKE", "name", "%"), all},
		{simple("LIKE", "note", "100% sure"), "order archive"},
		{simple("STARTS_WITH", "name", "inv"), "Invoices"},
		{simple("CONTAINS", "name", "TAKE"), "Order intake"},
		{simple("NOT_CONTAINS", "name", "order"), "Invoices"},
		{simple("BETWEEN", "version", "2", "10"), "Order intake,order archive"},
		{simple("GREATER_THAN", "version", "2"), "order archive"},
		{simple("GREATER_THAN_OR_EQUAL", "version", "2.0"), "Order intake,order archive"},
		{simple("LESS_THAN", "version", "2"), "Invoices"},
		{simple("LESS_THAN_OR_EQUAL", "version", "2"), "Order intake,Invoices"},
		{simple("EQUALS", "version", "10.0"), "order archive"},
		{simple("EQUALS", "deleted", "FALSE"), "Order intake,Invoices"},
		{simple("GREATER_THAN", "at", "2026-01-31T15:32:00Z"), "Order intake,order archive"},
		{simple("LESS_THAN", "at", "2026-01-01"), "Invoices"},
		{simple("EQUALS", "at", "2026-02-01T01:00:00+01:00"), "order archive"},
		{simple("BETWEEN", "at", "2026-01-01T00:00:00Z", "2026-01-31T23:59:59Z"), "Order intake"},
		{`{"operator":"IS_NULL","property":"note"}`, "Order intake,Invoices"},
		{`{"operator":"IS_NOT_NULL","property":"note","argument":[""]}`, "order archive"},
		{`{"operator":"and","nestedExpression":[` + simple("LIKE", "name", "%o%") + `,{"operator":"OR","nestedExpression":[` +
			simple("EQUALS", "version", "2") + `,` + simple("EQUALS", "name", "invoices") + `]}]}`, "Order intake,Invoices"},
		{`{"operator":"or","nestedExpression":[` + simple("EQUALS", "name", "no") + `]}`, ""},
	} {
		f, err := parse(t, `{"QueryFilter":{"expression":`+c.expression+`}}`)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
		} else if got := names(f); got != c.want {
			t.Errorf("%s: %s, want %s", c.expression, got, c.want)
		}
	}
	for _, body := range []string{``, `{}`, `{"QueryFilter":{}}`, `{"QueryFilter":{"expression":{}}}`, `{"QueryFilter":null}`,
		`<QueryConfig xmlns="http://api.platform.boomi.com/"/>`, `<QueryConfig><QueryFilter/></QueryConfig>`} {
		f, err := parse(t, body)
		if err != nil || names(f) != all {
			t.Errorf("%q: got %s, %v, want %q and no error", body, names(f), err, all)
		}
	}
}

func TestXMLFilter(t *testing.T) {
	f, err := parse(t, `<QueryConfig xmlns="http://api.platform.boomi.com/"><QueryFilter>
	 <expression operator="and" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="GroupingExpression">
	  <nestedExpression operator="EQUALS" property="deleted" xsi:type="SimpleExpression"><argument>false</argument></nestedExpression>
	  <nestedExpression operator="BETWEEN" property="version" xsi:type="SimpleExpression"><argument>0</argument><argument>3</argument></nestedExpression>
	 </expression></QueryFilter></QueryConfig>`)
	if err != nil || names(f) != "Order intake" {
		t.Errorf(`got %s, %v, want "Order intake" and no error`, names(f), err)
	}
}

func TestRefusedFilters(t *testing.T) {
	deep := strings.Repeat(`{"operator":"and","nestedExpression":[`, MaxDepth+1) + simple("EQUALS", "name", "x") + strings.Repeat(`]}`, MaxDepth+1)
	many := `{"operator":"and","nestedExpression":[` + strings.Repeat(simple("EQUALS", "name", "x")+",", MaxExpressions) + simple("EQUALS", "name", "x") + `]}`
	for expression, want := range map[string]string{
		simple("EQUALS", "colour", "x"):                            `no filterable property "colour"`,
		simple("MATCHES", "name", "x"):                             `no operator "MATCHES"`,
		simple("EQUALS", "name", "x", "y"):                         `the operator EQUALS of "name" needs 1 arguments, got 2`,
		simple("BETWEEN", "version", "1"):                          `the operator BETWEEN of "version" needs 2 arguments, got 1`,
		simple("EQUALS", "version", "one"):                         `the argument "one" of "version" is not a number`,
		simple("EQUALS", "at", "yesterday"):                        `the argument "yesterday" of "at" is not a time such as 2026-01-31T15:32:00Z`,
		`{"operator":"and"}`:                                       `the operator "and" needs a nestedExpression`,
		`{"operator":"EQUALS","argument":["x"]}`:                   `the operator "EQUALS" does not join expressions: use and, or`,
		`{"operator":"EQUALS","property":"name"}`:                  `the operator EQUALS of "name" needs 1 arguments, got 0`,
		simple("LIKE", "name", strings.Repeat("x", MaxArgument+1)): `an argument of "name" is longer than 4096 bytes`,
		deep: `the filter has more than 500 expressions or is nested deeper than 16`,
		many: `the filter has more than 500 expressions or is nested deeper than 16`,
	} {
		if _, err := parse(t, `{"QueryFilter":{"expression":`+expression+`}}`); err == nil || err.Error() != want {
			t.Errorf("%.80s: %v, want %s", expression, err, want)
		}
	}
}

func TestPushdown(t *testing.T) {
	for _, c := range []struct{ expression, from, to, name string }{
		{simple("BETWEEN", "at", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"), "2026-01-01", "2026-02-01", ""},
		{`{"operator":"and","nestedExpression":[` + simple("GREATER_THAN", "at", "2026-01-01") + `,` + simple("LESS_THAN", "at", "2026-02-01") + `,` +
			simple("EQUALS", "name", "x") + `]}`, "2026-01-01", "2026-02-01", "x"},
		{`{"operator":"or","nestedExpression":[` + simple("GREATER_THAN", "at", "2026-01-01") + `,` + simple("EQUALS", "name", "x") + `]}`, "", "", ""},
		{simple("NOT_EQUALS", "at", "2026-01-01"), "", "", ""},
		{`{}`, "", "", ""},
	} {
		f, err := parse(t, `{"QueryFilter":{"expression":`+c.expression+`}}`)
		if err != nil {
			t.Fatal(err)
		}
		from, to := f.Bounds("at")
		name, _ := f.Exact("name")
		day := func(s string) bool { return s == "" }
		if (from.IsZero() != day(c.from)) || (to.IsZero() != day(c.to)) || name != c.name ||
			!from.IsZero() && from.Format("2006-01-02") != c.from || !to.IsZero() && to.Format("2006-01-02") != c.to {
			t.Errorf("%s: %v %v %q", c.expression, from, to, name)
		}
	}
}

// TestLikeIsBounded checks that no pattern and text together can keep a filter
// busy.
func TestLikeIsBounded(t *testing.T) {
	begin := time.Now()
	if like(strings.Repeat("%a", 2000)+"b", strings.Repeat("a", 4000)) || like("%"+strings.Repeat("a", 4000)+"b%", strings.Repeat("a", 1<<20)) {
		t.Error("it matches")
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"%", "", true}, {"%", "ab", true}, {"%%", "ab", true}, {"a", "a", true}, {"a", "ab", false},
		{"a%", "ab", true}, {"%b", "ab", true}, {"%a", "ab", false}, {"a%a", "a", false}, {"a%a", "aa", true}, {"a%b%c", "aXbYc", true},
		{"a%b%c", "acb", false}, {"%b%b%", "abab", true}, {"%b%b%", "ab", false}, {"ab%ba", "aba", false}, {"_", "a", false}, {"%a%a", "ba", false},
	} {
		if got := like(c.pattern, c.s); got != c.want {
			t.Errorf("%q like %q: got %v, want %v", c.s, c.pattern, got, c.want)
		}
	}
}
