package expression

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"valence/internal/document"
)

// shopLibrary holds the functions and tables of the tests.
func shopLibrary(t *testing.T) *Library {
	t.Helper()
	l := NewLibrary()
	add := func(name, body string, params ...string) {
		t.Helper()
		l.Declare(name, params)
		if _, problems := l.Define(name, text(body)); problems.HasErrors() {
			t.Fatalf("%s: got %v, want no problems", name, problems)
		}
	}
	table := func(name, data string, key ...string) {
		t.Helper()
		if _, err := l.AddTable(name, key, data); err != nil {
			t.Fatal(err)
		}
	}
	table("countries", `[{"code":"PT","name":"Portugal"},{"code":"DE","name":"Germany","eu":true}]`, "code")
	table("units", `[{"erp":"PCE","shop":"piece","n":1},{"erp":"PCE","shop":"item","n":2},{"erp":"KGM","shop":"kg","n":10}]`, "erp", "shop")
	table("empty", `[]`, "code")
	l.DeclareTable("failed")
	add("net", "${round(gross / (1 + rate), 2)}", "gross", "rate")
	add("twice", "${net(amount, 0.25) * 2}", "amount")
	add("label", "${order.customer.name} (${len(order.items)})", "order", "unused")
	add("slow", "${sum(1..n, sum(1..n))}", "n")
	add("country", `${lookup("countries", code)?.name ?? "unknown"}`, "code")
	return l
}

