package analysis

import (
	"fmt"

	"valence/processes"
)

// repeatable is a call that changes something in a system, which has the effect
// twice if it receives the call twice.
type repeatable struct {
	process *processes.Process
	step    *processes.Step
	call    processes.ExternalCall
	durable bool
}

// delivery warns of effects that a crash, a retry or a repeated message doubles.
func (c *checker) delivery(bounds *Bounds) {
	first := map[string]repeatable{} // by connection
	count := map[string]int{}
	var order []string
	for _, p := range c.procs {
		var writes []repeatable
		c.repeatables(p, p.Steps, durableFromStart(p), &writes)
		for _, r := range writes {
			name := r.call.Operation.Connection
			if _, _, attempts := bounds.Call(p, r.call, r.durable); !r.durable && attempts < 2 {
				continue // made once
			}
			if count[name]++; count[name] == 1 {
				first[name], order = r, append(order, name)
			}
		}
		c.noDedupe(p, writes)
		c.noWatermark(p)
	}
	for _, name := range order {
		c.repeats(first[name], count[name]-1)
	}
}

// durableFromStart reports whether calls before any reply are made again after a
// crash.
func durableFromStart(p *processes.Process) bool {
	return p.Pattern == processes.FireAndForget || p.Pattern == processes.Called || p.SuspendsCaller || p.Listen.HasOneWay()
}

// repeatables lists the calls of steps that have an effect twice if repeated.
func (c *checker) repeatables(p *processes.Process, block processes.Block, durable bool, into *[]repeatable) {
	for _, s := range block {
		if caller, ok := s.Settings.(processes.ExternalCaller); ok {
			call := caller.ExternalCall()
			if call.Operation.Operation != nil && c.project.IdempotencyOf(s, call) == processes.NotIdempotent {
				*into = append(*into, repeatable{p, s, call, durable || call.Handoff})
			}
		}
		for _, l := range s.Lists {
			c.repeatables(p, l.Steps, durable, into)
		}
		if c.flow(s) == processes.Reply && s.When == nil && p.Pattern == processes.EarlyReply {
			durable = true
		}
	}
}

// repeats warns of the first call of a connection that may repeat.
func (c *checker) repeats(r repeatable, others int) {
	when, more := "after a crash or a retry", ""
	if !r.durable {
		when = "by a retry"
	}
	switch {
	case others == 1:
		more = ", like another call of the connection"
	case others > 1:
		more = fmt.Sprintf(", like %d other calls of the connection", others)
	}
	declared, hint := c.project.RepeatAdvice(r.step, r.call)
	c.warn(r.step.Pos, processes.CodeRepeatableCall, "this call can repeat "+when+more+", and "+declared, hint+"; or accept it: `# accept: "+string(processes.CodeRepeatableCall)+" because …`")
}

// noDedupe warns of a listener that does not recognize repeated messages and
// writes to a system that does not recognize them either.
func (c *checker) noDedupe(p *processes.Process, writes []repeatable) {
	if p.Listen == nil || p.Delivery.Dedupe != nil || p.Delivery.Coalesce != nil || len(writes) == 0 {
		return
	}
	w := writes[0]
	c.warn(p.Listen.Pos, processes.CodeNoDedupe,
		fmt.Sprintf("a caller that repeats its message causes the call in line %d again: the listener has no `dedupe:`, and `%s` does not recognize repeats", w.step.Pos.Line, w.call.Operation.Connection),
		"add `dedupe:` with a key that identifies the message, such as `dedupe: { key: \"${doc.id}\", window: 1d }`; or accept it: `# accept: "+string(processes.CodeNoDedupe)+" because …`")
}

// noWatermark warns of scheduled loops that read all pages each time.
func (c *checker) noWatermark(p *processes.Process) {
	if p.Schedule == nil || p.State {
		return
	}
	marked := false
	p.Steps.Each(func(s *processes.Step) { marked = marked || s.Kind == "changes" || s.Kind == "state" })
	if marked {
		return
	}
	p.Steps.Each(func(s *processes.Step) {
		r, ok := s.Settings.(processes.Repeater)
		if !ok || !r.Repeats().Pages {
			return
		}
		c.warn(s.Pos, processes.CodeNoWatermark, "each run reads all pages again: this loop has no watermark",
			"request what changed since the last run, such as `query: { updated_after: \"${state.watermark}\" }`, and store the watermark with `state:`, "+
				"or compare with `changes:`; or accept it: `# accept: "+string(processes.CodeNoWatermark)+" because …`")
	})
}
