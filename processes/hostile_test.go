package processes

import (
	"fmt"
	"strings"
	"testing"

	"valence/internal/fault"
	"valence/internal/strictyaml"
)

// numbered repeats a format with the numbers below n.
func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// What somebody writes to bring the loader down ends soon, with a problem that says what it is.
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
		{"quotes", strings.Repeat("'", n), CodeNotComponent},
		{"quoted", strings.Repeat(`"a" `, n), strictyaml.CodeSyntax},
		{"comments", steps + strings.Repeat("# x\n", n), wrongType},
		{"new lines", strings.Repeat("\n", n), CodeEmptyFile},
		{"documents", strings.Repeat("---\n", n/8), CodeEmptyFile},
		{"components", strings.Repeat("a: b\n---\n", n/8), CodeTooLarge},
		{"open expressions", "process: p\ndescription: " + strings.Repeat("${x ", n), strictyaml.CodeUnquoted},
		{"open expressions in brackets", "a: [" + strings.Repeat("${x ", n), strictyaml.CodeSyntax},
		{"keys", "process: p\n" + numbered("k%d: v\n", n/8), "unknown-key"},
		{"steps", steps + numbered(" - { log: x, name: n%d }\n", n/8), CodeTooLarge},
		{"named steps", steps + numbered(" - { log: '${steps.x%[1]d}', name: n%[1]d }\n", MaxSteps), CodeUnknownResult},
		{"unknown steps", steps + numbered(" - xyzzy%d: b\n", MaxSteps), CodeUnknownStep},
		{"reads", steps + " - map:\n" + numbered("     k%d: ${vars.a}\n", n/32) + " - set:\n" + numbered("     k%d: 1\n", n/32), CodeUnknownVariable},
		{"a deep choice", steps + nested(20), strictyaml.CodeTooDeep},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := Load([]File{{"f.yaml", []byte(c.text)}}, testCatalog())
			if len(problems) > MaxProblems+1 {
				t.Errorf("%d problems", len(problems))
			}
			for _, p := range problems {
				if p.Code == c.want {
					return
				}
			}
			if len(problems) == 0 {
				t.Fatal("nothing is wrong with it")
			}
			t.Errorf("no %s, but %v", c.want, problems[0])
		})
	}
}

const wrongType fault.Code = "wrong-type"

// nested nests ifs n deep, both ways.
func nested(n int) string {
	text := "[]"
	for range n {
		text = "[{ if: '${doc.a}', then: " + text + ", else: [{ log: x }] }, { log: y }]"
	}
	return "  - if: ${doc.a}\n    then: " + text + "\n  - map: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "\n"
}

// Problems beyond the bound are counted, and an error among them stays one.
func TestManyProblems(t *testing.T) {
	text := numbered("process: p%d\nsteps:\n - for_each: ${doc.x}\n   steps: [{ set: { a: 1 } }]\n---\n", MaxProblems+5) + "process: z\n"
	_, problems := Load([]File{{"f.yaml", []byte(text)}}, testCatalog())
	last := problems[len(problems)-1]
	if len(problems) != MaxProblems+1 || last.Error() != "error: there are 6 more problems [too-large]\n    try: correct these first" {
		t.Errorf("%d problems, the last: %v", len(problems), last)
	}
}

func TestManyFiles(t *testing.T) {
	_, problems := Load(make([]File, MaxFiles+1), testCatalog())
	if got := problems.Error(); got != "error: the project has 20001 files with 0B [too-large]\n    try: split it: the most is 20000 files with 256MiB" {
		t.Error(got)
	}
}
