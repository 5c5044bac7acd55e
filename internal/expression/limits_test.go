package expression

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// hostile is a large document: a list of 100,000 numbers, 1 MiB of text, and
// nested lists.
func hostile() names {
	var list strings.Builder
	list.WriteString("[0")
	for i := 1; i < 100_000; i++ {
		list.WriteString("," + strconv.Itoa(i))
	}
	list.WriteString("]")
	long := strings.Repeat("abcdefgh", 1<<17)
	deep := strings.Repeat("[", 500) + strings.Repeat("]", 500)
	return names{"input": document.Raw(`{"deep":` + deep + `}`), "doc": document.Raw(`{"list":` + list.String() + `,"long":"` + long + `","deep":` + deep + `,"digits":` + strings.Repeat("9", 15_000) + `}`)}
}

// TestRunaways checks that expensive expressions end as expression_limit before
// they use much time or memory.
func TestRunaways(t *testing.T) {
	doc := hostile()
	for _, s := range []string{
		`${all(doc.list, all(doc.list, true))}`,
		`${filter(doc.list, # in doc.list) | len()}`,
		`${count(doc.list, any(doc.list, # == -1))}`,
		`${sum(doc.list, reduce(doc.list, #acc + #))}`,
		`${map(doc.list, map(doc.list, #))}`,
		`${map(doc.list, doc.list) | flatten()}`,
		`${map(doc.list, doc.long + "x") | len()}`,
		`${map(doc.list, len(doc.long)) | len()}`,
		`${map(doc.list, doc.long contains "zz")}`,
		`${map(doc.list, doc.list[# + 1])}`,
		`${map(doc.list, sort(doc.list))}`,
		`${map(doc.list, uniq(doc.list))}`,
		`${map(doc.list, sha256(doc.long))}`,
		`${map(doc.list, upper(doc.long))}`,
		`${map(doc.list, json(doc.list))}`,
		`${map(doc.list, doc.deep == input.deep)}`,
		`${reduce(1..30, #acc + #acc, "x")}`,
		`${reduce(1..40, concat(#acc, #acc), [1])}`,
		`${reduce(1..40, [#acc, #acc], 1) | json()}`,
		`${reduce(1..40, [#acc, #acc], 1) | flatten()}`,
		`${reduce(1..40, {{a: #acc, b: #acc}}, 1) == reduce(1..40, {{a: #acc, b: #acc}}, 1)}`,
		`${uniq([reduce(1..40, [#acc, #acc], 1)])}`,
		`${reduce(1..100000, [#acc], 1)}`,
		`${json(reduce(1..100000, [#acc], 1))}`,
		`${flatten(reduce(1..100000, [#acc], 1))}`,
		`${uniq([reduce(1..100000, [#acc], 1)])}`,
		`${reduce(1..100000, [#acc], 1) == reduce(1..100000, [#acc], 1)}`,
		`${repeat("x", 1000000000)}`,
		`${repeat(doc.long, 1000000000000)}`,
		`${replace(doc.long, "a", doc.long)}`,
		`${replace(doc.long, "", doc.long)}`,
		`${join(map(doc.list, doc.long), "")}`,
		`${split(repeat(doc.long, 30), "")}`,
		`${1..1000000000}`,
		`${-9223372036854775807..9223372036854775807}`,
		`${map(1..2000, 1..2000)}`,
		`${map(doc.list, doc.digits * doc.digits)}`,
		`${reduce(1..100, #acc * #acc, 7)}`,
		`${reduce(1..100000, #acc * 3, 3)}`,
		`${2 ** 1000000}`,
		`${7 ** (7 ** 7)}`,
		`${map(doc.list, doc.digits % 7)}`,
		`${map(doc.list, doc.long matches "(a|b|c)*z$")}`,
		`${map(doc.list, "a" matches "(x{1,30}){1,30}" + string(#))}`,
		`${csv(join(map(1..2000, "c" + string(#)), ",") + repeat("\n" + repeat(",", 1999), 5000))}`,
		`${map(doc.list, xml("<a>" + doc.long + "</a>"))}`,
		`${groupBy(map(doc.list, doc.long + string(#)), #)}`,
		`${map(doc.list, toPairs(fromPairs(map(doc.list, [#, 1]))))}`,
		`a ${join(map(doc.list, doc.long), "")}`,
	} {
		e, problems := Compile(text(s), nil)
		if problems != nil {
			t.Errorf("%s: got %v, want no problems", s, problems)
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := e.Eval(&Env{Names: doc})
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeLimit || f.Pos.Line == 0 {
			t.Errorf("%s: got %v, want %s with a position", s, err, fault.CodeLimit)
		}
		if took > 10*time.Second {
			t.Errorf("%s: got %s, want at most 10s", s, took)
		}
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 256 {
			t.Errorf("%s: got %d MiB allocated, want at most 256", s, mib)
		}
		t.Logf("%-60.60s %6.1f ms %4d MiB %v", s, float64(took.Microseconds())/1000, (after.TotalAlloc-before.TotalAlloc)>>20, err)
	}
}

// TestContext checks that a deadline ends an evaluation.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := compile(t, `${sum(1..5000)}`).Eval(&Env{Ctx: ctx})
	f := fault.AsFailure(err)
	if f == nil || f.Code != fault.CodeLimit || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %s because of the context", err, fault.CodeLimit)
	}
	if v, err := compile(t, `${sum(1..500)}`).Eval(&Env{Ctx: ctx}); err != nil || v != document.Number("125250") {
		t.Errorf("few steps after the context ended: got %v %v, want 125250", v, err)
	}
}

