package analysis

import (
	"maps"
	"slices"
	"strings"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// ownKeys reports waits that can only be ended by an execution in the same
// lane: a hand-off with the same sequence key starts only after this execution
// has ended. Cases that are not proven here fail with the same code at run time.
func (c *checker) ownKeys() {
	for _, p := range c.procs {
		if p.Delivery.Sequence != nil {
			w := ownKeys{c, p}
			w.walk(p.Steps, true, map[string]bool{})
		}
	}
}

// ownKeys follows the steps of one sequenced process.
type ownKeys struct {
	*checker
	proc *processes.Process
}

// walk follows steps that run one after the other. With input the current
// document is the input of the execution. queued holds the processes that were
// certainly handed off to in the lane of this execution.
func (w *ownKeys) walk(block processes.Block, input bool, queued map[string]bool) {
	for _, s := range block {
		flow := w.flow(s)
		if flow == processes.Wait {
			w.wait(s, queued)
		}
		for _, list := range s.Lists {
			w.walk(list.Steps, input && flow != processes.Loop && flow != processes.Wait, maps.Clone(queued))
		}
		var call processes.ExternalCall
		if caller, ok := s.Settings.(processes.ExternalCaller); ok {
			call = caller.ExternalCall()
		}
		if call.Handoff {
			if s.When == nil && call.Process != "" && w.sameLane(call, input) {
				queued[call.Process] = true
			}
			continue
		}
		input = input && !w.changesDocument(s)
	}
}

// changesDocument reports whether the current document may differ after a step.
func (c *checker) changesDocument(s *processes.Step) bool {
	if c.project.Kinds[s.Kind].MakesDocument {
		return s.Into == ""
	}
	for _, list := range s.Lists {
		if slices.ContainsFunc(list.Steps, c.changesDocument) {
			return true
		}
	}
	return false
}

// sameLane reports whether the execution that a hand-off creates certainly
// waits in the lane of the execution that creates it.
func (w *ownKeys) sameLane(call processes.ExternalCall, input bool) bool {
	to := w.project.Processes[call.Process]
	if to == nil {
		return false
	}
	own, other := &w.proc.Delivery, &to.Delivery
	if other.Sequence == nil || other.Filter != nil || other.Dedupe != nil || other.EchoGuard != nil || other.Coalesce != nil {
		return false // it may not run, or may run later
	}
	if to != w.proc && (own.Sequence.Scope == "" || own.Sequence.Scope != other.Sequence.Scope) {
		return false
	}
	key := own.Sequence.Key
	if source(key) == "" || source(key) != source(other.Sequence.Key) {
		return false
	}
	for _, ref := range key.Refs() {
		if ref.Call != "" || len(ref.Path) == 0 || ref.Path[0] != "doc" {
			return false
		}
	}
	if listen := w.proc.Listen; listen != nil && listen.Input == "xml" && own.Profile != other.Profile {
		return false // a different profile may change the data view
	}
	switch {
	case len(key.Refs()) == 0:
		return true
	case call.Body == nil:
		return input
	}
	body := strings.TrimSpace(call.Body.Source())
	return body == "${input}" || input && body == "${doc}"
}

// source returns the source of an expression without surrounding space.
func source(e *expression.Expr) string { return strings.TrimSpace(e.Source()) }

// wait reports a wait that only a process queued after this execution could end.
func (w *ownKeys) wait(s *processes.Step, queued map[string]bool) {
	suspender, ok := s.Settings.(processes.Suspender)
	if !ok {
		return
	}
	name := suspender.Suspends().Name
	severity := fault.Error
	if p := w.proc; p.Listen == nil && p.Schedule == nil && p.Subscribe == nil {
		severity = fault.Warning // called with `mode: wait` it is in no lane
	}
	for _, process := range slices.Sorted(maps.Keys(queued)) {
		if !w.resumes(process, name, map[string]bool{}) {
			continue
		}
		w.problems = append(w.problems, &fault.Problem{Pos: s.Pos, Severity: severity, Code: processes.CodeOwnKey,
			Msg:  "this wait can only fail: `" + process + "`, which resumes it, has the same sequence key and starts only after this execution has ended",
			Hint: "resume it from a process without `sequence:`, or with another `scope:`"})
		return
	}
}

// resumes reports whether a process, or one that it waits for, sends the
// signal of a wait.
func (c *checker) resumes(process, wait string, seen map[string]bool) bool {
	p := c.project.Processes[process]
	if p == nil || seen[process] {
		return false
	}
	seen[process] = true
	for _, r := range p.Resumes {
		if r.Wait == wait {
			return true
		}
	}
	for _, call := range p.Calls {
		if !call.Handoff && c.resumes(call.Process, wait, seen) {
			return true
		}
	}
	return false
}
