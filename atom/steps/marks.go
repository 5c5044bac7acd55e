package steps

import (
	"valence/connectors"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// marks is what a call tells of the record that it writes, so that the event
// which that causes is known as an echo.
type marks struct {
	System  string
	Record  *expression.Expr
	Version *expression.Expr
}

func marksField() spec.Field {
	return spec.Optional("marks", func(s *call) **marks { return &s.Marks },
		"What the call writes, computed on its answer: an event with this version of the record is dropped by an `echo_guard:` for the system. Where `record` reads neither `doc` nor `response`, only events of that record wait for the answer.",
		spec.Name("system", func(m *marks) *string { return &m.System }, "The system, by the name that `echo_guard:` gives it.").Eg("shop").Required(),
		spec.Expr("record", func(m *marks) **expression.Expr { return &m.Record }, "The record.").Required(),
		spec.Expr("version", func(m *marks) **expression.Expr { return &m.Version }, "The version that the call made; nil if it made none.").Required(),
	)
}

// fromAnswer reports whether the record is known only from the answer.
func (m *marks) fromAnswer() bool {
	for _, r := range m.Record.Refs() {
		if len(r.Path) > 0 && (r.Path[0] == "doc" || r.Path[0] == "raw" || r.Path[0] == "response") {
			return true
		}
	}
	return false
}

// marked performs a call that changes a record, and notes what it made of it.
func (m *marks) marked(f *Frame, c *Call) (*connectors.Result, error) {
	record := ""
	var err error
	if !m.fromAnswer() {
		if record, err = m.text(f, m.Record); err != nil {
			return nil, err
		}
	}
	if err := f.rt.Writes(f, m.System, record, c.Timeout); err != nil {
		return nil, err
	}
	r, err := f.rt.Call(f, c)
	switch {
	case err == nil:
	case leaves(err):
		// A call that failed and is made again may have written all the same.
		if p, ok := err.(*Parked); ok && p.Held != "" {
			f.rt.Unwritten(f, m.System)
		}
		return nil, err
	default:
		if e := f.rt.Marks(f, m.System, "", ""); e != nil {
			return nil, e
		}
		return nil, err
	}
	f.Respond(r.Status, r.Headers)
	before, value := f.doc, f.value
	f.setDoc(r.Doc)
	record, err = m.text(f, m.Record)
	version := ""
	if err == nil {
		version, err = m.text(f, m.Version)
	}
	f.doc, f.value = before, value
	if err != nil {
		f.rt.Unwritten(f, m.System)
		return nil, err
	}
	if record == "" {
		version = ""
	}
	return r, f.rt.Marks(f, m.System, record, version)
}

func (m *marks) text(f *Frame, x *expression.Expr) (string, error) {
	v, err := x.Eval(f.Env())
	if err != nil || v == nil {
		return "", err
	}
	return expression.Text(v)
}

// checkMarks finds marks that mean nothing.
func checkMarks(s *call, c *processes.CheckContext) {
	problem := func(msg, hint string) {
		c.Report(&fault.Problem{Pos: c.Step.Pos, Code: "no-effect", Msg: msg, Hint: hint})
	}
	switch {
	case s.Marks == nil:
	case s.Operation.Operation.Safe:
		problem("`marks:` is for calls that change something, and `"+s.Operation.Operation.Name+"` does not", "drop `marks:`")
	case s.Mode == "handoff":
		problem("a hand-off gives no answer to take a version from", "drop `marks:`, or `mode: handoff`")
	}
}
