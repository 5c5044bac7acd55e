package steps

import (
	"valence/internal/expression"
	"valence/internal/spec"
)

type emit struct{ What *expression.Template }

var _ = define[emit]("emit", kind{
	doc: "Tells whoever follows the execution how far it is: a `progress` event of `GET /executions/{id}` as an event stream or WebSocket. " +
		"It holds at most 64 KiB, and is told again to those who come back later.",
	sample: "- emit: { state: seats held }\n",
}, []spec.Field{
	spec.Template("emit", func(s *emit) **expression.Template { return &s.What }, "What is told; nothing means the current document."),
}, nil)

func (s *emit) Run(f *Frame) error {
	d := f.doc
	if s.What != nil {
		var err error
		if d, err = build(f, s.What); err != nil {
			return err
		}
	}
	return f.rt.Emit(f, d)
}
