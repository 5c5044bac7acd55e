package expression

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// names implements Names.
type names map[string]any

func (n names) Name(root string) (any, bool) {
	v, ok := n[root]
	return v, ok
}

// order is the document of most tests.
const order = `{
  "id": 4711, "number": "A-4711", "total": 59.90, "paid": true, "note": null, "rate": 0.10,
  "big": 12345678901234567890123456789,
  "customer": {"id": 7, "name": "Ada Ünlü", "tags": ["a", "b"], "address": {"city": "Köln", "a.b*c": 1}},
  "items": [
    {"sku": "x1", "price": 19.99, "qty": 2, "on": true},
    {"sku": "x2", "price": 0.1, "qty": 3, "on": false},
    {"sku": "x3", "price": 5, "qty": 1, "on": true, "discount": 0.5}
  ],
  "empty": [], "text": "a \"quoted\" \\ line\nnext"
}`

// env returns an Env with order as doc.
func env() *Env {
	headers := &document.Object{}
	headers.Set("x-event-id", "e-1")
	headers.Set("content-type", "application/json")
	request := &document.Object{}
	request.Set("method", "POST")
	request.Set("headers", headers)
	vars := &document.Object{}
	vars.Set("n", document.Number("3"))
	vars.Set("list", []any{document.Number("1"), document.Number("2")})
	vars.Set("order", document.Raw(`{"a":{"b":[1,{"c":"deep"}]}}`))
	return &Env{
		Names: names{
			"doc": document.Parse(order), "input": document.Parse(order), "raw": order, "request": request, "vars": vars,
			"response": nil, "steps": &document.Object{}, "env": document.Raw(`{"SHOP_URL":"https://shop.example"}`),
			"secret": document.Raw(`{"KEY":"hidden"}`), "index": document.Number("2"), "item": document.Raw(`{"sku":"x2"}`),
		},
		Now:  time.Date(2026, 3, 1, 12, 30, 15, 123456789, time.FixedZone("", 3600)),
		UUID: func(site string, n int) string { return fmt.Sprintf("%s/%d", site, n) },
	}
}

// text returns a scalar at line 3, column 9 of flow.yaml.
func text(s string) *Node {
	return &Node{Kind: Scalar, Value: s, Pos: fault.Pos{File: "flow.yaml", Line: 3, Col: 9}}
}

func compile(t *testing.T, s string) *Expr {
	t.Helper()
	e, problems := Compile(text(s), nil)
	if problems.HasErrors() {
		t.Fatalf("%s: got %v, want no problems", s, problems)
	}
	return e
}

// result evaluates s and returns the value as JSON, or the failure as "code:
// message".
func result(s string) string {
	e, problems := Compile(text(s), nil)
	if len(problems) > 0 {
		return "lint: " + problems[0].Msg
	}
	v, err := e.Eval(env())
	if err != nil {
		return err.Error()
	}
	return string(document.AppendJSON(nil, v))
}

// advised returns the result of an expression, or its first problem with the hint.
func advised(s string) string {
	if _, problems := Compile(text(s), nil); len(problems) > 0 && problems[0].Hint != "" {
		return "lint: " + problems[0].Msg + "; " + problems[0].Hint
	}
	return result(s)
}

func lint(s string, sc *Scope) string {
	_, problems := Compile(text(s), sc)
	var out []string
	for _, p := range problems {
		line := fmt.Sprintf("%d:%d %s: %s", p.Line, p.Col, p.Code, p.Msg)
		if p.Hint != "" {
			line += " | " + p.Hint
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
