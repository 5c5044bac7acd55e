package steps

import (
	"valence/internal/expression"
	"valence/internal/spec"
)

type set struct{ Values *expression.Template }

var _ = define[set]("set", kind{
	doc:    "Sets variables, which expressions read as `vars.<name>`. All values are computed before any variable is set.",
	sample: "- set: { total: \"${sum(doc.items, .price * .qty)}\" }\n",
}, []spec.Field{
	spec.Template("set", func(s *set) **expression.Template { return &s.Values }, "Values of the variables, by name.").Names().Required(),
}, nil)

func (s *set) Run(f *Frame) error {
	values, err := buildObject(f, s.Values)
	if err != nil {
		return err
	}
	for i := range values.Len() {
		f.setVar(values.At(i))
	}
	f.assigned = values
	return nil
}
