package expression

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/fault"
)

// TestLint holds what is found before anything runs, with the place inside
// the scalar that starts at line 3, column 9.
func TestLint(t *testing.T) {
	scope := &Scope{Names: map[string]Type{
		"doc": TypeUnknown, "vars": TypeObject, "index": TypeNumber, "raw": TypeText, "customers": TypeList,
	}}
	for _, c := range [][2]string{
		{`${doc.id}`, ``},
		// what cannot be read
		{`${`, "3:9 expression_syntax: the expression has no closing } | close it with }, or write $${ for a literal ${"},
		{`x ${doc.id`, "3:11 expression_syntax: the expression has no closing } | close it with }, or write $${ for a literal ${"},
		{`${doc["a}`, `3:15 expression_syntax: the text that starts here has no closing " | close it with }, or write $${ for a literal ${`},
		{`${doc.a // b}`, `3:17 expression_syntax: the comment that starts here hides the end of the expression | close it with }, or write $${ for a literal ${`},
		{`${}`, "3:11 expression_syntax: the expression is empty | write what to read, such as ${doc.id}, or $${} for the characters"},
		{`${ 1 + }`, "3:15 expression_syntax: the expression ends too early | something is missing at its end"},
		{`${doc.id = 1}`, "3:18 expression_syntax: `=` compares nothing | write == to compare"},
		{`${doc.id 1}`, "3:18 expression_syntax: `1` cannot stand here"},
		{`${doc @ 1}`, "3:15 expression_syntax: this character has no meaning in an expression | put text in quotes"},
		{`${map(doc.items, {a: .b})}`, "3:28 expression_syntax: `:` cannot stand here | an object as what a function like map makes of each element needs two braces: map(list, {{key: .value}})"},
		{`${1; 2}`, "3:11 expression_syntax: only the last of several expressions has a use | keep the last expression, or name the others with let"},
		{`${b"x"}`, "3:11 expression_syntax: there are no byte strings | write it as text"},
		{`${# + 1}`, "3:11 expression_syntax: `#` cannot stand here"},
		{`${doc.id ?? 1 + 2}`, "3:23 expression_syntax: `??` and `+` need parentheses to stand together | write (a ?? b) + c"},
		// names
		{`${docs.id}`, "3:11 expression_name: there is no name docs here | did you mean `doc`?"},
		{`${secret.KEY}`, "3:11 expression_name: there is no name secret here | there are customers, doc, index, raw, vars"},
		{`${now}`, "3:11 expression_name: now is a function | write now()"},
		{`${uper(doc.id)}`, "3:11 expression_name: there is no function uper | did you mean `upper`?"},
		{`${frobnicate(1)}`, "3:11 expression_name: there is no function frobnicate"},
		{`${doc.name.upper()}`, "3:20 expression_name: values have no methods | write upper(…) with the value as the first argument, or … | upper()"},
		{`${let doc = 1; doc}`, "3:15 expression_name: doc has a meaning already | choose another name"},
		{`${map([1], #acc)}`, "3:20 expression_name: there is no #acc here | there are #, #index and, inside reduce(…), #acc"},
		{`äö ${docs} and ${vers}`, "3:14 expression_name: there is no name docs here | did you mean `doc`?\n3:26 expression_name: there is no name vers here | did you mean `vars`?"},
		// types
		{`${"a" + 1}`, "3:15 expression_type: `+` cannot add a number and a text | string(…) makes text of a number, number(…) reads one from text"},
		{`${[1] + [2]}`, "3:11 expression_type: `+` takes numbers or texts, not a list | concat(…) joins lists"},
		{`${raw * 2}`, "3:11 expression_type: `*` takes numbers, not a text | number(…) reads a number from text"},
		{`${raw == 1}`, "3:15 expression_type: a text never equals a number | number(…) reads a number from text, string(…) makes text of one"},
		{`${raw < 1}`, "3:15 expression_type: a text and a number have no order | number(…) reads a number from text, string(…) makes text of one"},
		{`${index and true}`, "3:11 expression_type: what `and` joins must be boolean, not a number | compare it, such as … > 0"},
		{`${raw ? 1 : 2}`, "3:11 expression_type: the condition before `?` must be boolean, not a text | compare it, such as … == \"yes\", or use bool(…)"},
		{`${index.x}`, "3:17 expression_type: x cannot be read inside a number"},
		{`${customers.name}`, "3:21 expression_type: a list has no key name | take an element, such as [0], or use map(…)"},
		{`${vars[0]}`, "3:16 expression_type: an object has no index 0 | the keys of an object are text"},
		{`${upper(5)}`, "3:17 expression_type: upper(…) takes a text here, not a number | string(…) makes text of a number"},
		{`${upper()}`, "3:11 expression_syntax: upper(…) does not take no arguments | write upper(text)"},
		{`${upper("a", "b")}`, "3:11 expression_syntax: upper(…) does not take 2 arguments | write upper(text)"},
		{`${map(raw, 1)}`, "3:15 expression_type: map(…) takes a list, not a text | split(…) makes a list of a text"},
		{`${filter(customers, 1)}`, "3:29 expression_type: the condition of filter(…) must be boolean, not a number | compare it, such as … > 0"},
		{`a ${customers}`, "3:13 expression_type: a list cannot stand inside a text | json(…) writes it as JSON"},
		{`a ${nil}`, "3:13 expression_type: nil cannot stand inside a text | give another value with ?? where it may be missing"},
		{`${1 in raw}`, "3:16 expression_type: `in` looks into a list or an object, not into a text | write … contains …"},
		{`${omit}`, "3:11 template_directive: omit may only be the whole value of a key | let omit stand alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"},
		// what always fails
		{`${1 / 0}`, "3:13 expression_value: division by zero: `1 / 0`"},
		{`${len(5)}`, "3:11 expression_value: len(…) takes a list, an object or a text, not a number: `len(5)`"},
		{`${doc.a matches "(a"}`, "3:25 expression_syntax: this is not a pattern (RE2): missing closing )"},
		{`${doc.items[99999999999]}`, "3:21 expression_value: no list has so many elements"},
	} {
		if got := lint(c[0], scope); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestPlaces holds where problems lie in texts of several lines.
func TestPlaces(t *testing.T) {
	file := "flow.yaml"
	for _, c := range []struct {
		name string
		node Node
		want string
	}{
		{"plain", Node{Value: "${a}", Pos: fault.Pos{File: file, Line: 2, Col: 5}}, "flow.yaml:2:7"},
		{"quoted", Node{Value: "${a}", Pos: fault.Pos{File: file, Line: 2, Col: 5}, Text: fault.Pos{File: file, Line: 2, Col: 6}}, "flow.yaml:2:8"},
		{"block", Node{Value: "one\ntwo ${\n  a}", Pos: fault.Pos{File: file, Line: 2, Col: 5}, Text: fault.Pos{File: file, Line: 3, Col: 7}}, "flow.yaml:5:9"},
		{"after runes", Node{Value: "äöü ${'ä' + a}", Pos: fault.Pos{File: file, Line: 1, Col: 1}}, "flow.yaml:1:13"},
		{"unknown", Node{Value: "${a}", Pos: fault.Pos{File: file}}, "flow.yaml"},
	} {
		_, problems := Compile(&c.node, &Scope{})
		if len(problems) != 1 || problems[0].Pos.String() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, problems, c.want)
		}
	}
	e := compile(t, "${doc.items |\n  map(.price.x)}")
	_, err := e.Eval(env())
	if f := fault.AsFailure(err); f.Pos.String() != "flow.yaml:4:22" || f.Code != fault.CodeExpression {
		t.Errorf("got %s %v", f.Pos, f)
	}
}

