package steps

import (
	"valence/internal/expression"
	"valence/internal/spec"
)

type emit struct{ What *expression.Template }

var _ = define[emit]("emit", kind{
	doc: "Sends a `progress` event to the clients that follow the execution at `GET /executions/{id}` as an event stream or WebSocket. The value may " +
		"have at most 64 KiB. Clients that reconnect receive the event again.",
	sample: "- emit: { state: seats held }\n",
}, []spec.Field{
	spec.Template("emit", func(s *emit) **expression.Template { return &s.What }, "The value to send. Empty means the current document."),
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
