// Package spec declares settings: one declaration per setting gives its strict
// decoding from YAML with positions, its decoding at run time, its line in the
// reference and its part of the JSON Schema.
//
// A declaration binds a key to a field of a Go struct by pointer:
//
//	spec.Int("size", func(b *batch) *int { return &b.Size }, "Documents per group.").Or(100).Min(1)
//
// Declarations are complete before they are first used and never change
// afterwards; then any number of goroutines may use them at once.
package spec

import (
	"fmt"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Kind tells what a field takes.
type Kind int

// The kinds of fields.
const (
	KindString    Kind = iota
	KindInt            // a whole number
	KindBool           // true or false
	KindDuration       // 10s, 24h, 30d
	KindSize           // 10MiB
	KindRate           // 50/s, 100/m
	KindEnum           // one of Info.Enum
	KindName           // a name that expressions read
	KindStrings        // a list of texts, or one
	KindDurations      // a list of durations, or one
	KindStringMap      // names with texts, in order
	KindAny            // any value
	KindPath           // a URL path in which each ${} is one segment
	KindRef            // the name of another component: Info.Of
	KindObject         // nested Info.Fields
	KindLater          // a key of the language that this version does not have

	// The kinds from here on are made by a Compiler.
	KindExpr
	KindExprs
	KindTemplate
	KindSteps
	KindPaths
	KindOperation
	KindWith
	KindRetry
	KindAccept
)

// Want is what an expression has to give.
type Want int

// What expressions may have to give.
const (
	Anything Want = iota
	Boolean
	Number
	List
	Text
)

// Info is what a declaration says, for compilers, documents and schemas.
type Info struct {
	Key      string
	Kind     Kind
	Doc      string
	Required bool
	Default  string // as an author would write it; "" for none
	Spoken   bool   // Default is a description, not what an author would write
	Sample   string // a value, as an author would write it; "" for the kind's
	Enum     []string
	Later    []string // values of the language that this version does not have
	Min, Max string   // as an author would write them; "" for no bound
	Of       string   // KindRef: the kind of component
	Besides  []string // KindRef: words that are no names, such as none
	Want     Want     // KindExpr
	Names    bool     // KindTemplate: an object whose keys are names of variables that are set
	AnyNames bool     // KindPaths: the names are any text, not names that expressions read
	Short    string   // KindObject: the key that a value which is no mapping stands for
	Fields   []Field  // KindObject
}

// Field is one declared setting. Only this package implements it.
type Field interface {
	// Info says what was declared. Callers must not change it.
	Info() *Info
	// decode reads the field from n into target.
	decode(d *Decoder, target any, n node)
	// reset gives target's field its default, if there is one.
	reset(d *Decoder, target any)
	// empty makes the value for a key that is there without a value; it
	// reports whether the field takes that.
	empty() bool
}

// Compiler makes what this package cannot: expressions, templates, steps.
// Compile reports to d what is wrong, and then gives nil.
type Compiler interface {
	Compile(d *Decoder, f *Info, n *yaml.Node) any
}

// KV is a name with a text, where order and repetition matter.
type KV struct{ Name, Value string }

// Codes of the problems that decoding finds.
const (
	CodeUnknownKey   fault.Code = "unknown-key"
	CodeMissingKey   fault.Code = "missing-key"
	CodeWrongType    fault.Code = "wrong-type"
	CodeWrongValue   fault.Code = "wrong-value"
	CodeBadName      fault.Code = "bad-name"
	CodeNotAvailable fault.Code = "not-available"
	CodeNotFixed     fault.Code = "not-fixed"
)

// IsName reports whether s is a name that expressions can read: [a-z][a-z0-9_]*.
func IsName(s string) bool { return isName(s, '_') }

// IsComponentName reports whether s may name a component: [a-z][a-z0-9-]*.
func IsComponentName(s string) bool { return isName(s, '-') }

func isName(s string, joiner byte) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != joiner {
			return false
		}
	}
	return true
}

// Later declares a key of the language that this version does not have: using
// it is an error that says so.
func Later(key, doc string) Field { return &later{Info{Key: key, Kind: KindLater, Doc: doc}} }

type later struct{ info Info }

func (l *later) Info() *Info                { return &l.info }
func (l *later) reset(*Decoder, any)        {}
func (l *later) empty() bool                { return true }
func (l *later) decode(*Decoder, any, node) {}

// NotAvailable reports that something of the language is not in this version.
func (d *Decoder) NotAvailable(n *yaml.Node, what string) {
	d.problem(n, CodeNotAvailable, what+" is not available yet",
		"remove it: this version of valence does not have it, and would not do what it says")
}

// bug reports a wrong declaration; it is a defect of the program, never of a
// user's file.
func bug(format string, args ...any) { panic("spec: " + fmt.Sprintf(format, args...)) }
