package processes

import (
	"fmt"

	"valence/internal/fault"
)

// result is a reading of steps.<name> where no such step is above.
type result struct {
	name  string
	at    fault.Pos
	scope *scope
}

// variables checks, once a whole process is compiled, what is read against
// what is set.
func (b *building) variables() {
	for _, r := range b.reads {
		if r.name == "" {
			continue
		}
		var lost *use
		seen := false
		for i := range b.writes {
			w := &b.writes[i]
			if w.name != r.name {
				continue
			}
			if r.apart.within(w.apart) {
				seen = true
				break
			}
			lost = w
		}
		switch {
		case seen:
		case lost != nil:
			b.problem(r.at, CodeUnknownVariable, fmt.Sprintf("`vars.%s` is set only inside `%s` (line %d), and lost behind it", r.name, lost.apart.what, lost.apart.line),
				"use `collect: true` or the results of the paths, or set it outside")
		default:
			b.problem(r.at, CodeUnknownVariable, "no step sets `vars."+cut(r.name)+"`", b.variableHint(r.name))
		}
	}
	for _, w := range b.writes {
		if w.apart != nil && !b.readWithin(w) {
			p := &fault.Problem{Pos: w.at, Severity: fault.Warning, Code: CodeLostVariable,
				Msg:  fmt.Sprintf("`vars.%s` is set inside `%s` (line %d) and not read there: it is lost behind it", w.name, w.apart.what, w.apart.line),
				Hint: "elements and paths have copies of the variables; use `collect: true`, or the results of the paths"}
			b.problems = append(b.problems, p)
		}
	}
	for _, r := range b.unknownResults {
		hint := suggestion(r.name, r.scope.results())
		if at, ok := b.names[r.name]; ok {
			hint = "the step of that name (line " + fmt.Sprint(at.Line) + ") is not above this one in the same list or around it; use `into:` and `vars." + r.name + "`"
		} else if len(r.scope.results()) == 0 {
			hint = "give the step above `name: " + cut(r.name) + "`"
		}
		b.problem(r.at, CodeUnknownResult, "there is no step `"+cut(r.name)+"` above", hint)
	}
}

func (b *building) readWithin(w use) bool {
	for _, r := range b.reads {
		if (r.name == w.name || r.name == "") && r.apart.within(w.apart) {
			return true
		}
	}
	return false
}

func (b *building) variableHint(name string) string {
	var known []string
	for _, w := range b.writes {
		known = append(known, w.name)
	}
	if near := nearest(name, known); near != "" {
		return "did you mean `vars." + near + "`?"
	}
	if _, ok := b.names[name]; ok {
		return "did you mean `steps." + name + "`?"
	}
	return "set it before: `- set: { " + cut(name) + ": … }`"
}
