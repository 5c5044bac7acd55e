package steps

import (
	"strconv"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// Memory is what a process knows from one execution to the next. What is set
// is committed when the execution ends well, with its end; otherwise it is
// forgotten.
type Memory interface {
	// State gives the properties of the frame's process, with their version,
	// as they were when the process began: a run again reads the same.
	State(f *Frame) (*document.Object, error)
	// SetState sets properties; a nil value removes one. With a version that
	// is not -1, the execution fails where that is not the current one.
	SetState(f *Frame, set *document.Object, version int64) error
	// Compare holds prints of records against those of the last run that
	// ended well, under a name, and keeps the new ones. It tells of each of
	// them whether it is new or different, and gives the keys that are gone.
	Compare(f *Frame, name string, prints []Print) (news []News, gone []string, err error)
}

// Print stands for one record.
type Print struct {
	Key  string
	Hash [16]byte
}

// News is what is new about a record.
type News byte

// What may be new about a record.
const (
	Same News = iota
	Added
	Updated
)

type state struct{ Settings stateSettings }

type stateSettings struct {
	Set       *expression.Template
	IfVersion *expression.Expr
}

var _ = define[state]("state", kind{
	doc: "Sets persisted properties of the process. They are committed when the execution ends well, in the same commit, and read by later executions as `state.<name>`; " +
		"`null` removes one. `state` itself stays what it was when the execution began; `state.version` counts the commits. " +
		"With `if_version` the execution fails with `state_conflict` if the properties were changed meanwhile, and nothing is set.",
	sample: "- state:\n    set: { watermark: \"${props.scheduled_at}\" }\n    if_version: ${state.version}\n",
}, []spec.Field{
	spec.Object("state", func(s *state) *stateSettings { return &s.Settings }, "What to set.",
		spec.Template("set", func(s *stateSettings) **expression.Template { return &s.Set }, "The properties and their values.").Names().Required(),
		spec.Expr("if_version", func(s *stateSettings) **expression.Expr { return &s.IfVersion }, "The version that must still be the current one.").Number(),
	).Required(),
}, func(*state, *processes.CheckContext) {})

func (s *state) Run(f *Frame) error {
	set, err := buildObject(f, s.Settings.Set)
	if err != nil {
		return err
	}
	version := int64(-1)
	if s.Settings.IfVersion != nil {
		v, err := s.Settings.IfVersion.Eval(&f.env)
		if err != nil {
			return err
		}
		n, isNumber := v.(document.Number)
		version, err = strconv.ParseInt(string(n), 10, 64)
		if !isNumber || err != nil || version < 0 {
			return &fault.Failure{Code: fault.CodeExpression, Pos: s.Settings.IfVersion.Pos(), Message: "if_version must be a version, but is " + string(document.AppendJSON(nil, v))}
		}
	}
	return f.rt.SetState(f, set, version)
}
