// Package spec declares settings. One declaration per setting defines its
// strict decoding from YAML, its decoding at run time, its row in the reference
// and its part of the JSON Schema.
//
// A declaration binds a key to a field of a Go struct by pointer:
//
//	spec.Int("size", func(b *batch) *int { return &b.Size }, "Documents per group.").Or(100).Min(1)
//
// Declarations must not change after their first use. They are then safe for
// concurrent use.
package spec

import (
	"strings"

	"fmt"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Kind is the type of a field.
type Kind int

// The kinds of fields.
const (
	KindString    Kind = iota
	KindInt            // an integer
	KindBool           // true or false
	KindDuration       // 10s, 24h, 30d
	KindSize           // 10MiB
	KindRate           // 50/s, 100/m
	KindEnum           // one of Info.Enum
	KindName           // a name that expressions can read
	KindStrings        // a string or a list of strings
	KindDurations      // a duration or a list of durations
	KindStringMap      // a map of strings, in order
	KindAny            // any value
	KindPath           // a URL path in which each ${} is one segment
	KindFile           // the path of a file in which each ${} is one segment
	KindRef            // the name of another component: Info.Of
	KindObject         // nested Info.Fields
	KindObjects        // a list of maps of Info.Fields
	KindSQL            // an SQL statement in which each ${} is a value
	KindEach           // the list for whose elements the SQL statement of the same map runs
	KindLater          // a key that this version does not support

	// A Compiler creates the values of the following kinds.
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

// Want is the required type of an expression's value.
type Want int

// The required types of expressions.
const (
	Anything Want = iota
	Boolean
	Number
	List
	Text
)

// Info describes a field to compilers, the reference and schemas.
type Info struct {
	Key        string
	Kind       Kind
	Type       string // in the reference; "" means the kind's
	Doc        string
	Required   bool
	Default    string // in YAML; "" means none
	Spoken     bool   // Default is a description, not YAML
	Secret     bool   // the value must not be readable in a file
	Local      bool   // the path of a file or folder on the machine; see ResolvePaths
	LocalKey   string // if set, Local holds only if this key of the map has LocalValue
	LocalValue string
	Sample     string // an example value in YAML; "" means the kind's
	Enum       []string
	Later      []string // values that this version does not support
	Min, Max   string   // in YAML; "" means no bound
	Of         string   // KindRef: the kind of component
	Late       []string // KindSQL: names of values that the connector sets
	Besides    []string // KindRef: allowed values that are no names, such as none
	Want       Want     // KindExpr
	Names      bool     // KindTemplate: a map whose keys are the names of variables to set
	AnyNames   bool     // KindPaths: names may be any string
	Short      string   // KindObject: the key set by a value that is not a map
	Fields     []Field  // KindObject, KindObjects
}

// Field is one declared setting. Only this package implements it.
type Field interface {
	// Info describes the field. Callers must not change it.
	Info() *Info
	// decode reads the field from n into target.
	decode(d *Decoder, target any, n node)
	// reset sets target's field to its default, if there is one.
	reset(d *Decoder, target any)
	// empty reports whether the key may be present without a value.
	empty() bool
	// written returns the value in target; see Written.
	written(target any) string
}

// Compiler creates values of this package's compiled kinds: expressions,
// templates and steps. Compile reports errors to d and then returns nil.
type Compiler interface {
	Compile(d *Decoder, f *Info, n *yaml.Node) any
}

// KV is one entry of a map whose order and repetitions matter.
type KV struct{ Name, Value string }

// Codes of the problems found by decoding.
const (
	CodeUnknownKey   fault.Code = "unknown-key"
	CodeMissingKey   fault.Code = "missing-key"
	CodeWrongType    fault.Code = "wrong-type"
	CodeWrongValue   fault.Code = "wrong-value"
	CodeBadName      fault.Code = "bad-name"
	CodeNotAvailable fault.Code = "not-available"
	CodeNotFixed     fault.Code = "not-fixed"
)

// IsName reports whether expressions can read s as a name: [a-z][a-z0-9_]*.
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

// Later declares a key that this version does not support. Using it is an error.
func Later(key, doc string) Field { return &later{Info{Key: key, Kind: KindLater, Doc: doc}} }

type later struct{ info Info }

func (l *later) Info() *Info                { return &l.info }
func (l *later) reset(*Decoder, any)        {}
func (l *later) empty() bool                { return true }
func (l *later) decode(*Decoder, any, node) {}

// NotAvailable reports a part of the language that this version does not have.
// instead lists the values that can be used, if any.
func (d *Decoder) NotAvailable(n *yaml.Node, what string, instead ...string) {
	hint := "remove it, or upgrade valence"
	if len(instead) > 0 {
		hint = "use one of: " + strings.Join(instead, ", ") + "; or upgrade valence"
	}
	d.problem(n, CodeNotAvailable, what+" is not available in this version of valence", hint)
}

// bug panics because of an invalid declaration, which no user's file can cause.
func bug(format string, args ...any) { panic("spec: " + fmt.Sprintf(format, args...)) }

// Find returns the field with a key, or nil.
func Find(fields []Field, key string) *Info {
	for _, f := range fields {
		if i := f.Info(); i.Key == key {
			return i
		}
	}
	return nil
}
