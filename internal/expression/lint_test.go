package expression

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"valence/internal/document"
	"valence/internal/fault"
)

// TestLint checks problems found at compile time and their positions within a
// scalar that starts at line 3, column 9.
func TestLint(t *testing.T) {
	scope := &Scope{Names: map[string]Type{
		"doc": TypeUnknown, "vars": TypeObject, "index": TypeNumber, "raw": TypeText, "customers": TypeList,
	}}
	for _, c := range [][2]string{
		{`${doc.id}`, ``},
		// syntax errors
		{`${`, "3:9 expression_syntax: the expression has no closing } | close it with }, or write $${ for a literal ${"},
		{`x ${doc.id`, "3:11 expression_syntax: the expression has no closing } | close it with }, or write $${ for a literal ${"},
		{`${doc["a}`, `3:15 expression_syntax: the text that starts here has no closing " | close it with }, or write $${ for a literal ${`},
		{`${doc.a // b}`, `3:17 expression_syntax: the comment that starts here hides the end of the expression | close it with }, or write $${ for a literal ${`},
		{`${}`, "3:11 expression_syntax: the expression is empty | write an expression, such as ${doc.id}, or $${} for the literal characters"},
		{`${ 1 + }`, "3:15 expression_syntax: the expression ends too early | something is missing at its end"},
		{`${doc.id = 1}`, "3:18 expression_syntax: `=` is not an operator | write == to compare"},
		{`${doc.id 1}`, "3:18 expression_syntax: unexpected `1`"},
		{`${doc @ 1}`, "3:15 expression_syntax: unexpected character | put text in quotes"},
		{`${map(doc.items, {a: .b})}`, "3:28 expression_syntax: unexpected `:` | to return an object from a function such as map, write two braces: map(list, {{key: .value}})"},
		{`${1; 2}`, "3:11 expression_syntax: only the last of several expressions has an effect | keep the last expression, or name the others with let"},
		{`${b"x"}`, "3:11 expression_syntax: byte strings are not supported | use text"},
		{`${# + 1}`, "3:11 expression_syntax: unexpected `#`"},
		{`${doc.id ?? 1 + 2}`, "3:23 expression_syntax: `??` cannot be combined with `+` without parentheses | write (a ?? b) + c"},
		// names
		{`${docs.id}`, "3:11 expression_name: unknown name docs | did you mean `doc`?"},
		{`${secret.KEY}`, "3:11 expression_name: unknown name secret | available: customers, doc, index, raw, vars"},
		{`${now}`, "3:11 expression_name: now is a function | write now()"},
		{`${uper(doc.id)}`, "3:11 expression_name: unknown function uper | did you mean `upper`?"},
		{`${frobnicate(1)}`, "3:11 expression_name: unknown function frobnicate"},
		{`${doc.name.upper()}`, "3:20 expression_name: values have no methods | write it as a function: `${upper(doc.name)}`"},
		{`${let doc = 1; doc}`, "3:15 expression_name: the name doc is already in use | choose another name"},
		{`${map([1], #acc)}`, "3:20 expression_name: unknown name #acc | available: #, #index and, in reduce(…), #acc"},
		{`äö ${docs} and ${vers}`, "3:14 expression_name: unknown name docs | did you mean `doc`?\n3:26 expression_name: unknown name vers | did you mean `vars`?"},
		// types
		{`${"a" + 1}`, "3:15 expression_type: `+` cannot add a number and text | use string(…) or number(…) to convert one of them"},
		{`${[1] + [2]}`, "3:11 expression_type: `+` adds numbers or joins text, not a list | use concat(…) to join lists"},
		{`${raw * 2}`, "3:11 expression_type: `*` needs numbers, not text | use number(…) to convert text to a number"},
		{`${raw == 1}`, "3:15 expression_type: text never equals a number | use number(…) or string(…) to convert one of them"},
		{`${raw < 1}`, "3:15 expression_type: cannot compare text with a number | use number(…) or string(…) to convert one of them"},
		{`${index and true}`, "3:11 expression_type: an operand of `and` must be boolean, not a number | compare it, such as … > 0"},
		{`${raw ? 1 : 2}`, "3:11 expression_type: the condition before `?` must be boolean, not text | compare it, such as … == \"yes\", or use bool(…)"},
		{`${index.x}`, "3:17 expression_type: cannot read x of a number"},
		{`${customers.name}`, "3:21 expression_type: a list has no key name | use an index, such as [0], or map(…)"},
		{`${vars[0]}`, "3:16 expression_type: an object has no index 0 | use a key, which is text"},
		{`${upper(5)}`, "3:17 expression_type: upper(…) expects text here, not a number | use string(…) to convert a number to text"},
		{`${upper()}`, "3:11 expression_syntax: upper(…) cannot be called with no arguments | write upper(text)"},
		{`${upper("a", "b")}`, "3:11 expression_syntax: upper(…) cannot be called with 2 arguments | write upper(text)"},
		{`${map(raw, 1)}`, "3:15 expression_type: map(…) expects a list, not text | use split(…) to split text into a list"},
		{`${filter(customers, 1)}`, "3:29 expression_type: the condition of filter(…) must be boolean, not a number | compare it, such as … > 0"},
		{`a ${customers}`, "3:13 expression_type: a list cannot be embedded in text | use json(…) to convert it to JSON text"},
		{`a ${nil}`, "3:13 expression_type: nil cannot be embedded in text | add a default with ?? if it may be missing"},
		{`${1 in raw}`, "3:16 expression_type: `in` searches a list or an object, not text | use `contains` to search text"},
		{`${omit}`, "3:11 template_directive: omit must be the whole value of a key | use omit alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"},
		// expressions that always fail
		{`${1 / 0}`, "3:13 expression_value: division by zero: `1 / 0`"},
		{`${len(5)}`, "3:11 expression_value: len(…) expects a list, an object or text, not a number: `len(5)`"},
		{`${doc.a matches "(a"}`, "3:25 expression_syntax: invalid regular expression (RE2): missing closing )"},
		{`${doc.items[99999999999]}`, "3:21 expression_value: the index is too large"},
	} {
		if got := lint(c[0], scope); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

// TestPlaces checks positions within multi-line text.
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
		t.Errorf("got %s %v, want flow.yaml:4:22 %s", f.Pos, f, fault.CodeExpression)
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
		t.Errorf("got %q %v, want 59.90", s, err)
	}
	if _, err := compile(t, "${doc.note}").Text(env()); err == nil {
		t.Error("text of nil: got nil, want an error")
	}
	if b, err := compile(t, "${doc.id > 1}").Bool(env()); !b || err != nil {
		t.Errorf("got %t %v, want true", b, err)
	}
	_, err := compile(t, "${doc.id}").Bool(env())
	if want := "expression: expected a boolean, got a number: `doc.id`"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	e, problems := Compile(text("${doc.items}"), &Scope{Names: map[string]Type{"doc": TypeUnknown}, Text: true})
	if _, err := e.Eval(env()); err == nil || problems != nil {
		t.Errorf("text of a list: got %v (%v), want a failure when evaluated", err, problems)
	}
	if _, problems := Compile(text("${[1]}"), &Scope{Text: true}); len(problems) != 1 || problems[0].Msg != "expected text, not a list" {
		t.Errorf("got %v, want one problem: expected text, not a list", problems)
	}
	if _, problems := Compile(&Node{Kind: Mapping}, nil); len(problems) != 1 {
		t.Errorf("got %v, want one problem", problems)
	}
}