func TestTypes(t *testing.T) {
	for s, want := range map[string]Type{
		`${doc.id}`: TypeUnknown, `${doc.id + doc.x}`: TypeUnknown, `${1 + 1}`: TypeNumber, `${doc.a * 2}`: TypeNumber, `a ${doc.id}`: TypeText, `plain`: TypeText,
		`${doc.a == 1}`: TypeBoolean, `${map(doc.a, #)}`: TypeList, `${{a: doc.b}}`: TypeObject, `${nil}`: TypeNull, `${doc.a ? 1 : doc.b * 2}`: TypeNumber,
		`${doc.a ?? "x"}`: TypeUnknown, `${now()}`: TypeText, `${[1][0:1]}`: TypeList, `${upper(doc.a)[0:1]}`: TypeText, `${let x = 1; x}`: TypeNumber,
	} {
		if got := compile(t, s).Type(); got != want {
			t.Errorf("%s: got %s, want %s", s, got, want)
		}
	}
}

func TestConstant(t *testing.T) {
	for s, want := range map[string]string{
		`plain`: `"plain"`, `${1 + 1}`: `2`, `a ${upper("b")}`: `"a B"`, `${doc.id}`: ``, `${now()}`: ``, `${uuid()}`: ``, `${sum([1, 2])}`: `3`, `$${a}`: `"${a}"`,
		`${1..1000000}`: ``, // more than the budget of lint
	} {
		v, ok := compile(t, s).Constant()
		got := ""
		if ok {
			got = string(document.AppendJSON(nil, v))
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", s, got, want)
		}
	}
	for _, v := range []any{nil, true, document.Number("0.10")} {
		e, _ := Compile(&Node{Value: v}, nil)
		if got, ok := e.Constant(); !ok || got != v {
			t.Errorf("got %v %t, want %v", got, ok, v)
		}
	}
}

