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

// maxHints is for how many unknown names of a process it is found out what was
// meant.
const maxHints = 100

// variables checks, once a whole process is compiled, what is read against
// what is set.
func (b *building) variables() {
	setIn, readIn := map[string]apartSet{}, map[string]apartSet{}
	for i := range b.writes {
		add(setIn, &b.writes[i])
	}
	for i := range b.reads {
		add(readIn, &b.reads[i])
	}
	unknown := 0
	for _, r := range b.reads {
		if r.name == "" || r.apart.withinAny(setIn[r.name]) {
			continue
		}
		if setIn[r.name] == nil {
			hint := ""
			if unknown++; unknown <= maxHints {
				hint = b.variableHint(r.name, setIn)
			}
			b.problem(r.at, CodeUnknownVariable, "no step sets `vars."+cut(r.name)+"`", hint)
			continue
		}
		lost := b.written(r.name)
		b.problem(r.at, CodeUnknownVariable, fmt.Sprintf("`vars.%s` is set only inside `%s` (line %d), and lost behind it", r.name, lost.apart.what, lost.apart.line),
			"use `collect: true` or the results of the paths, or set it outside")
	}
	all := readIn[""] // ${vars}
	for _, w := range b.writes {
		if w.apart == nil || readIn[w.name].anyWithin(w.apart) || all.anyWithin(w.apart) {
			continue
		}
		b.problems = append(b.problems, &fault.Problem{Pos: w.at, Severity: fault.Warning, Code: CodeLostVariable,
			Msg:  fmt.Sprintf("`vars.%s` is set inside `%s` (line %d) and not read there: it is lost behind it", w.name, w.apart.what, w.apart.line),
			Hint: "elements and paths have copies of the variables; use `collect: true`, or the results of the paths"})
	}
	for i, r := range b.unknownResults {
		if i >= maxHints {
			b.problem(r.at, CodeUnknownResult, "there is no step `"+cut(r.name)+"` above", "")
			continue
		}
		known := r.scope.results()
		hint := suggestion(r.name, known)
		if at, ok := b.names[r.name]; ok {
			hint = "the step of that name (line " + fmt.Sprint(at.Line) + ") is not above this one in the same list or around it; use `into:` and `vars." + r.name + "`"
		} else if len(known) == 0 {
			hint = "give the step above `name: " + cut(r.name) + "`"
		}
		b.problem(r.at, CodeUnknownResult, "there is no step `"+cut(r.name)+"` above", hint)
	}
}

// apartSet are the elements and paths in which something is done; nil among
// them stands for the process itself.
type apartSet map[*apart]bool

func add(m map[string]apartSet, u *use) {
	if m[u.name] == nil {
		m[u.name] = apartSet{}
	}
	m[u.name][u.apart] = true
}

// withinAny reports whether a is one of those in set, or inside of one.
func (a *apart) withinAny(set apartSet) bool {
	for ; a != nil; a = a.up {
		if set[a] {
			return true
		}
	}
	return set[nil]
}

// anyWithin reports whether one of the set is a, or inside of it.
func (set apartSet) anyWithin(a *apart) bool {
	for e := range set {
		for ; e != nil; e = e.up {
			if e == a {
				return true
			}
		}
	}
	return false
}

// written finds where a variable is set, the last place of several.
func (b *building) written(name string) *use {
	for i := len(b.writes) - 1; i >= 0; i-- {
		if b.writes[i].name == name {
			return &b.writes[i]
		}
	}
	return nil
}

func (b *building) variableHint(name string, set map[string]apartSet) string {
	known := make([]string, 0, len(set))
	for w := range set {
		known = append(known, w)
	}
	if near := nearest(name, known); near != "" {
		return "did you mean `vars." + near + "`?"
	}
	if _, ok := b.names[name]; ok {
		return "did you mean `steps." + name + "`?"
	}
	return "set it before: `- set: { " + cut(name) + ": … }`"
}
