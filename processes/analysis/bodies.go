package analysis

import (
	"valence/internal/expression"
	"valence/processes"
)

// bodies checks the documents of calls against the descriptions of their operations, as
// far as it is certain before it is evaluated.
func (c *checker) bodies() {
	for _, p := range c.procs {
		c.sent(p.Steps, nil)
	}
}

// sent checks the calls of a block. doc is the template of the current document;
// nil means that nothing is known about it.
func (c *checker) sent(b processes.Block, doc *expression.Template) {
	for _, s := range b {
		if caller, ok := s.Settings.(processes.ExternalCaller); ok {
			c.body(caller.ExternalCall(), doc)
		}
		inner := doc
		if f := c.flow(s); f == processes.Loop || f == processes.Parallel {
			inner = nil
		}
		for _, l := range s.Lists {
			first := inner
			if l.Key == "catch" || l.Key == "finally" {
				first = nil
			}
			c.sent(l.Steps, first)
		}
		builder, builds := s.Settings.(processes.Builder)
		switch {
		case builds && s.Into == "" && s.When == nil:
			doc = builder.Builds()
		case s.Into == "" && c.project.Kinds[s.Kind].MakesDocument, len(s.Lists) > 0:
			doc = nil
		}
	}
}

func (c *checker) body(call processes.ExternalCall, doc *expression.Template) {
	op := call.Operation.Operation
	if op == nil || op.CheckBody == nil || !op.SendsBody {
		return
	}
	body := call.Body
	if body == nil {
		body = doc
	}
	if body == nil {
		return
	}
	for _, p := range op.CheckBody(body.Shape()) {
		p.Code = processes.CodeBodyMismatch
		c.problems = append(c.problems, p)
	}
}
