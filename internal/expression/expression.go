// Package expression compiles the `${…}` expressions in an author's files into
// functions over documents. They are bounded in steps, memory and time, exact
// in arithmetic, and cannot see the clock, files or environment of the machine.
//
// The grammar and the parser are expr-lang's. The evaluation is not: the syntax
// tree becomes closures over document values. Every iteration and every byte is
// charged before it is spent, and a plain path such as doc.customer.name is one
// walk over the document's own text.
//
// Compiled expressions hold no state of an execution and are safe for concurrent
// use. An Env is not.
package expression

import (
	"context"
	"time"

	"valence/internal/document"
	"valence/internal/fault"
)

// The default budgets of one evaluation. A step is roughly one operator, one
// call or one element of a loop. Bytes count every allocation, even if it is no
// longer needed.
const (
	DefaultSteps = 1_000_000
	DefaultBytes = 64 << 20
)

// Limits at compile time.
const (
	MaxSource  = 16 << 10  // bytes of one expression
	MaxText    = 256 << 10 // bytes of one text with expressions
	MaxDepth   = 100       // levels of one expression's syntax tree, and of one template
	MaxPattern = 1 << 10   // bytes of one regular expression
)

// Codes of the problems that this package reports.
const (
	CodeSyntax   fault.Code = "expression_syntax"  // cannot be parsed
	CodeName     fault.Code = "expression_name"    // unknown name or function
	CodeType     fault.Code = "expression_type"    // always fails, or has the wrong type for its place
	CodeValue    fault.Code = "expression_value"   // fails whenever it is evaluated
	CodeTooLarge fault.Code = "expression_size"    // exceeds a limit
	CodeLiteral  fault.Code = "expression_missing" // text that is probably meant as an expression
	CodeTemplate fault.Code = "template_directive" // misuse of $each, $as, $merge, $when or ${omit}
)

// Names resolves the names of an expression: doc raw input request response
// props vars steps item index error state env secret execution, and the names
// that `as:` binds. The value is any document value and must not change during
// an evaluation. ok is false if the name is not available.
type Names interface {
	Name(root string) (value any, ok bool)
}

// Env is the input of evaluations on one path of an execution. It may be reused
// by one goroutine at a time.
type Env struct {
	Names Names
	Now   time.Time // the result of now()
	// UUID returns the result of uuid(). site is the position of the call, and
	// n counts its evaluations within one Eval, Text, Bool, Append or Value.
	UUID func(site string, n int) string
	// Callback returns the result of callback(name).
	Callback func(name string) (string, error)
	// Ctx is checked every 1,024 steps. It may be nil.
	Ctx context.Context
	// Steps and Bytes are the budget of each evaluation; 0 means the default.
	Steps, Bytes int64
}

// Scope declares the names that an expression can read.
type Scope struct {
	Names map[string]Type // known names
	Text  bool            // the result becomes text: nil, lists and objects are rejected
	// Library holds the functions and tables of the project. It may be nil.
	Library *Library
	pure    bool // the body of a function, whose result depends on its parameters only
}

// Type is the statically known type of a value.
type Type int

// The types. TypeUnknown stands for any of them.
const (
	TypeUnknown Type = iota
	TypeNull
	TypeBoolean
	TypeNumber
	TypeText
	TypeList
	TypeObject
)

// String returns the name that authors use for the type.
func (t Type) String() string {
	return [...]string{"unknown", "null", "boolean", "number", "text", "list", "object"}[t]
}

// TypeOf returns the type of a value.
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

// The kinds of nodes.
const (
	Scalar Kind = iota
	Mapping
	Sequence
)

// Node is a decoded value of an author's file.
type Node struct {
	Kind Kind
	Pos  fault.Pos
	// Text is the position of the first character of a string, if it differs
	// from Pos: after the quote, or on the line after `|`. Further lines are
	// assumed to start in the same column.
	Text  fault.Pos
	Value any     // of a Scalar: nil, bool, document.Number or string
	Keys  []Key   // of a Mapping
	Items []*Node // of a Sequence
	// Path says that a Scalar is a path, in which each ${…} is one segment or a
	// part of it, or an SQL statement, in which each ${…} is a value.
	Path Path
	// Late are names whose values a connector sets when it runs the statement, as
	// in ${row.id}.
	Late []string
}

// Path is a kind of path, or of SQL statement.
type Path int

// The kinds of paths.
const (
	NoPath    Path = iota
	URL            // each ${…} is percent-encoded (RFC 3986)
	File           // a ${…} that contains a separator is an error
	SQL            // a statement: the list of its texts and values, in turn
	SQLText        // the texts of a statement
	SQLValues      // the values of a statement
)

// Key is one key of a Mapping.
type Key struct {
	Name  string
	Pos   fault.Pos
	Value *Node
}

// Ref is one read or call in an expression.
type Ref struct {
	// Path is a name and the constant keys below it; list indexes appear as
	// digits. It is nil for a call.
	Path []string
	Pos  fault.Pos
	// Call is the name of the called function. If Path is set, Call is "hmac"
	// when the path is read inside the arguments of hmac, where its value stays
	// hidden, and empty otherwise.
	Call string
	// Text is the first argument of a call if it is a constant text.
	Text string
	// Optional says that the first key is read with ?., so the name may be nil.
	Optional bool
	// Complete says that Path is everything that is read: no computed key
	// follows.
	Complete bool
}
