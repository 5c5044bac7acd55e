package processes

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestZHostile(t *testing.T) {
	n := 1 << 20
	for name, text := range map[string]string{
		"dashes":     strings.Repeat("- ", n/2),
		"brackets":   strings.Repeat("[", n),
		"braces":     strings.Repeat("{a: ", n/4),
		"questions":  strings.Repeat("? ", n/2),
		"comments":   "process: p\n" + strings.Repeat("# x\n", n/4),
		"commentseq": "a:\n" + strings.Repeat("- x # c\n", n/8),
		"keys": func() string {
			var b strings.Builder
			for i := range n / 16 {
				fmt.Fprintf(&b, "k%08d: v\n", i)
			}
			return b.String()
		}(),
		"quotes":        strings.Repeat("'", n),
		"dq":            strings.Repeat("\"a\" ", n/4),
		"exprs":         "a: " + strings.Repeat("${x} ", n/5),
		"openexprs":     "a: " + strings.Repeat("${x ", n/4),
		"openexprsflow": "a: [" + strings.Repeat("${x ", n/4),
		"anchors":       strings.Repeat("&a ", n/3),
		"longline":      "process: p\ndescription: " + strings.Repeat("x ", n/2),
		"newlines":      strings.Repeat("\n", n),
		"cr":            strings.Repeat("\r", n),
		"colons":        strings.Repeat(": ", n/2),
		"colons2":       strings.Repeat("a: ", n/3),
		"docs":          strings.Repeat("---\n", n/4),
		"docs2":         strings.Repeat("a: b\n---\n", n/9),
		"unk":           "process: p\nsteps:\n" + strings.Repeat(" - xyzzy: b\n", n/12),
		"tabs":          "process: p\nsteps:\n" + strings.Repeat(" - \txyzzy: b\n", n/12),
		"vars":          "process: p\nsteps:\n" + strings.Repeat(" - log: ${vars.a}\n", n/18),
		"names": "process: p\nsteps:\n" + func() string {
			var b strings.Builder
			for i := range n / 20 {
				fmt.Fprintf(&b, "- { log: x, name: n%d }\n", i)
			}
			return b.String()
		}(),
	} {
		start := time.Now()
		fmt.Println(name)
		_, ps := Load([]File{{"f.yaml", []byte(text)}}, testCatalog())
		first := ""
		if len(ps) > 0 {
			first = ps[0].Error()
		}
		if len(first) > 150 {
			first = first[:150]
		}
		t.Logf("%-12s %8v %d %s", name, time.Since(start).Round(time.Millisecond), len(ps), first)
	}
}
