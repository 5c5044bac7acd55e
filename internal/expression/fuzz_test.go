package expression

import (
	"testing"
	"time"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// FuzzExpression checks that every source compiles and evaluates without panic,
// within the limits, to a value or a failure with a known code.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		"${doc.customer.name}", "a ${doc.id} b $${c}", "${sum(doc.items, .price * .qty)}", "${reduce(1..30, #acc + #acc, \"x\")}",
		"${let x = doc.total; x > 50 ? omit : {a: [x, -1.5e3]}}", "${filter(doc.items, {.on}) | map({{s: #.sku, i: #index}}) | sortBy(.s, \"desc\")}",
		"${doc.items[-1:][0]?.x ?? nil}", "${doc.number matches \"^[a-z]+$\" and not (1 in [1, 2])}", "${date(\"2026-01-01\") + string(0x1F ** 2)}",
		"${if true { 1 } else { 2 }}", "${1 < 2 < 3 .. 4 % 0}", "${'}' + `{` /* } */ + \"\\u{1F600}\"}", "${json(\"[1,{}]\")[1]}", "${xml(doc.raw)} ${csv(raw)}",
		"${hmac(secret.KEY, json(doc), \"sha512\")}", "${map(toPairs(doc.customer), #[0] + string(#[1]))}", "${request.headers[\"X-Event-Id\"]}", "${", "$", "${}}", "${a.b.c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start := time.Now()
		for _, path := range []Path{NoPath, URL, File} {
			n := text(s)
			n.Path = path
			if e, problems := Compile(n, nil); !problems.HasErrors() {
				e0 := env()
				e0.Steps, e0.Bytes = 20_000, 4<<20
				v, err := e.Eval(e0)
				checkOutcome(t, s, v, err)
				if again, err2 := e.Eval(e0); err == nil && (err2 != nil || !Equal(v, again)) {
					t.Errorf("%q: got %v and then %v (%v), want equal results", s, v, again, err2)
				}
			} else {
				for _, p := range problems {
					if p.Line < 3 || p.Col < 1 || p.Msg == "" || p.Code == "" {
						t.Errorf("%q: got %+v, want a problem with position, code and message", s, p)
					}
				}
			}
		}
		inEach := &Node{Kind: Mapping, Keys: []Key{{Name: "$each", Value: text("${doc.items}")}, {Name: "a", Value: text(s)}, {Name: "b", Value: &Node{Kind: Sequence, Items: []*Node{text(s)}}}}}
		if tmpl, problems := CompileTemplate(inEach, nil); !problems.HasErrors() {
			e0 := env()
			e0.Steps, e0.Bytes = 20_000, 4<<20
			out, err := tmpl.Append(nil, e0)
			checkOutcome(t, s, document.Raw(out), err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%q: got %s, want at most 10s", s, took)
		}
	})
}

func checkOutcome(t *testing.T, s string, v any, err error) {
	t.Helper()
	if err != nil {
		failure, ok := err.(*fault.Failure)
		if !ok || failure.Code != fault.CodeExpression && failure.Code != fault.CodeLimit || failure.Pos.Line == 0 {
			t.Errorf("%q: got %#v, want a failure with a known code and a position", s, err)
		}
		return
	}
	if err := convert.CheckJSON(document.AppendJSON(nil, v)); err != nil {
		t.Errorf("%q: got %s, which is not JSON (%v), want JSON", s, document.AppendJSON(nil, v), err)
	}
}

// FuzzWalk checks that a walk over invalid JSON neither panics nor hangs.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{order, benchOrder, "{", `{"a`, `{"a":`, `{"a":[`, `{"a":[1,`, "[", `["\`, "{}}", `{"a"1}`, `{,}`, "\x00", `{"a":{"b":"\u00`} {
		f.Add(s)
	}
	e, _ := Compile(text("${[doc?.a?.b, doc?.customer?.name, doc?.items?.[1]?.sku, doc?.[0]]}"), nil)
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" || s[0] != '{' && s[0] != '[' {
			return
		}
		e.Eval(&Env{Names: names{"doc": document.Raw(s)}})
		count(s)
		lookup(s, "a")
		for it := begin(s); it.next(); {
		}
	})
}
