// Package expression compiles the `${…}` of an author's files into functions
// over documents: bounded in steps, memory and time, exact in arithmetic, and
// blind to the clock, files and variables of the machine.
//
// The grammar is expr-lang's, whose parser is used. What runs is our own: its
// tree becomes closures over document values, so that every iteration and
// every byte is charged before it is spent, and a plain path such as
// doc.customer.name is one walk over the document's own text.
//
// What is compiled holds no state of any execution and may be used by many
// goroutines at once; an Env may not.
package expression

import (
	"context"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// The budgets of one evaluation where its Env sets none. A step is about one
// operator, one call or one element of a loop; the bytes are all that are
// allocated, whether still needed or not.
const (
	DefaultSteps = 1_000_000
	DefaultBytes = 64 << 20
)

// Bounds of what is compiled.
const (
	MaxSource  = 16 << 10  // bytes of one expression
	MaxText    = 256 << 10 // bytes of one text with its expressions
	MaxDepth   = 100       // levels of one expression's tree, and of one template
	MaxPattern = 1 << 10   // bytes of one regular expression
)

// Codes of the problems that this package finds in an author's files.
const (
	CodeSyntax   fault.Code = "expression_syntax"  // cannot be read
	CodeName     fault.Code = "expression_name"    // reads or calls what there is not
	CodeType     fault.Code = "expression_type"    // can only fail, or gives what does not fit here
	CodeValue    fault.Code = "expression_value"   // fails whenever it is evaluated
	CodeTooLarge fault.Code = "expression_size"    // larger or deeper than the bounds
	CodeTemplate fault.Code = "template_directive" // $each, $as, $merge, $when or ${omit} misused
)

// Names gives what an expression reads by its first name: doc raw input
// request response props vars steps item index error state env secret
// execution, and the names that `as:` binds. The value is any document value;
// it must not change while an evaluation runs. false means that the name
// stands for nothing here.
type Names interface {
	Name(root string) (value any, ok bool)
}

// Env is what evaluations on one path of an execution read. It may be reused
// from one evaluation to the next, by one goroutine at a time.
type Env struct {
	Names Names
	Now   time.Time // what now() gives
	// UUID gives what uuid() does. site is the call's place in the files, n
	// counts its evaluations within one Eval, Text, Bool, Append or Value.
	UUID func(site string, n int) string
	// Callback gives the URL of callback("name").
	Callback func(name string) (string, error)
	// Ctx is looked at every 1,024 steps. nil: never.
	Ctx context.Context
	// Steps and Bytes are the budgets that each evaluation starts with.
	// 0: the defaults.
	Steps, Bytes int64
}

// Scope is what may be read where an expression stands.
type Scope struct {
	Names map[string]Type // first names known here
	Text  bool            // the result becomes text: null, lists and objects are refused
}

// Type is what is known of a value before it is computed.
type Type int

// The types. TypeUnknown can be anything.
const (
	TypeUnknown Type = iota
	TypeNull
	TypeBoolean
	TypeNumber
	TypeText
	TypeList
	TypeObject
)

// String is what an author calls the type.
func (t Type) String() string {
	return [...]string{"unknown", "null", "boolean", "number", "text", "list", "object"}[t]
}

// TypeOf is the type of a value.
func TypeOf(v any) Type {
	switch document.TypeName(v) {
	case "null":
		return TypeNull
	case "boolean":
		return TypeBoolean
	case "number":
		return TypeNumber
	case "text":
		return TypeText
	case "list":
		return TypeList
	case "object":
		return TypeObject
	}
	return TypeUnknown
}

// Kind is the kind of a Node.
type Kind int

// The kinds.
const (
	Scalar Kind = iota
	Mapping
	Sequence
)

// Node is a value of an author's file, from whatever decoded it.
type Node struct {
	Kind Kind
	Pos  fault.Pos
	// Text is where the first character of a string's text stands, where that
	// is not Pos: after the quote, or in the line after `|`. Each further line
	// of the text is taken to start in the same column.
	Text  fault.Pos
	Value any     // of a Scalar: nil, bool, document.Number or string
	Keys  []Key   // of a Mapping
	Items []*Node // of a Sequence
	// Escape makes each ${…} of a Scalar one percent-encoded path segment
	// (RFC 3986).
	Escape bool
}

// Key is one key of a Mapping.
type Key struct {
	Name  string
	Pos   fault.Pos
	Value *Node
}

// Ref is one thing that an expression reads or calls.
type Ref struct {
	// Path is a name and the keys read below it, as far as they are written
	// out; a list's index is its digits. nil for a call.
	Path []string
	Pos  fault.Pos
	// Call is the helper that is called. With a Path it is "hmac" where the
	// path is read inside its arguments and so never seen, otherwise "".
	Call string
	// Text is a call's first argument where that is written out as text.
	Text string
	// Complete is true where Path is all that is read: no computed key follows.
	Complete bool
}
