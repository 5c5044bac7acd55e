package steps

import (
	"valence/internal/convert"
	"valence/internal/document"
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
	doc:    "Runs one of two lists of steps, depending on a condition.",
	sample: "- if: ${len(doc.items) == 0}\n  then:\n    - stop: nothing to invoice\n",
	flow:   processes.Choice,
}, []spec.Field{
	spec.Expr("if", func(s *ifStep) **expression.Expr { return &s.Condition }, "The condition. It must be a boolean.").Bool().Required(),
	spec.Steps("then", func(s *ifStep) *processes.Block { return &s.Then }, "Steps to run if the condition is true.").Required(),
	spec.Steps("else", func(s *ifStep) *processes.Block { return &s.Else }, "Steps to run if the condition is false."),
}, nil)

func (s *ifStep) Decides() processes.Decision { return processes.Decision{Value: s.Condition} }

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
	doc:    "Runs the case whose name equals the value: numbers compare by value, so `1.0` selects case `1`, and everything else as text. If there is none, runs `default:`, if present.",
	sample: "- switch: ${doc.country}\n  cases:\n    PT: [{ log: domestic }]\n  default:\n    - log: abroad\n",
	flow:   processes.Choice,
}, []spec.Field{
	spec.Expr("switch", func(s *switchStep) **expression.Expr { return &s.Value }, "The value to select by: a string, number or boolean.").Required(),
	spec.Paths("cases", func(s *switchStep) *[]processes.Path { return &s.Cases }, "Steps to run, by value.").AnyNames().Required(),
	spec.Steps("default", func(s *switchStep) *processes.Block { return &s.Default }, "Steps to run for any other value."),
}, nil)

func (s *switchStep) Decides() processes.Decision {
	return processes.Decision{Value: s.Value, Cases: s.Cases}
}

func (s *switchStep) Run(f *Frame) error {
	v, err := s.Value.Eval(&f.env)
	if err != nil {
		return err
	}
	if v == nil {
		return f.Run(s.Default)
	}
	text, err := expression.Text(v)
	if err != nil {
		return err
	}
	for _, c := range s.Cases {
		if c.Name == text {
			return f.Run(c.Steps)
		}
	}
	if n, ok := v.(document.Number); ok {
		for _, c := range s.Cases {
			if isNumber(c.Name) && expression.Equal(document.Number(c.Name), n) {
				return f.Run(c.Steps)
			}
		}
	}
	return f.Run(s.Default)
}

// isNumber reports whether s is a JSON number.
func isNumber(s string) bool {
	return s != "" && (s[0] == '-' || s[0] >= '0' && s[0] <= '9') && convert.CheckJSON([]byte(s)) == nil
}
