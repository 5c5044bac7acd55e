package steps

import (
	"valence/connectors"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// marks describes the record that a call writes, so that the event that the call
// causes is recognized as an echo.
type marks struct {
	System  string
	Record  *expression.Expr
	Version *expression.Expr
}

func marksField() spec.Field {
	return spec.Optional("marks", func(s *call) **marks { return &s.Marks },
		"The record version that the call creates, computed from its response. An `echo_guard:` for the same system drops the event of this version. If `record` reads neither `doc` nor `response`, only events of that record wait for the response; otherwise all events of the system do.",
		spec.Name("system", func(m *marks) *string { return &m.System }, "Name of the system, as in `echo_guard:`.").Eg("shop").Required(),
		spec.Expr("record", func(m *marks) **expression.Expr { return &m.Record }, "Key of the record.").Required(),
		spec.Expr("version", func(m *marks) **expression.Expr { return &m.Version }, "The version that the call created, or nil if it created none.").Required(),
	)
}

// fromAnswer reports whether only the answer names the record.
func (m *marks) fromAnswer() bool {
	for _, r := range m.Record.Refs() {
		if len(r.Path) > 0 && (r.Path[0] == "doc" || r.Path[0] == "raw" || r.Path[0] == "response") {
			return true
		}
	}
	return false
}

// mark returns the mark of a call. The record and the version are computed on
// the answer.
func (m *marks) mark(f *Frame) (*Mark, error) {
	out := &Mark{System: m.System}
	var err error
	if !m.fromAnswer() {
		if out.Record, err = m.text(f, m.Record); err != nil {
			return nil, err
		}
	}
	out.Version = func(r *connectors.Result) (record, version string, err error) {
		f.Respond(r.Status, r.Headers)
		before, value := f.doc, f.value
		defer func() { f.doc, f.value = before, value }()
		f.setDoc(r.Doc)
		if record, err = m.text(f, m.Record); err != nil {
			return "", "", err
		}
		version, err = m.text(f, m.Version)
		return record, version, err
	}
	return out, nil
}

func (m *marks) text(f *Frame, x *expression.Expr) (string, error) {
	v, err := x.Eval(f.Env())
	if err != nil || v == nil {
		return "", err
	}
	return expression.Text(v)
}

// checkMarks reports marks that have no effect.
func checkMarks(s *call, c *processes.CheckContext) {
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	switch {
	case s.Marks == nil:
	case s.Operation.Operation.Safe:
		problem("`marks:` has no effect: the operation `"+s.Operation.Operation.Name+"` is read-only", "remove `marks:`")
	case s.Mode == "handoff":
		problem("`marks:` has no effect with `mode: handoff`: the step sees no response", "remove one of them")
	}
}
