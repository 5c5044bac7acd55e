package analysis

import (
	"fmt"

	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// callers warns of long waits of the callers of request/reply processes, and sets
// SuspendsCaller of the processes that suspend before they reply.
func (c *checker) callers() {
	for _, p := range c.procs {
		if p.Listen != nil && p.Listen.Output != "" {
			c.sequencedCaller(p)
			c.suspendedCaller(p, p.Steps, false)
		}
	}
}

// sequencedCaller warns of callers that wait for earlier messages of their key.
func (c *checker) sequencedCaller(p *processes.Process) {
	s, listen := p.Delivery.Sequence, p.Listen
	if s == nil || !listen.Sync() {
		return
	}
	then := "504 and its message is cancelled"
	if listen.TimeoutAction == processes.Continue {
		then = "202"
	}
	hint := "set `reply_modes: [deferred]`, so that callers do not wait on a connection"
	if listen.Service != nil {
		hint = "make the operation one without an output, so that its caller does not wait"
	}
	if !s.Skip {
		hint += "; set `on_failure: skip`, so that a failed execution does not block the callers of its key"
	}
	c.warn(s.Key.Pos(), processes.CodeCallerWaits,
		"the caller waits with an open connection for every earlier message of its key; after "+spec.FormatDuration(listen.Timeout)+" it gets "+then, hint)
}

// suspendedCaller finds steps that suspend while a caller waits for its reply.
func (c *checker) suspendedCaller(p *processes.Process, block processes.Block, replied bool) {
	for _, s := range block {
		if !replied {
			c.suspendingStep(p, s)
		}
		for _, list := range s.Lists {
			c.suspendedCaller(p, list.Steps, replied)
		}
		if c.flow(s) == processes.Reply && s.When == nil {
			replied = true
		}
	}
}

func (c *checker) suspendingStep(p *processes.Process, s *processes.Step) {
	flow, what := c.flow(s), "this `"+s.Kind+"`"
	if flow != processes.Wait && flow != processes.Sleep {
		var inner *processes.Step
		in := ""
		for _, call := range p.Calls {
			if call.Pos.Line == s.Pos.Line && !call.Handoff && inner == nil {
				if inner = c.suspensionIn(call.Process, processes.Wait); inner == nil {
					inner = c.suspensionIn(call.Process, processes.Sleep)
				}
				in = call.Process
			}
		}
		if inner == nil {
			return
		}
		flow = c.flow(inner)
		what = fmt.Sprintf("the `%s` in the process `%s` (%s)", inner.Kind, in, inner.Pos)
	}
	if flow == processes.Wait {
		p.SuspendsCaller = true
	}
	if !p.Listen.Sync() {
		return
	}
	then := "504"
	if p.Listen.TimeoutAction == processes.Continue {
		then = "202"
	}
	hint := "reply before this step: steps after a `reply:` run in the background"
	if p.Listen.Service == nil {
		hint = "set `reply_modes: [deferred]`, so that callers do not wait on a connection; or " + hint
	}
	c.warn(s.Pos, processes.CodeCallerWaits,
		"the caller waits with an open connection for "+what+"; after "+spec.FormatDuration(p.Listen.Timeout)+" it gets "+then, hint)
}

// suspension is the key of a search by suspensionIn.
type suspension struct {
	process string
	flow    processes.Flow
}

// suspensionIn returns the first step with a flow in a process, or in a process
// that it waits for. It returns nil if there is none.
func (c *checker) suspensionIn(name string, flow processes.Flow) *processes.Step {
	key := suspension{name, flow}
	found, known := c.suspending[key]
	p := c.project.Processes[name]
	if known || p == nil {
		return found
	}
	c.suspending[key] = nil // for call cycles, which are errors
	p.Steps.Each(func(s *processes.Step) {
		if found == nil && c.flow(s) == flow {
			found = s
		}
	})
	for i := 0; found == nil && i < len(p.Calls); i++ {
		if call := p.Calls[i]; !call.Handoff {
			found = c.suspensionIn(call.Process, flow)
		}
	}
	c.suspending[key] = found
	return found
}

// callerTimeouts warns of callers that time out before the steps finish. They
// get 504 and cannot know whether a call took effect.
func (c *checker) callerTimeouts(bounds *Bounds) {
	for _, p := range c.procs {
		if p.Listen == nil || p.Listen.Timeout == 0 || !p.Listen.Sync() || p.Listen.TimeoutAction == processes.Continue {
			continue
		}
		if c.slowCalls(p, p.Steps, bounds) {
			continue
		}
		bounds.retries = false
		longest := bounds.UntilReply(p, false).Known
		if longest <= p.Listen.Timeout || !p.Listen.TimeoutWritten && !bounds.retries {
			continue
		}
		c.warn(p.Listen.Pos, processes.CodeImpatient,
			fmt.Sprintf("the calls before the reply may take %s in total, but the caller gets 504 after %s", spec.FormatDuration(longest), spec.FormatDuration(p.Listen.Timeout)),
			"use a shorter `timeout:` and fewer attempts for the calls, a longer `timeout:` for the listener, or `timeout_action: continue`; or `reply` before them, so that they run durably")
	}
}

// slowCalls reports whether single calls of the steps up to the reply can take
// longer than the caller waits, and warns of each.
func (c *checker) slowCalls(p *processes.Process, block processes.Block, bounds *Bounds) (found bool) {
	for _, s := range block {
		if caller, ok := s.Settings.(processes.ExternalCaller); ok && c.slowCall(p, s, caller.ExternalCall(), bounds) {
			found = true
		}
		for _, list := range s.Lists {
			found = c.slowCalls(p, list.Steps, bounds) || found
		}
		if c.flow(s) == processes.Reply {
			return found
		}
	}
	return found
}

func (c *checker) slowCall(p *processes.Process, s *processes.Step, call processes.ExternalCall, bounds *Bounds) bool {
	if call.Operation.Operation == nil || call.Handoff {
		return false
	}
	_, longest, attempts := bounds.Call(p, call, false)
	if attempts < 2 || longest <= p.Listen.Timeout {
		return false
	}
	c.warn(s.Pos, processes.CodeImpatient,
		fmt.Sprintf("this call may take %s with its retries, but the caller waits only %s", spec.FormatDuration(longest), spec.FormatDuration(p.Listen.Timeout)),
		"use fewer or faster attempts, or a longer `timeout:` for the listener; or `reply` before the call, so that it runs durably")
	return true
}

// unknownWaits warns of resumes that name no keyed wait of the project.
func (c *checker) unknownWaits() {
	var keyed []string
	for _, p := range c.procs {
		for name, w := range p.Waits {
			if w.Keyed {
				keyed = append(keyed, name)
			}
		}
	}
	known := map[string]bool{}
	for _, name := range keyed {
		known[name] = true
	}
	for _, p := range c.procs {
		for _, r := range p.Resumes {
			if known[r.Wait] {
				continue
			}
			hint := "add `key:` to the `wait: " + spec.Clip(r.Wait) + "` that it should end"
			near := spec.Nearest(r.Wait, keyed)
			if near != "" {
				hint = "did you mean `" + near + "`?"
			}
			p := &fault.Problem{Pos: r.Pos, Severity: fault.Warning, Code: processes.CodeUnknownWait,
				Msg: "no process of the project has a `wait: " + spec.Clip(r.Wait) + "` with a `key:`", Hint: hint}
			p.Correct(r.Wait, near)
			c.problems = append(c.problems, p)
		}
	}
}
