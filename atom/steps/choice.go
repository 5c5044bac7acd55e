package steps

import (
	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

type ifStep struct {
	Condition *expression.Expr
	Then      processes.Block
	Else      processes.Block
}

var _ = define[ifStep]("if", kind{
	doc:    "A decision. The condition must be true or false.",
	sample: "- if: ${len(doc.items) == 0}\n  then:\n    - stop: nothing to invoice\n",
	flow:   processes.Choice,
}, []spec.Field{
	spec.Expr("if", func(s *ifStep) **expression.Expr { return &s.Condition }, "The condition.").Bool().Required(),
	spec.Steps("then", func(s *ifStep) *processes.Block { return &s.Then }, "The steps if it is true.").Required(),
	spec.Steps("else", func(s *ifStep) *processes.Block { return &s.Else }, "The steps if it is false."),
}, nil)

func (s *ifStep) Run(f *Frame) error {
	yes, err := s.Condition.Bool(&f.env)
	if err != nil {
		return err
	}
	if yes {
		return f.Run(s.Then)
	}
	return f.Run(s.Else)
}

type switchStep struct {
	Value   *expression.Expr
	Cases   []processes.Path
	Default processes.Block
}

var _ = define[switchStep]("switch", kind{
	doc:    "Routes on a value: the case whose name is the value's text runs, otherwise `default:`, otherwise nothing.",
	sample: "- switch: ${doc.country}\n  cases:\n    PT: [{ log: domestic }]\n  default:\n    - log: abroad\n",
	flow:   processes.Choice,
}, []spec.Field{
	spec.Expr("switch", func(s *switchStep) **expression.Expr { return &s.Value }, "The value to route on: text, a number or a boolean.").Required(),
	spec.Paths("cases", func(s *switchStep) *[]processes.Path { return &s.Cases }, "The steps per value.").AnyNames().Required(),
	spec.Steps("default", func(s *switchStep) *processes.Block { return &s.Default }, "The steps for any other value."),
}, nil)

func (s *switchStep) Run(f *Frame) error {
	v, err := s.Value.Eval(&f.env)
	if err != nil {
		return err
	}
	if v != nil {
		text, err := expression.Text(v)
		if err != nil {
			return err
		}
		for _, c := range s.Cases {
			if c.Name == text {
				return f.Run(c.Steps)
			}
		}
	}
	return f.Run(s.Default)
}
