package steps

import (
	"valence/internal/spec"
	"valence/processes"
)

// table is every step of the language, complete before main. It is the one
// piece of package state: see docs/architecture.md.
var table []processes.StepKind

// Kinds gives the steps of the language in the order of their files.
func Kinds() []processes.StepKind { return append([]processes.StepKind(nil), table...) }

// kind is what define needs beyond the fields.
type kind struct {
	doc, sample   string
	flow          processes.Flow
	makesDocument bool
	items         bool
}

// define enters a step into the table. T is its settings; *T is its behaviour.
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
