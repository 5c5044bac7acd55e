package fault

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	at := func(line, col int) Pos { return Pos{File: "p.yaml", Line: line, Col: col} }
	for _, test := range []struct {
		name string
		p    Problem
		line string
		want string
	}{
		{"correction", Problem{Pos: at(4, 5), Code: "c", Msg: "unknown step `lgo`", Hint: "did you mean `log`?", Fix: Edit{"lgo", "log"}}, "  - lgo: x",
			"p.yaml:4:5: error: unknown step `lgo` [c]\n      4 |   - lgo: x\n        |     ^^^\n    try: did you mean `log`?\n      4 |   - log: x\n    see: there"},
		{"correction that begins before the position", Problem{Pos: at(1, 7), Code: "c", Msg: "m", Fix: Edit{"a.upper()", "upper(a)"}}, "x: ${a.upper()}",
			"p.yaml:1:7: error: m [c]\n      1 | x: ${a.upper()}\n        |       ^\n      1 | x: ${upper(a)}\n    see: there"},
		{"characters of several bytes", Problem{Pos: at(1, 4), Code: "c", Msg: "m"}, "äö: x", "p.yaml:1:4: error: m [c]\n      1 | äö: x\n        |    ^\n    see: there"},
		{"control characters", Problem{Pos: at(1, 1), Code: "c", Msg: "m"}, "a\x1b[2J\u202eb", "p.yaml:1:1: error: m [c]\n      1 | a␣[2J␣b\n        | ^\n    see: there"},
		{"position after the end", Problem{Pos: at(1, 99), Code: "c", Msg: "m"}, "a", "p.yaml:1:99: error: m [c]\n      1 | a\n        |  ^\n    see: there"},
		{"whole file", Problem{Pos: Pos{File: "p.yaml"}, Severity: Warning, Code: "c", Msg: "m", Hint: "h"}, "", "p.yaml: warning: m [c]\n    try: h\n    see: there"},
	} {
		if got := test.p.Report(func(string, int) string { return test.line }, "there"); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
	long := Problem{Pos: at(1, 5001), Code: "c", Msg: "m"}
	got := long.Report(func(string, int) string { return strings.Repeat("x", 5000) + "Y" + strings.Repeat("z", 5000) }, "")
	lines := strings.Split(got, "\n")
	if i := strings.Index(lines[2], "^"); len(got) > 400 || !strings.Contains(lines[1], "xY") || []rune(lines[1])[i] != 'Y' {
		t.Errorf("got %q, want a short line with the caret below Y", got)
	}
}

func TestApplyFindsTheOccurrenceAtThePosition(t *testing.T) {
	if got, want := (Edit{"id", "key"}).Apply("id: ${id} id", 7), "id: ${key} id"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Edit{"id", "key"}).Apply("id: x", 4); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}
