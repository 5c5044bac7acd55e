package loader

import (
	"fmt"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// resultRead is a read of steps.<name> without such a step above.
type resultRead struct {
	name  string
	at    fault.Pos
	scope *scope
}

// maxHints bounds the number of unknown names of a process for which a
// suggestion is computed.
const maxHints = 100

// variables reports variables and results that are read but not set, or set but
// lost. It runs after all steps are compiled.
func (b *processBuilder) variables() {
	setIn, readIn := map[string]scopeSet{}, map[string]scopeSet{}
	for i := range b.writes {
		add(setIn, &b.writes[i])
	}
	for i := range b.reads {
		add(readIn, &b.reads[i])
	}
	unknown := 0
	for _, r := range b.reads {
		if r.name == "" || r.vars.withinAny(setIn[r.name]) {
			continue
		}
		if setIn[r.name] == nil {
			hint, fix := "", fault.Edit{}
			if unknown++; unknown <= maxHints {
				hint, fix = b.variableHint(r.name, setIn)
			}
			b.problem(r.at, processes.CodeUnknownVariable, "no step sets `vars."+cut(r.name)+"`", hint).Fix = fix
			continue
		}
		lost := b.written(r.name)
		b.problem(r.at, processes.CodeUnknownVariable, fmt.Sprintf("`vars.%s` is set only inside `%s` (line %d) and lost after it", r.name, lost.vars.what, lost.vars.line),
			"use `collect: true` or the results of the paths, or set the variable outside")
	}
	all := readIn[""] // ${vars}
	for _, w := range b.writes {
		if w.vars == nil || readIn[w.name].anyWithin(w.vars) || all.anyWithin(w.vars) {
			continue
		}
		b.problems = append(b.problems, &fault.Problem{Pos: w.at, Severity: fault.Warning, Code: processes.CodeLostVariable,
			Msg:  fmt.Sprintf("`vars.%s` is set inside `%s` (line %d), but not read there, and lost after it", w.name, w.vars.what, w.vars.line),
			Hint: "elements and paths have copies of the variables; use `collect: true` or the results of the paths"})
	}
	for i, r := range b.unknownResults {
		if i >= maxHints {
			b.problem(r.at, processes.CodeUnknownResult, "no step `"+cut(r.name)+"` above this one", "")
			continue
		}
		known := r.scope.results()
		hint, near := spec.Suggestion(r.name, known), spec.Nearest(r.name, known)
		if at, ok := b.names[r.name]; ok {
			hint = "the step `" + r.name + "` in line " + fmt.Sprint(at.Line) + " is neither above this one in the same list nor in an enclosing list; use `into:` and `vars." + r.name + "`"
			near = ""
		} else if len(known) == 0 {
			hint = "add `name: " + cut(r.name) + "` to the step above"
		}
		b.problem(r.at, processes.CodeUnknownResult, "no step `"+cut(r.name)+"` above this one", hint).Correct(r.name, near)
	}
}

// scopeSet is a set of variable scopes. nil stands for the process itself.
type scopeSet map[*varScope]bool

func add(m map[string]scopeSet, u *varUse) {
	if m[u.name] == nil {
		m[u.name] = scopeSet{}
	}
	m[u.name][u.vars] = true
}

// withinAny reports whether s is in the set, or inside a member of it.
func (a *varScope) withinAny(set scopeSet) bool {
	for ; a != nil; a = a.up {
		if set[a] {
			return true
		}
	}
	return set[nil]
}

// anyWithin reports whether a member of the set is s, or inside it.
func (set scopeSet) anyWithin(a *varScope) bool {
	for e := range set {
		for ; e != nil; e = e.up {
			if e == a {
				return true
			}
		}
	}
	return false
}

// written returns the last write of a variable, or nil.
func (b *processBuilder) written(name string) *varUse {
	for i := len(b.writes) - 1; i >= 0; i-- {
		if b.writes[i].name == name {
			return &b.writes[i]
		}
	}
	return nil
}

// variableHint returns the hint for a variable that no step sets, and the
// correction if it names one.
func (b *processBuilder) variableHint(name string, set map[string]scopeSet) (string, fault.Edit) {
	known := make([]string, 0, len(set))
	for w := range set {
		known = append(known, w)
	}
	if near := spec.Nearest(name, known); near != "" {
		return "did you mean `vars." + near + "`?", fault.Edit{Old: "vars." + name, New: "vars." + near}
	}
	if _, ok := b.names[name]; ok {
		return "did you mean `steps." + name + "`?", fault.Edit{Old: "vars." + name, New: "steps." + name}
	}
	return "set it before this step: `- set: { " + cut(name) + ": … }`", fault.Edit{}
}
