package processes

import (
	"fmt"
	"time"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Suspension is how a step suspends its execution, as its settings tell.
type Suspension struct {
	Name    string        // of a wait; "" for a sleep
	For     string        // how long a sleep is, as it is written
	Timeout time.Duration // of a wait; 0: none
	Keyed   bool          // a resume can end the wait
}

// Suspender is implemented by the settings of steps that suspend.
type Suspender interface{ Suspends() Suspension }

// waiting is one `wait` of a process.
type waiting struct {
	name  string
	at    fault.Pos
	path  string
	loops *rounds
	keyed bool
}

// calledBack is one callback("name").
type calledBack struct {
	name  string
	at    fault.Pos
	loops *rounds
}

// resumed is one `resume`.
type resumed struct {
	name string
	at   fault.Pos
}

func (s *scope) loopsOf() *rounds {
	if s == nil {
		return nil
	}
	return s.loops
}

func (r *rounds) depth() (n int) {
	for ; r != nil; r = r.up {
		n++
	}
	return n
}

// within reports whether r is outer, or a loop inside of it.
func (r *rounds) within(outer *rounds) bool {
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

// suspends notes a step that waits, or that ends what waits.
func (c *compiler) suspends() {
	own := valueAt(c.node, c.kind.Kind)
	if own == nil {
		return
	}
	switch c.kind.Flow {
	case Wait:
		c.b.waits = append(c.b.waits, waiting{own.Value, c.step.Pos, c.step.Path, c.scope.loopsOf(), valueAt(c.node, "key") != nil})
	case Resume:
		c.b.resumes = append(c.b.resumes, resumed{own.Value, c.step.Pos})
	}
}

// callback notes a call of callback().
func (c *compiler) callback(r *expression.Ref) {
	switch {
	case c.place != inSteps && c.place != inWith:
		c.problem(r.Pos, CodeNameNotHere, "`callback()` means nothing in "+c.place.what+": there is no execution yet that could wait", "call it in a step before the `wait:`")
	case r.Text == "":
		c.problem(r.Pos, CodeDynamicName, "which `wait` a callback() ends must be written out", "write `callback(\"name\")` with the name of the `wait:`")
	default:
		c.b.calledBack = append(c.b.calledBack, calledBack{r.Text, r.Pos, c.scope.loopsOf()})
	}
}

// waitsAndCallbacks holds the waits of a process against its callbacks.
func (b *building) waitsAndCallbacks() {
	called := map[string]bool{}
	for _, c := range b.calledBack {
		called[c.name] = true
	}
	first := map[string]*waiting{}
	for i := range b.waits {
		w := &b.waits[i]
		if before := first[w.name]; before != nil {
			b.problem(w.at, CodeDuplicateName, fmt.Sprintf("there is a wait `%s` already, in line %d", cut(w.name), before.at.Line), "rename one of them: a callback() or a resume must know which it ends")
			continue
		}
		first[w.name] = w
		if b.proc.Waits == nil {
			b.proc.Waits = map[string]WaitPlace{}
		}
		b.proc.Waits[w.name] = WaitPlace{Path: w.path, Loops: w.loops.depth(), Keyed: w.keyed}
		if !w.keyed && !called[w.name] {
			b.problem(w.at, CodeNeverEnds, "nothing can end this wait: it has no `key:`, and the process gives nobody a `callback(\""+cut(w.name)+"\")`",
				"send `${callback(\""+cut(w.name)+"\")}` to who answers, in a step before it, or add `key:` for a `resume:`; to wait for a time, use `sleep:`")
		}
	}
	for _, c := range b.calledBack {
		w := first[c.name]
		if w == nil {
			known := make([]string, 0, len(first))
			for name := range first {
				known = append(known, name)
			}
			hint := "add `- wait: " + cut(c.name) + "` behind it"
			if near := nearest(c.name, known); near != "" {
				hint = "did you mean `" + near + "`?"
			}
			b.problem(c.at, CodeUnknownWait, "the process has no `wait: "+cut(c.name)+"` that this callback() could end", hint)
			continue
		}
		if !c.loops.within(w.loops) {
			b.problem(c.at, CodeUnknownWait, fmt.Sprintf("the wait `%s` stands in `%s` (line %d), and this callback() outside of it: it cannot tell which of its rounds it ends", cut(c.name), w.loops.what, w.loops.line),
				"call callback() inside of the loop, too")
		}
	}
}

// signals checks what needs several processes: who resumes what, and what
// callers wait for.
func (l *loader) signals() {
	keyed := map[string]bool{}
	var known []string
	halfKnown := l.halfKnown()
	for _, b := range l.processes {
		for _, w := range b.waits {
			if w.keyed && !keyed[w.name] {
				keyed[w.name] = true
				known = append(known, w.name)
			}
		}
	}
	for _, b := range l.processes {
		for _, r := range b.resumes {
			if keyed[r.name] || halfKnown {
				continue
			}
			hint := "add `key:` to the `wait: " + cut(r.name) + "` that it is to end"
			if near := nearest(r.name, known); near != "" {
				hint = "did you mean `" + near + "`?"
			}
			l.problems = append(l.problems, &fault.Problem{Pos: r.at, Severity: fault.Warning, Code: CodeUnknownWait,
				Msg: "no process of the project has a `wait: " + cut(r.name) + "` with a `key:`", Hint: hint})
		}
		if b.proc.Listen != nil && b.proc.Listen.Output != "" {
			l.callerWaitsForKey(b)
			l.callerWaits(b, b.proc.Steps, false)
		}
		l.begunAtOnce(b)
	}
}

// callerWaits looks for steps that suspend while a caller waits for its reply.
func (l *loader) callerWaits(b *building, block Block, replied bool) {
	for _, s := range block {
		kind := l.kinds[s.Kind]
		if !replied {
			l.callerWaitsFor(b, s, kind.Flow)
		}
		for _, list := range s.Lists {
			l.callerWaits(b, list.Steps, replied)
		}
		if kind.Flow == Reply && s.When == nil {
			replied = true
		}
	}
}

func (l *loader) callerWaitsFor(b *building, s *Step, flow Flow) {
	what := "this `" + s.Kind + "`"
	if flow != Wait && flow != Sleep {
		var inner *Step
		in := ""
		for _, c := range b.proc.Calls {
			if c.Pos.Line == s.Pos.Line && !c.Handoff && inner == nil {
				if inner = l.suspendsIn(c.Process, Wait); inner == nil {
					inner = l.suspendsIn(c.Process, Sleep)
				}
				in = c.Process
			}
		}
		if inner == nil {
			return
		}
		flow = l.kinds[inner.Kind].Flow
		what = fmt.Sprintf("the `%s` in the process `%s` (%s)", inner.Kind, in, inner.Pos)
	}
	listen := b.proc.Listen
	if flow == Wait {
		b.proc.SuspendsCaller = true
	}
	if !listen.Sync() {
		return
	}
	then := "504"
	if listen.TimeoutAction == Continue {
		then = "202"
	}
	l.problems = append(l.problems, &fault.Problem{Pos: s.Pos, Severity: fault.Warning, Code: CodeCallerWaits,
		Msg:  "the caller waits, connection open, for " + what + ", and gets " + then + " after " + spec.FormatDuration(listen.Timeout),
		Hint: "`reply_modes: [deferred]`, so that nobody waits on a connection; or reply before it: the steps behind a `reply:` run in the background"})
}

// suspension is what suspendsIn looks for.
type suspension struct {
	process string
	flow    Flow
}

// suspendsIn finds the first step of a flow in a process, or in what it calls.
func (l *loader) suspendsIn(name string, flow Flow) *Step {
	key := suspension{name, flow}
	found, known := l.suspending[key]
	b := l.byName[name]
	if known || b == nil {
		return found
	}
	l.suspending[key] = nil // of a circle, which is an error
	found = l.stepOf(b.proc.Steps, flow)
	for i := 0; found == nil && i < len(b.proc.Calls); i++ {
		if c := b.proc.Calls[i]; !c.Handoff {
			found = l.suspendsIn(c.Process, flow)
		}
	}
	l.suspending[key] = found
	return found
}

func (l *loader) stepOf(block Block, flow Flow) *Step {
	for _, s := range block {
		if l.kinds[s.Kind].Flow == flow {
			return s
		}
		for _, list := range s.Lists {
			if found := l.stepOf(list.Steps, flow); found != nil {
				return found
			}
		}
	}
	return nil
}
