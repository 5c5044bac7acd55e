package analysis

import (
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/soap"
	"valence/internal/spec"
	"valence/internal/xsd"
	"valence/processes"
)

// envelopes reports details of `throw:` and header blocks of `reply:` that no
// operation of a SOAP service which reaches the step can send.
func envelopes(project *processes.Project, p *processes.Process) (all fault.Problems) {
	reached := map[*processes.Step][]*soap.Operation{}
	for _, op := range p.Listen.Service.Operations {
		if op.OneWay {
			continue
		}
		f, steps := &replyFlow{kinds: project.Kinds, operation: op}, map[*processes.Step]bool{}
		f.reach(p.Steps, steps)
		for s := range steps {
			reached[s] = append(reached[s], op)
		}
	}
	p.Steps.Each(func(s *processes.Step) {
		if e, ok := s.Settings.(processes.Enveloper); ok && e.HeaderBlocks() != nil && len(reached[s]) > 0 {
			all = append(all, headerBlocks(p.Listen.Service, reached[s], e.HeaderBlocks().Shape())...)
		}
		thrower, ok := s.Settings.(processes.Thrower)
		if !ok || thrower.FaultDetail() == nil || len(reached[s]) == 0 {
			return
		}
		all = append(all, faultDetail(p.Listen.Service, reached[s], thrower.FaultDetail().Shape())...)
	})
	return all
}

// faultDetail checks a detail against the fault elements of the operations that
// may send it.
func faultDetail(service *soap.Service, ops []*soap.Operation, shape *expression.Shape) (all fault.Problems) {
	if shape == nil || shape.Type != expression.TypeObject {
		return nil
	}
	if len(shape.Fields) > 1 && !shape.Fields[0].Optional && !shape.Fields[1].Optional {
		second := shape.Fields[1]
		return fault.Problems{{Pos: second.Pos, Code: processes.CodeBodyMismatch, Msg: "the detail of a fault has one element, but `" + spec.Clip(second.Name) + "` is a second one",
			Hint: "put one key below `detail:`, the name of a fault element of the WSDL"}}
	}
	for _, field := range shape.Fields {
		var known []string
		var found []fault.Problems
		for _, op := range ops {
			known = append(known, op.FaultNames()...)
			if decl := op.FaultElement(field.Name); decl != nil {
				found = append(found, content("detail", service, field, op, decl))
			}
		}
		if len(found) > 0 {
			all = append(all, found[0]...)
			continue
		}
		hint := "declare a `fault` in the WSDL, or remove `detail:`"
		if len(known) > 0 {
			hint = spec.Suggestion(field.Name, known)
		}
		p := &fault.Problem{Pos: field.Pos, Code: processes.CodeBodyMismatch, Msg: "the WSDL declares no fault element `" + spec.Clip(field.Name) + "` for " + ops[0].Name, Hint: hint}
		p.Correct(field.Name, spec.Nearest(field.Name, known))
		all = append(all, p)
	}
	return all
}

// headerBlocks checks the header blocks of a reply against the outputs of the
// operations that may send it.
func headerBlocks(service *soap.Service, ops []*soap.Operation, shape *expression.Shape) (all fault.Problems) {
	if shape == nil {
		return nil
	}
	for _, field := range shape.Fields {
		for _, op := range ops {
			decl := op.HeaderElement(field.Name)
			if decl != nil {
				all = append(all, content("header", service, field, op, decl)...)
				continue
			}
			known := op.HeaderNames()
			hint := "declare a `header` for the output in the binding, or remove it"
			if len(known) > 0 {
				hint = spec.Suggestion(field.Name, known)
			}
			p := &fault.Problem{Pos: field.Pos, Code: processes.CodeBodyMismatch, Msg: "the WSDL declares no header `" + spec.Clip(field.Name) + "` for the output of " + op.Name, Hint: hint}
			p.Correct(field.Name, spec.Nearest(field.Name, known))
			return append(all, p)
		}
	}
	return all
}

// noEnvelope reports header blocks in a process whose replies have no envelope.
func noEnvelope(p *processes.Process) (all fault.Problems) {
	p.Steps.Each(func(s *processes.Step) {
		if e, ok := s.Settings.(processes.Enveloper); ok && e.HeaderBlocks() != nil {
			all = append(all, &fault.Problem{Pos: s.Pos, Code: processes.CodeNoEffect, Msg: "`soap:` has no effect: the replies of this process have no envelope", Hint: "remove it; `headers:` sets HTTP headers"})
		}
	})
	return all
}

// content checks the content of a fault element or a header.
func content(what string, service *soap.Service, field expression.Field, op *soap.Operation, decl *xsd.Element) (all fault.Problems) {
	for _, m := range service.Lint(decl, field.Value) {
		where := "/" + field.Name + m.Pointer
		hint := m.Hint
		if hint == "" {
			hint = "see the schema of " + field.Name + " in the WSDL"
		}
		p := &fault.Problem{Pos: m.Pos, Code: processes.CodeBodyMismatch, Msg: "the " + what + " does not match the schema of " + op.Name + " at " + where + ": " + m.Detail, Hint: hint}
		p.Correct(m.Key, m.Near)
		all = append(all, p)
	}
	return all
}