func TestRefs(t *testing.T) {
	for s, want := range map[string]string{
		`${doc.a.b[0].c}`:                      "doc.a.b.0.c",
		`${doc["a b"]?.c ?? vars.x}`:           "doc.a b.c vars.x",
		`${doc.a[vars.i].b}`:                   "vars.i doc.a…",
		`${map(doc.items, .sku + env.X)}`:      "doc.items env.X map()",
		`${hmac(secret.KEY, doc.id) + doc.x}`:  "secret.KEY(hmac) doc.id(hmac) hmac() doc.x",
		`${callback("paid")} ${callback(raw)}`: `callback("paid") raw callback()`,
		`${let x = doc.a; x.b}`:                "doc.a",
		`${now()}`:                             "now()",
	} {
		var got []string
		for _, r := range compile(t, s).Refs() {
			one := strings.Join(r.Path, ".")
			switch {
			case r.Path == nil && r.Text != "":
				one = fmt.Sprintf("%s(%q)", r.Call, r.Text)
			case r.Path == nil:
				one = r.Call + "()"
			case r.Call != "":
				one += "(" + r.Call + ")"
			}
			if !r.Complete {
				one += "…"
			}
			got = append(got, one)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s\n got %s\nwant %s", s, g, want)
		}
	}
	refs := compile(t, `${doc.a +`+"\n"+` env.B}`).Refs()
	want := []fault.Pos{{File: "flow.yaml", Line: 3, Col: 11}, {File: "flow.yaml", Line: 4, Col: 10}}
	if got := []fault.Pos{refs[0].Pos, refs[1].Pos}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTextAndBool(t *testing.T) {
	if s, err := compile(t, "${doc.total}").Text(env()); s != "59.90" || err != nil {
		t.Errorf("got %q %v", s, err)
	}
	if _, err := compile(t, "${doc.note}").Text(env()); err == nil {
		t.Error("nil became text")
	}
	if b, err := compile(t, "${doc.id > 1}").Bool(env()); !b || err != nil {
		t.Errorf("got %t %v", b, err)
	}
	_, err := compile(t, "${doc.id}").Bool(env())
	if want := "expression: a boolean is needed, but this is a number: `doc.id`"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	e, problems := Compile(text("${doc.items}"), &Scope{Names: map[string]Type{"doc": TypeUnknown}, Text: true})
	if _, err := e.Eval(env()); err == nil || problems != nil {
		t.Errorf("a list became text: %v", problems)
	}
	if _, problems := Compile(text("${[1]}"), &Scope{Text: true}); len(problems) != 1 || problems[0].Msg != "text is needed here, not a list" {
		t.Errorf("got %v", problems)
	}
	if _, problems := Compile(&Node{Kind: Mapping}, nil); len(problems) != 1 {
		t.Errorf("got %v", problems)
	}
}

// TestEscape holds how expressions in a path stay one segment.
func TestEscape(t *testing.T) {
	for _, c := range [][2]string{
		{`/orders/${doc.v}`, `/orders/`},
		{`/orders/${"a/b c?d#e%ü"}`, `/orders/a%2Fb%20c%3Fd%23e%25%C3%BC`},
		{`/orders/${"a-b._~9"}/x`, `/orders/a-b._~9/x`},
		{`/orders/${".."}/x`, `/orders/%2E%2E/x`},
		{`/orders/${"."}`, `/orders/%2E`},
		{`/orders/${"..."}`, `/orders/...`},
		{`/orders/${"a\u0000b"}`, `/orders/a%00b`},
		{`/orders/${4711}?x=${"&"}`, `/orders/4711?x=%26`},
		{`/orders/../${"x"}`, `/orders/../x`},
		{`${"/"}`, `%2F`},
		{`/orders/${""}/x`, "lint: a segment of a path cannot be empty: `\"\"`"},
		{`/orders/x${""}`, "/orders/x"},
		{`/orders/${nil}`, "lint: nil cannot stand inside a text"},
	} {
		n := text(c[0])
		n.Escape = true
		e, problems := Compile(n, nil)
		got := ""
		if problems != nil {
			got = "lint: " + problems[0].Msg
		} else if v, err := e.Text(&Env{Names: names{"doc": document.Raw(`{"v":""}`)}}); err == nil {
			got = v
		} else if want := "expression: a segment of a path cannot be empty: `doc.v`"; err.Error() == want {
			got = c[1]
		} else {
			got = err.Error()
		}
		if got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}
