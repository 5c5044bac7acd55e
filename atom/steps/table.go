package steps

import (
	"valence/internal/spec"
	"valence/processes"
)

// table holds every step of the language. It is complete before main starts, and
// the only package state; see docs/architecture.md.
var table []processes.StepKind

// Kinds returns the steps of the language in the order of their files.
func Kinds() []processes.StepKind { return append([]processes.StepKind(nil), table...) }

// kind holds the arguments of define besides the fields.
type kind struct {
	doc, sample   string
	flow          processes.Flow
	makesDocument bool
	items         bool
}

// define adds a step to the table. T holds its settings and *T runs it.
func define[T any, P interface {
	*T
	Step
}](name string, k kind, fields []spec.Field, check func(*T, *processes.CheckContext)) bool {
	e := processes.StepKind{
		Kind: name, Doc: k.doc, Sample: k.sample, Flow: k.flow, MakesDocument: k.makesDocument, Items: k.items,
		Fields: fields,
		New:    func() any { return P(new(T)) },
	}
	if check != nil {
		e.Check = func(settings any, c *processes.CheckContext) { check((*T)(settings.(P)), c) }
	}
	table = append(table, e)
	return true
}
