package processes

import (
	"maps"
	"slices"
	"strings"

	"valence/internal/expression"
	"valence/internal/fault"
)

// ownKeys refuses waits that whoever could end them waits behind: a hand-off
// of the same sequence key begins only when this execution has ended. What is
// not proven here fails with the same code when it runs.
func (l *loader) ownKeys() {
	if l.problems.HasErrors() {
		return
	}
	for _, b := range l.processes {
		if b.proc.Delivery.Sequence != nil {
			w := ownKeys{l: l, proc: b.proc}
			w.walk(b.proc.Steps, true, map[string]bool{})
		}
	}
}

// ownKeys walks through the steps of one sequenced process.
type ownKeys struct {
	l    *loader
	proc *Process
}

// walk goes through steps that run one after the other. input tells that the
// current document is the one the execution began with; behind are the
// processes that were certainly handed off to in the lane of this execution.
func (w *ownKeys) walk(block Block, input bool, behind map[string]bool) {
	for _, s := range block {
		kind := w.l.kinds[s.Kind]
		if kind.Flow == Wait {
			w.wait(s, behind)
		}
		for _, list := range s.Lists {
			w.walk(list.Steps, input && kind.Flow != Loop && kind.Flow != Wait, maps.Clone(behind))
		}
		r := Reach{}
		if reacher, ok := s.Settings.(Reacher); ok {
			r = reacher.Reach()
		}
		if r.Handoff {
			if s.When == nil && r.Process != "" && w.ownLane(r, input) {
				behind[r.Process] = true
			}
			continue
		}
		input = input && !w.l.changesDocument(s)
	}
}

// changesDocument reports whether another document may follow a step.
func (l *loader) changesDocument(s *Step) bool {
	if l.kinds[s.Kind].MakesDocument {
		return s.Into == ""
	}
	for _, list := range s.Lists {
		for _, below := range list.Steps {
			if l.changesDocument(below) {
				return true
			}
		}
	}
	return false
}

// ownLane reports whether what is handed off certainly waits in the lane of
// the execution that hands it off.
func (w *ownKeys) ownLane(r Reach, input bool) bool {
	to := w.l.byName[r.Process]
	if to == nil {
		return false
	}
	own, other := &w.proc.Delivery, &to.proc.Delivery
	if other.Sequence == nil || other.Filter != nil || other.Dedupe != nil || other.EchoGuard != nil || other.Coalesce != nil {
		return false // it may not run, or not at once
	}
	if to.proc != w.proc && (own.Sequence.Scope == "" || own.Sequence.Scope != other.Sequence.Scope) {
		return false
	}
	key := own.Sequence.Key
	if written(key) == "" || written(key) != written(other.Sequence.Key) {
		return false
	}
	for _, ref := range key.Refs() {
		if ref.Call != "" || len(ref.Path) == 0 || ref.Path[0] != "doc" {
			return false
		}
	}
	if listen := w.proc.Listen; listen != nil && listen.Input == "xml" && own.Profile != other.Profile {
		return false // another profile, another view of the same text
	}
	switch {
	case len(key.Refs()) == 0:
		return true
	case r.Body == nil:
		return input
	}
	body := strings.TrimSpace(r.Body.Source())
	return body == "${input}" || input && body == "${doc}"
}

// written is an expression as it is written, without blanks around it.
func written(e *expression.Expr) string { return strings.TrimSpace(e.Source()) }

// wait reports a wait that a process behind this execution would have to end.
func (w *ownKeys) wait(s *Step, behind map[string]bool) {
	suspender, ok := s.Settings.(Suspender)
	if !ok {
		return
	}
	name := suspender.Suspends().Name
	severity := fault.Error
	if p := w.proc; p.Listen == nil && p.Schedule == nil && p.Subscribe == nil {
		severity = fault.Warning // called with `mode: wait` it has no place in the sequence
	}
	for _, process := range slices.Sorted(maps.Keys(behind)) {
		if !w.l.resumes(process, name, map[string]bool{}) {
			continue
		}
		w.l.problems = append(w.l.problems, &fault.Problem{Pos: s.Pos, Severity: severity, Code: CodeOwnKey,
			Msg:  "this wait can only fail: `" + process + "`, which resumes it, is handed off with the same sequence key and begins when this execution has ended",
			Hint: "resume it in a process without `sequence:`, or with another `scope:`"})
		return
	}
}

// resumes reports whether a process, or one that it waits for, gives the
// signal of a wait.
func (l *loader) resumes(process, wait string, seen map[string]bool) bool {
	b := l.byName[process]
	if b == nil || seen[process] {
		return false
	}
	seen[process] = true
	for _, r := range b.resumes {
		if r.name == wait {
			return true
		}
	}
	for _, c := range b.proc.Calls {
		if !c.Handoff && l.resumes(c.Process, wait, seen) {
			return true
		}
	}
	return false
}
