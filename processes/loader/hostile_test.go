package loader

import (
	"fmt"
	"strings"
	"testing"

	"valence/internal/fault"
	"valence/internal/strictyaml"
	"valence/processes"
)

// numbered concatenates a format with the numbers 0 to n-1.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestHostile checks that hostile files load fast and report the right problem.
func TestHostile(t *testing.T) {
	const n = 1 << 18
	steps := "process: p\nsteps:\n"
	for _, c := range []struct {
		name, text string
		want       fault.Code
	}{
		{"dashes", strings.Repeat("- ", n), strictyaml.CodeSyntax},
		{"brackets", strings.Repeat("[", n), strictyaml.CodeSyntax},
		{"braces", strings.Repeat("{a: ", n), strictyaml.CodeSyntax},
		{"question marks", strings.Repeat("? ", n), strictyaml.CodeSyntax},
		{"colons", strings.Repeat("a: ", n), strictyaml.CodeSyntax},
		{"quotes", strings.Repeat("'", n), processes.CodeNotComponent},
		{"quoted", strings.Repeat(`"a" `, n), strictyaml.CodeSyntax},
		{"comments", steps + strings.Repeat("# x\n", n), wrongType},
		{"new lines", strings.Repeat("\n", n), processes.CodeEmptyFile},
		{"documents", strings.Repeat("---\n", n/8), processes.CodeEmptyFile},
		{"components", strings.Repeat("a: b\n---\n", n/8), processes.CodeTooLarge},
		{"open expressions", steps + " - log: " + strings.Repeat("${x ", n/8), "expression_syntax"},
		{"open expressions in brackets", "a: [" + strings.Repeat("${x ", n), strictyaml.CodeSyntax},
		{"keys", "process: p\n" + numbered("k%d: v\n", n/8), "unknown-key"},
		{"steps", steps + numbered(" - { log: x, name: n%d }\n", n/8), processes.CodeTooLarge},
		{"named steps", steps + numbered(" - { log: '${steps.x%[1]d}', name: n%[1]d }\n", MaxSteps), processes.CodeUnknownResult},
		{"unknown steps", steps + numbered(" - xyzzy%d: b\n", MaxSteps), processes.CodeUnknownStep},
		{"reads", steps + " - map:\n" + numbered("     k%d: ${vars.a}\n", n/32) + " - set:\n" + numbered("     k%d: 1\n", n/32), processes.CodeUnknownVariable},
		{"a deep choice", steps + nested(20), strictyaml.CodeTooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := Load([]processes.File{{Name: "f.yaml", Content: []byte(c.text)}}, testCatalog())
			if len(problems) > MaxProblems+1 {
				t.Errorf("got %d problems, want at most %d", len(problems), MaxProblems+1)
			}
			for _, p := range problems {
				if p.Code == c.want {
					return
				}
			}
			if len(problems) == 0 {
				t.Fatalf("got no problem, want %s", c.want)
			}
			t.Errorf("got %v, want %s", problems[0], c.want)
		})
	}
}

const wrongType fault.Code = "wrong-type"

// nested returns `if` steps nested n levels deep.
func nested(n int) string {
	text := "[]"
	for range n {
		text = "[{ if: '${doc.a}', then: " + text + ", else: [{ log: x }] }, { log: y }]"
	}
	return "  - if: ${doc.a}\n    then: " + text + "\n  - map: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "\n"
}

// TestManyProblems checks that problems over the limit are counted, and that the
// count is an error if any of them is.
func TestManyProblems(t *testing.T) {
	text := numbered("process: p%d\nsteps:\n - for_each: ${doc.x}\n   steps: [{ set: { a: 1 } }]\n---\n", MaxProblems+5) + "process: z\n"
	_, problems := Load([]processes.File{{Name: "f.yaml", Content: []byte(text)}}, testCatalog())
	last := problems[len(problems)-1]
	if len(problems) != MaxProblems+1 || last.Error() != "error: 6 more problems are not listed [too-large]\n    try: fix the listed problems first" {
		t.Errorf("got %d problems, the last: %v", len(problems), last)
	}
}

func TestManyFiles(t *testing.T) {
	_, problems := Load(make([]processes.File, MaxFiles+1), testCatalog())
	if got := problems.Error(); got != "error: the project has 20001 files with 0B in total [too-large]\n    try: split it: the maximum is 20000 files with 256MiB" {
		t.Errorf("got %s", got)
	}
}