// TestFileSegments checks that expressions in the path of a file stay within one
// segment.
func TestFileSegments(t *testing.T) {
	const refused = "expression: the value is one segment of a path and must not contain `/`, `\\` or control characters; write the folders before the expression"
	for _, c := range [][3]string{
		{"orders/${doc.v}.json", "4711 ü%2F", "orders/4711 ü%2F.json"},
		{"orders/${doc.v}.json", "../private/x", refused},
		{"orders/${doc.v}.json", `..\\private`, refused},
		{"orders/${doc.v}.json", "a/b", refused},
		{"orders/${doc.v}.json", `a\nb`, refused},
		{"orders/${doc.v}.json", `a\u0000b`, refused},
		{"orders/${doc.v}.json", `a\u202eb`, refused},
		{"orders/${doc.v}.json", "..", "orders/...json"},
		{"orders/${doc.v}", "..", "expression: a path segment cannot be `..`"},
		{"orders/${doc.v}/x", ".", "expression: a path segment cannot be `.`"},
		{"${doc.v}", "/etc/passwd", refused},
		{"orders/${doc.v}", "", "expression: a path segment cannot be empty"},
	} {
		n := text(c[0])
		n.Path = File
		e, problems := Compile(n, nil)
		if problems != nil {
			t.Fatalf("got %v, want no problems", problems)
		}
		got, err := e.Text(&Env{Names: names{"doc": document.Raw(`{"v":"` + c[1] + `"}`)}})
		if err != nil {
			got = strings.TrimSuffix(err.Error(), ": `doc.v`")
		}
		if got != c[2] {
			t.Errorf("%s with %s\n got %s\nwant %s", c[0], c[1], got, c[2])
		}
	}
}

// TestEscape checks that expressions in a path stay within one segment.
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
		{`/orders/${""}/x`, "lint: a path segment cannot be empty: `\"\"`"},
		{`/orders/x${""}`, "/orders/x"},
		{`/orders/${nil}`, "lint: nil cannot be embedded in text"},
	} {
		n := text(c[0])
		n.Path = URL
		e, problems := Compile(n, nil)
		got := ""
		if problems != nil {
			got = "lint: " + problems[0].Msg
		} else if v, err := e.Text(&Env{Names: names{"doc": document.Raw(`{"v":""}`)}}); err == nil {
			got = v
		} else if want := "expression: a path segment cannot be empty: `doc.v`"; err.Error() == want {
			got = c[1]
		} else {
			got = err.Error()
		}
		if got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}
