package sandbox_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"valence/atom/sandbox"
	"valence/atom/steps"
	"valence/connectors/all"
	"valence/internal/test/linear"
	"valence/processes"
	"valence/processes/loader"
	"valence/processes/testrun"
)

// manyDifferences returns a project whose test fails in n fields of a call.
func manyDifferences(n int) string {
	var sent, want strings.Builder
	for i := range n {
		fmt.Fprintf(&sent, "      field_%d: %d\n", i, i)
		fmt.Fprintf(&want, "          field_%d: %d\n", i, i+1)
	}
	return "connection: shop\nconnector: http\nurl: ${env.SHOP_URL}\n---\nprocess: wide\nsteps:\n  - call: shop.post\n    body:\n" + sent.String() +
		"---\ntest: every field differs\ntarget: wide\nmocks: { shop.post: {} }\nexpect:\n  calls:\n    - shop.post:\n        body:\n" + want.String()
}

// report runs the tests of a file and returns the report for people.
func report(ctx context.Context, t *testing.T, text string) string {
	t.Helper()
	files := []processes.File{{Name: "wide.yaml", Content: []byte(text)}}
	p, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	var b strings.Builder
	if err := testrun.WriteText(&b, testrun.RunAll(ctx, sandbox.New(p), p, files, testrun.Plan(p, "")), false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestManyDifferences checks that a report lists some of many differences, with
// their lines, and counts the others.
func TestManyDifferences(t *testing.T) {
	got := report(t.Context(), t, manyDifferences(1000))
	if n := strings.Count(got, "\n"); n != 1+50*3+1 {
		t.Errorf("got %d lines, want 50 differences of three lines, one line before them and one after", n)
	}
	if first := "FAIL  every field differs\n  wide.yaml:9: calls[0].body.field_0\n    - want 1\n    + got  0\n"; !strings.HasPrefix(got, first) {
		t.Errorf("got %q, want it to begin with %q", got[:min(len(got), 200)], first)
	}
	if last := "\n  … and 950 more differences\n"; !strings.HasSuffix(got, last) {
		t.Errorf("got %q at the end, want %q", got[max(0, len(got)-200):], last)
	}
}

// TestLongDifferences checks that a report shortens long values.
func TestLongDifferences(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	got := report(t.Context(), t, "process: p\nsteps:\n  - log: "+long+"\n---\ntest: long\ntarget: p\nexpect: { log: [x] }\n")
	if len(got) > 10_000 || !strings.Contains(got, "… (100004 characters)") {
		t.Errorf("got %d bytes, want a short report: %q", len(got), got[max(0, len(got)-200):])
	}
}

// TestDifferencesAreLinear checks that the cost of a report grows with the number
// of differences.
func TestDifferencesAreLinear(t *testing.T) {
	linear.Check(t, []linear.Parser{{
		Name: "report", N: 250, Inputs: map[string]func(int) string{"differences": manyDifferences},
		Parse: func(ctx context.Context, text string) { report(ctx, t, text) },
	}})
}