// TestBudgets checks that each evaluation has its own budget.
func TestBudgets(t *testing.T) {
	e := compile(t, `${len(1..(doc.n))}`)
	names := names{"doc": document.Raw(`{"n":400}`)}
	env := &Env{Names: names, Steps: 500, Bytes: 40_000}
	for range 3 {
		if _, err := e.Eval(env); err != nil {
			t.Fatal(err)
		}
	}
	_, err := e.Eval(&Env{Names: names, Steps: 300})
	if want := "expression_limit: the expression exceeds 300 steps: `len(1..(doc.n))`"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = e.Eval(&Env{Names: names, Bytes: 1000})
	if want := "expression_limit: the expression exceeds 1000 bytes of memory: `len(1..(doc.n))`"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	doc := hostile()
	for s, want := range map[string]string{
		`${len(doc.list)}`:                                        `100000`,
		`${sum(doc.list)}`:                                        `4999950000`,
		`${len(filter(doc.list, # % 2 == 0))}`:                    `50000`,
		`${doc.list[99999]}`:                                      `99999`,
		`${len(sort(doc.list, "desc"))}`:                          `100000`,
		`${len(doc.long)}`:                                        `1048576`,
		`${len(uniq(doc.list))}`:                                  `100000`,
		`${let l = 1..2000; len(filter(1..1000, # in l))}`:        `1000`,
		`${len(doc.list | map(# * 1.5) | filter(# > 10))}`:        `99993`,
		`${len(json(doc.list)) > 1 and len(upper(doc.long)) > 1}`: `true`,
	} {
		v, err := compile(t, s).Eval(&Env{Names: doc})
		if got := string(document.AppendJSON(nil, v)); err != nil || got != want {
			t.Errorf("%s: got %s %v, want %s", s, got, err, want)
		}
	}
}

// TestTemplateBudgets checks that the output of a template is limited.
func TestTemplateBudgets(t *testing.T) {
	for _, s := range []string{
		"$each: ${doc.list}\na: ${doc.long}",
		"$each: ${doc.list}\na:\n  $each: ${doc.list}\n  b: 1",
		"$each: ${doc.list}\n$merge: ${doc}",
		"$each: ${doc.list}\na: x${doc.long}",
		"$each: ${doc.list}\na: '${[doc.long]}'",
		"$each: ${doc.list}\n" + strings.Repeat("x", 1000) + ": ${1..1000}",
		"a: ${reduce(1..600, [#acc], 1)}",
	} {
		tmpl, problems := CompileTemplate(yamlNode(t, s), nil)
		if problems != nil {
			t.Fatalf("got %v, want no problems", problems)
		}
		start := time.Now()
		dst := []byte("x")
		out, err := tmpl.Append(dst, &Env{Names: hostile()})
		if f := fault.AsFailure(err); f == nil || f.Code != fault.CodeLimit || string(out) != "x" {
			t.Errorf("%.60s: got %v, want %s and no output", s, err, fault.CodeLimit)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%.60s: got %s, want at most 10s", s, took)
		}
	}
}

// TestSourceBounds checks that oversized sources are rejected quickly at
// compile time.
func TestSourceBounds(t *testing.T) {
	nest := func(open, middle, end string, n int) string {
		return "${" + strings.Repeat(open, n) + middle + strings.Repeat(end, n) + "}"
	}
	start := time.Now()
	for name, s := range map[string]string{
		"long":            "${" + strings.Repeat("1+", MaxSource/2) + "1}",
		"long text":       "${1}" + strings.Repeat("x", MaxText),
		"parentheses":     nest("(1+", "1", ")", 200),
		"many":            nest("(", "1 + (", ")", 5000),
		"lists":           nest("[", "", "]", 2000),
		"calls":           nest("len(", "doc", ")", 2000),
		"not":             nest("not ", "true", "", 3000),
		"minus":           nest("-", "doc.a", "", 8000),
		"ternaries":       nest("doc.a ? 1 : ", "2", "", 1000),
		"comparisons":     nest("(1 < ", "2", " < 3)", 45),
		"members":         nest("doc[", "1", "]", 500),
		"predicates":      nest("map(doc.a, ", "1", ")", 200),
		"lets":            nest("let a = 1; ", "1", "", 500),
		"pipes":           "${doc" + strings.Repeat(" | map(#)", 500) + "}",
		"long pattern":    `${doc.a matches "` + strings.Repeat("a", MaxPattern+1) + `"}`,
		"large pattern":   `${doc.a matches "((a{1,100}){1,100})"}`,
		"larger pattern":  `${doc.a matches "(((a{1,30}){1,30}){1,30})"}`,
		"braces":          "${" + strings.Repeat("{", 9000) + "}",
		"digits":          "${" + strings.Repeat("9", 15_000) + " + doc.a.b" + strings.Repeat("[0]", 300) + " + }",
		"very long digit": "${1" + strings.Repeat("0", 16_000) + " ** doc" + strings.Repeat(".a", 100) + " + }",
	} {
		_, problems := Compile(text(s), nil)
		if !problems.HasErrors() {
			t.Errorf("%s: got no problem, want one", name)
			continue
		}
		t.Logf("%-16s %s", name, problems[0].Msg)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("got %s, want at most 10s", took)
	}
}
