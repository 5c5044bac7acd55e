package loader

import (
	"fmt"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// waitDecl is one `wait` of a process.
type waitDecl struct {
	name  string
	at    fault.Pos
	path  string
	loops *loopScope
	keyed bool
}

// callbackCall is one call of callback("name").
type callbackCall struct {
	name  string
	at    fault.Pos
	loops *loopScope
}

func (s *scope) loopsOf() *loopScope {
	if s == nil {
		return nil
	}
	return s.loops
}

func (r *loopScope) depth() (n int) {
	for ; r != nil; r = r.up {
		n++
	}
	return n
}

// within reports whether r is outer, or a loop inside it.
func (r *loopScope) within(outer *loopScope) bool {
	if outer == nil {
		return true
	}
	for ; r != nil; r = r.up {
		if r == outer {
			return true
		}
	}
	return false
}

// suspends records the waits and resumes of a process.
func (c *compiler) suspends() {
	own := valueAt(c.node, c.kind.Kind)
	if own == nil {
		return
	}
	switch c.kind.Flow {
	case processes.Wait:
		c.b.waits = append(c.b.waits, waitDecl{own.Value, c.step.Pos, c.step.Path, c.scope.loopsOf(), valueAt(c.node, "key") != nil})
	case processes.Resume:
		c.b.proc.Resumes = append(c.b.proc.Resumes, processes.ResumeCall{Wait: own.Value, Pos: c.step.Pos})
	}
}

// callback records a call of callback().
func (c *compiler) callback(r *expression.Ref) {
	switch {
	case c.context != inSteps && c.context != inWith:
		c.problem(r.Pos, processes.CodeNameNotHere, "`callback()` is not available in "+c.context.what+": the execution does not exist yet", "call it in a step before the `wait:`")
	case r.Text == "":
		c.problem(r.Pos, processes.CodeDynamicName, "the name in callback() cannot be computed", "write `callback(\"name\")` with the name of the `wait:`")
	default:
		c.b.callbackCalls = append(c.b.callbackCalls, callbackCall{r.Text, r.Pos, c.scope.loopsOf()})
	}
}

// waitsAndCallbacks checks the waits of a process and the callbacks that end them.
func (b *processBuilder) waitsAndCallbacks() {
	called := map[string]bool{}
	for _, c := range b.callbackCalls {
		called[c.name] = true
	}
	first := map[string]*waitDecl{}
	for i := range b.waits {
		w := &b.waits[i]
		if before := first[w.name]; before != nil {
			b.problem(w.at, processes.CodeDuplicateName, fmt.Sprintf("the wait `%s` is already declared in line %d", cut(w.name), before.at.Line), "rename one of them")
			continue
		}
		first[w.name] = w
		if b.proc.Waits == nil {
			b.proc.Waits = map[string]processes.WaitInfo{}
		}
		b.proc.Waits[w.name] = processes.WaitInfo{Path: w.path, Loops: w.loops.depth(), Keyed: w.keyed}
		if !w.keyed && !called[w.name] {
			b.problem(w.at, processes.CodeNeverEnds, "nothing can end this wait: it has no `key:`, and the process does not call `callback(\""+cut(w.name)+"\")`",
				"send `${callback(\""+cut(w.name)+"\")}` to another system in an earlier step, or add `key:` for a `resume:`; to wait for a duration, use `sleep:`")
		}
	}
	for _, c := range b.callbackCalls {
		w := first[c.name]
		if w == nil {
			known := make([]string, 0, len(first))
			for name := range first {
				known = append(known, name)
			}
			hint := "add `- wait: " + cut(c.name) + "` after it"
			near := spec.Nearest(c.name, known)
			if near != "" {
				hint = "did you mean `" + near + "`?"
			}
			b.problem(c.at, processes.CodeUnknownWait, "the process has no `wait: "+cut(c.name)+"` for this callback()", hint).Correct(c.name, near)
			continue
		}
		if !c.loops.within(w.loops) {
			b.problem(c.at, processes.CodeUnknownWait, fmt.Sprintf("the wait `%s` is inside `%s` (line %d), but this callback() is outside, so its iteration is ambiguous", cut(c.name), w.loops.what, w.loops.line),
				"call callback() inside the loop")
		}
	}
}
