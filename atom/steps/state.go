package steps

import (
	"strconv"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
)

// StateKeeper stores state from one execution of a process to the next. State
// that an execution sets is committed when it succeeds, and discarded otherwise.
type StateKeeper interface {
	// State returns the properties of the frame's process with their version, as
	// they were when the process began. A repeated run reads the same.
	State(f *Frame) (*document.Object, error)
	// SetState sets properties; a nil value removes one. The execution fails if
	// version is not -1 and not the current one.
	SetState(f *Frame, set *document.Object, version int64) error
	// Compare compares digests of records with those of the last successful run
	// under a name, and stores the new ones. It returns the change of each record,
	// and the keys of deleted records.
	Compare(f *Frame, name string, digests []Digest) (kinds []ChangeKind, deleted []string, err error)
}

// Digest identifies one record and its content.
type Digest struct {
	Key  string
	Hash [16]byte
}

// ChangeKind is how a record differs from that of the last run.
type ChangeKind byte

// The kinds of change.
const (
	Same ChangeKind = iota
	Added
	Updated
)

type state struct{ Settings stateSettings }

type stateSettings struct {
	Set       *expression.Template
	IfVersion *expression.Expr
}

var _ = define[state]("state", kind{
	doc: "Sets persistent properties of the process. They are committed together with the end of the execution, if it succeeds. Later executions read " +
		"them as `state.<name>`; within this execution, `state` does not change. `state.version` counts the commits.",
	sample: "- state:\n    set: { watermark: \"${props.scheduled_at}\" }\n    if_version: ${state.version}\n",
}, []spec.Field{
	spec.Object("state", func(s *state) *stateSettings { return &s.Settings }, "The properties to set.",
		spec.Template("set", func(s *stateSettings) **expression.Template { return &s.Set }, "Values of the properties, by name. `null` removes a property.").Names().Required(),
		spec.Expr("if_version", func(s *stateSettings) **expression.Expr { return &s.IfVersion }, "Expected `state.version`. The execution fails with `state_conflict` if it has changed.").Number(),
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
