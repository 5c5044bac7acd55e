package analysis

import (
	"regexp"
	"slices"

	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/soap"
	"valence/internal/spec"
	"valence/processes"
)

// operations follows the paths of each operation of a SOAP service: those with
// an output need a reply, and the others have no caller for one.
func operations(project *processes.Project, p *processes.Process) fault.Problems {
	d := &operationNames{kinds: project.Kinds, service: p.Listen.Service}
	d.find(p.Steps)
	all := append(d.problems, envelopes(project, p)...)
	for _, problem := range follow(project, p, nil, true) {
		if problem.Code == processes.CodeUnreachable { // by every operation
			all = append(all, problem)
		}
	}
	type finding struct {
		at   fault.Pos
		code fault.Code
	}
	seen := map[finding]bool{}
	for _, op := range d.distinct() {
		for _, problem := range follow(project, p, op, !op.OneWay) {
			key := finding{problem.Pos, problem.Code}
			if problem.Code == processes.CodeUnreachable || seen[key] {
				continue
			}
			seen[key] = true
			all = append(all, problem)
		}
	}
	return all
}

// OperationSteps returns the steps that the operations of a SOAP service without
// an output can reach, and those that the others can. Both are empty without a service.
func OperationSteps(project *processes.Project, p *processes.Process) (oneWay, others map[*processes.Step]bool) {
	oneWay, others = map[*processes.Step]bool{}, map[*processes.Step]bool{}
	if p.Listen == nil || p.Listen.Service == nil {
		return oneWay, others
	}
	d := &operationNames{service: p.Listen.Service}
	d.find(p.Steps)
	for _, op := range d.distinct() {
		f, reached := &replyFlow{kinds: project.Kinds, operation: op}, others
		if op.OneWay {
			reached = oneWay
		}
		f.reach(p.Steps, reached)
	}
	return oneWay, others
}

// reach adds the steps of a block that the operation can reach.
func (f *replyFlow) reach(b processes.Block, reached map[*processes.Step]bool) {
	for _, s := range b {
		if runs, decided := f.when(s); decided && !runs {
			continue
		}
		reached[s] = true
		lists, decided := f.chosen(s, fallbackOf(f.kinds[s.Kind]))
		if !decided {
			lists = s.Lists
		}
		for _, l := range lists {
			f.reach(l.Steps, reached)
		}
	}
}

// operationNames finds the operations that the steps of a process distinguish.
type operationNames struct {
	kinds    map[string]*processes.StepKind
	service  *soap.Service
	named    []string
	problems fault.Problems
}

func (d *operationNames) name(name string, at fault.Pos) {
	if d.service.Operation(name) != nil {
		d.named = append(d.named, name)
		return
	}
	known := d.service.OperationNames()
	p := &fault.Problem{Pos: at, Code: processes.CodeUnknownOperation, Msg: "the service has no operation `" + spec.Clip(name) + "`", Hint: spec.Suggestion(name, known)}
	p.Correct(name, spec.Nearest(name, known))
	d.problems = append(d.problems, p)
}

func (d *operationNames) find(b processes.Block) {
	b.Each(func(s *processes.Step) {
		if name, _, ok := comparison(s.When); ok {
			d.name(name, s.When.Pos())
		}
		decider, ok := s.Settings.(processes.Decider)
		if !ok {
			return
		}
		decision := decider.Decides()
		if name, _, ok := comparison(decision.Value); ok && decision.Cases == nil {
			d.name(name, decision.Value.Pos())
		}
		if isOperation(decision.Value) {
			for _, c := range decision.Cases {
				d.name(c.Name, c.Pos)
			}
		}
	})
}

// distinct returns the operations whose paths may differ: those that steps name,
// and one of the others with and without an output.
func (d *operationNames) distinct() (all []*soap.Operation) {
	other := map[bool]bool{}
	for _, op := range d.service.Operations {
		if slices.Contains(d.named, op.Name) {
			all = append(all, op)
		} else if !other[op.OneWay] {
			other[op.OneWay] = true
			all = append(all, op)
		}
	}
	return all
}

var (
	operationValue = regexp.MustCompile(`^\s*\$\{\s*request\??\.operation\s*\}\s*$`)
	comparedLeft   = regexp.MustCompile(`^\s*\$\{\s*request\??\.operation\s*([=!]=)\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\}\s*$`)
	comparedRight  = regexp.MustCompile(`^\s*\$\{\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*([=!]=)\s*request\??\.operation\s*\}\s*$`)
)

// isOperation reports whether an expression is the operation of the request.
func isOperation(e *expression.Expr) bool { return e != nil && operationValue.MatchString(e.Source()) }

// comparison returns the operation that a condition compares that of the request
// with, and whether it is true for this operation.
func comparison(e *expression.Expr) (name string, equal, ok bool) {
	if e == nil {
		return "", false, false
	}
	if m := comparedLeft.FindStringSubmatch(e.Source()); m != nil {
		return m[2] + m[3], m[1] == "==", true
	}
	if m := comparedRight.FindStringSubmatch(e.Source()); m != nil {
		return m[1] + m[2], m[3] == "==", true
	}
	return "", false, false
}

// when returns whether a step runs for the operation that is followed. decided
// is false if that depends on something else.
func (f *replyFlow) when(s *processes.Step) (runs, decided bool) {
	if s.When == nil {
		return true, true
	}
	name, equal, ok := comparison(s.When)
	if f.operation == nil || !ok {
		return false, false
	}
	return (name == f.operation.Name) == equal, true
}

// chosen returns the lists of a choice that the operation selects: at most one.
// decided is false if the choice depends on something else.
func (f *replyFlow) chosen(s *processes.Step, fallback string) (lists []processes.List, decided bool) {
	decider, ok := s.Settings.(processes.Decider)
	if f.operation == nil || !ok {
		return nil, false
	}
	decision := decider.Decides()
	if name, equal, ok := comparison(decision.Value); ok && decision.Cases == nil {
		key := "else"
		if (name == f.operation.Name) == equal {
			key = "then"
		}
		return only(s.Lists, func(l processes.List) bool { return l.Key == key }), true
	}
	if !isOperation(decision.Value) {
		return nil, false
	}
	if lists = only(s.Lists, func(l processes.List) bool { return l.Name == f.operation.Name }); len(lists) == 0 {
		lists = only(s.Lists, func(l processes.List) bool { return l.Key == fallback && l.Name == "" })
	}
	return lists, true
}

func only(lists []processes.List, wanted func(processes.List) bool) (found []processes.List) {
	for _, l := range lists {
		if wanted(l) {
			found = append(found, l)
		}
	}
	return found
}