// TestLibrary calls the functions and tables of a project.
func TestLibrary(t *testing.T) {
	l := shopLibrary(t)
	for _, c := range [][2]string{
		{`${net(doc.total, 0.25)}`, `47.92`},
		{`${doc.total | net(0.25)}`, `47.92`},
		{`${twice(125)}`, `200`},
		{`${label(doc, nil)}`, `"Ada Ünlü (3)"`},
		{`${map([1.25, 2.5], net(#, 0.25))}`, `[1,2]`},
		{`${[country("PT"), country("XX"), country(doc.customer.name)]}`, `["Portugal","unknown","unknown"]`},
		{`${net(1)}`, "lint: net(…) cannot be called with one argument"},
		{`${net(doc.number, 1)}`, "expression: in net(…): expected a number, got text; use number(…) to convert it: `round(gross / (1 + rate), 2)`"},
		{`${ner(1, 2)}`, "lint: unknown function ner"},
		{`${net}`, "lint: net is a function"},
		{`${slow(5000)}`, "expression_limit: in slow(…): the expression exceeds 1000000 steps: `sum(1..n, sum(1..n))`"},
		{`${twice("a")}`, "lint: in twice(…): in net(…): expected a number, got text; use number(…) to convert it: `round(gross / (1 + rate), 2)`"},
		{`${map(1..3, slow(700))}`, "expression_limit: in slow(…): the expression exceeds 1000000 steps: `sum(1..n, sum(1..n))`"},
		{`${lookup("countries", "PT")}`, `{"code":"PT","name":"Portugal"}`},
		{`${lookup("countries", doc.missing ?? "DE").eu}`, `true`},
		{`${lookup("countries", "PT").eu}`, `null`},
		{`${lookup("countries", "FR")?.name}`, `null`},
		{`${lookup("countries", "FR").name}`, "lint: cannot read `name` of nil; write `?.name` if it may be missing: `lookup(\"countries\", \"FR\").name`"},
		{`${lookup("countries", doc.missing)}`, "expression: the key of a lookup is nil; add a default with ?? if it may be missing: `lookup(\"countries\", doc.missing)`"},
		{`${lookup("countries", "PT").nmae}`, "lint: the table countries has no column nmae"},
		{`${lookup("countries", "PT")["nmae"]}`, "lint: the table countries has no column nmae"},
		{`${lookup("countreis", "PT")}`, "lint: the project has no table `countreis`"},
		{`${lookup(doc.number, "PT")}`, "lint: the name of the table must be constant text"},
		{`${lookup("countries")}`, "lint: lookup(…) cannot be called with one argument"},
		{`${lookup("units", ["PCE", "item"]).n}`, `2`},
		{`${lookup("units", "PCE")}`, "lint: the table units has the key columns erp, shop; pass a list with a value for each: `lookup(\"units\", \"PCE\")`"},
		{`${[lookup("units", {erp: "PCE"}).shop, lookup("units", {n: 10}).shop, lookup("units", {n: "10.0", erp: "KGM"})?.shop, lookup("units", {n: 10.0, erp: "KGM"})?.shop]}`, `["piece","kg",null,"kg"]`},
		{`${lookup("units", {unit: 1})}`, "lint: the table units has no column unit"},
		{`${lookup("units", {(doc.number): 1})}`, "lint: the columns of a lookup must be constant"},
		{`${lookup("units", {})}`, "lint: the lookup names no column"},
		{`${lookup("units", {n: doc.items})}`, "expression: a key must be text, a number or a boolean, not a list: `lookup(\"units\", {n: doc.items})`"},
		{`${lookup("empty", 1)}`, `null`},
		{`${lookup("failed", 1)}`, "expression: not compiled"},
	} {
		sc := standardScope()
		sc.Library = l
		got := func() string {
			e, problems := Compile(text(c[0]), sc)
			if len(problems) > 0 {
				return "lint: " + problems[0].Msg
			}
			v, err := e.Eval(env())
			if err != nil {
				return err.Error()
			}
			return string(document.AppendJSON(nil, v))
		}()
		if !strings.HasPrefix(got, c[1]) {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestFunctionsArePure checks that a function reads only its parameters.
func TestFunctionsArePure(t *testing.T) {
	l := NewLibrary()
	for body, want := range map[string]string{
		"${doc.id}":  "3:11 expression_name: unknown name doc | available: amount",
		"${now()}":   "3:11 expression_name: a function cannot call now(…): its result depends only on its parameters | pass its result as a parameter",
		"${uuid()}":  "3:11 expression_name: a function cannot call uuid(…): its result depends only on its parameters | pass its result as a parameter",
		"${amount}a": "",
	} {
		l.Declare("f", []string{"amount"})
		_, problems := l.Define("f", text(body))
		got := ""
		for _, p := range problems {
			got = fmt.Sprintf("%d:%d %s: %s | %s", p.Line, p.Col, p.Code, p.Msg, p.Hint)
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", body, got, want)
		}
	}
}

// TestTableErrors checks the rows that a table rejects.
func TestTableErrors(t *testing.T) {
	for _, c := range []struct {
		data, want string
		row        int
	}{
		{`[{"code":"a"},{"code":"a"}]`, "the row has the same key as row 1", 1},
		{`[{"code":1},{"code":"1"}]`, "the row has the same key as row 1", 1},
		{`[{"code":"a"},{"name":"b"}]`, "the row has no value for its key `code`", 1},
		{`[{"code":null}]`, "the row has no value for its key `code`", 0},
		{`[{"kode":"a"}]`, "no row has the column `code`; the columns are kode", -1},
		{`[1]`, "a row must be a map of values by column", 0},
		{`[{"code":"a","list":[1]}]`, "the column `list` must be text, a number or a boolean, not a list", 0},
	} {
		_, err := NewLibrary().AddTable("t", []string{"code"}, c.data)
		var wrong *RowError
		if !errors.As(err, &wrong) || wrong.Msg != c.want || wrong.Row != c.row {
			t.Errorf("%s: got %v, want row %d: %s", c.data, err, c.row, c.want)
		}
	}
}

// TestLibraryIsShared evaluates functions and lookups concurrently.
func TestLibraryIsShared(t *testing.T) {
	sc := standardScope()
	sc.Library = shopLibrary(t)
	e, problems := Compile(text(`${net(doc.total, 0.25)} ${lookup("units", {n: 10}).shop}`), sc)
	if problems != nil {
		t.Fatalf("got %v, want no problems", problems)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if v, err := e.Eval(env()); err != nil || v != "47.92 kg" {
					t.Errorf("got %v %v, want 47.92 kg", v, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestLookupIsConstantTime checks that a lookup costs the same in a large table.
func TestLookupIsConstantTime(t *testing.T) {
	var b strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&b, `,{"code":%d,"other":"x%d"}`, i, i)
	}
	sc := standardScope()
	sc.Library = NewLibrary()
	if _, err := sc.Library.AddTable("large", []string{"code"}, "["+b.String()[1:]+"]"); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{`${lookup("large", doc.id).other}`, `${lookup("large", {other: "x4711"}).other}`} {
		e, problems := Compile(text(source), sc)
		if problems != nil {
			t.Fatalf("got %v, want no problems", problems)
		}
		small := env()
		small.Steps, small.Bytes = 200, 4096
		if v, err := e.Eval(small); err != nil || v != "x4711" {
			t.Errorf("%s: got %v %v, want x4711", source, v, err)
		}
	}
}
