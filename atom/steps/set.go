package steps

import (
	"valence/internal/expression"
	"valence/internal/spec"
)

type set struct{ Values *expression.Template }

var _ = define[set]("set", kind{
	doc:    "Sets variables, read as `vars.<name>`. All values are computed before any is set.",
	sample: "- set: { total: \"${sum(doc.items, .price * .qty)}\" }\n",
}, []spec.Field{
	spec.Template("set", func(s *set) **expression.Template { return &s.Values }, "The variables and their values.").Names().Required(),
}, nil)

func (s *set) Run(f *Frame) error {
	values, err := buildObject(f, s.Values)
	if err != nil {
		return err
	}
	for i := range values.Len() {
		f.setVar(values.At(i))
	}
	return nil
}
