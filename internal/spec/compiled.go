package spec

import "gopkg.in/yaml.v3"

// Compiled declares a setting that a Compiler makes: a V of a T.
type Compiled[T, V any] struct {
	info Info
	ptr  func(*T) *V
}

func compiled[T, V any](kind Kind, key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return &Compiled[T, V]{Info{Key: key, Kind: kind, Doc: doc}, ptr}
}

// Expr declares one expression; V is *expression.Expr.
func Expr[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindExpr, key, ptr, doc)
}

// Exprs declares names with an expression each, in order; V is []processes.Track.
func Exprs[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindExprs, key, ptr, doc)
}

// Template declares a template; V is *expression.Template.
func Template[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindTemplate, key, ptr, doc)
}

// Steps declares a list of steps; V is processes.Block.
func Steps[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindSteps, key, ptr, doc)
}

// Paths declares named lists of steps, in order; V is []processes.Path.
func Paths[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindPaths, key, ptr, doc)
}

// Operation declares `connection.operation`; V is processes.Operation.
func Operation[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindOperation, key, ptr, doc)
}

// With declares the settings of the Operation declared before it in the same
// step; V is *expression.Template.
func With[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindWith, key, ptr, doc)
}

// Retry declares a retry policy; V is *processes.Retry.
func Retry[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindRetry, key, ptr, doc)
}

// Accept declares a set of statuses such as [2xx, 404]; V is connectors.Accept.
func Accept[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindAccept, key, ptr, doc)
}

// Or sets the default, as an author would write it.
func (f *Compiled[T, V]) Or(source string) *Compiled[T, V] {
	f.info.Default, f.info.Sample = source, source
	return f
}

// Required makes a missing key an error.
func (f *Compiled[T, V]) Required() *Compiled[T, V] { f.info.Required = true; return f }

// Bool makes the expression one that must be true or false.
func (f *Compiled[T, V]) Bool() *Compiled[T, V] { f.info.Want = Boolean; return f }

// Number makes the expression one that must give a number.
func (f *Compiled[T, V]) Number() *Compiled[T, V] { f.info.Want = Number; return f }

// List makes the expression one that must give a list.
func (f *Compiled[T, V]) List() *Compiled[T, V] { f.info.Want = List; return f }

// Text makes the expression one that must give something that has a text.
func (f *Compiled[T, V]) Text() *Compiled[T, V] { f.info.Want = Text; return f }

// Names makes the template an object whose keys are the names of variables
// that the step sets.
func (f *Compiled[T, V]) Names() *Compiled[T, V] { f.info.Names = true; return f }

// AnyNames lets the names of paths be any text.
func (f *Compiled[T, V]) AnyNames() *Compiled[T, V] { f.info.AnyNames = true; return f }

// Info says what was declared.
func (f *Compiled[T, V]) Info() *Info { return &f.info }

// empty: a step whose argument is optional, as in `- reply:`.
func (f *Compiled[T, V]) empty() bool {
	return (f.info.Kind == KindExpr || f.info.Kind == KindTemplate) && !f.info.Required
}

func (f *Compiled[T, V]) reset(d *Decoder, target any) {
	if f.info.Default == "" {
		return
	}
	f.set(d, target, &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: f.info.Default})
}

func (f *Compiled[T, V]) decode(d *Decoder, target any, n node) {
	if n.y == nil || d.Compiler == nil {
		bug("%s cannot be decoded at run time", f.info.Key)
	}
	f.set(d, target, n.y)
}

func (f *Compiled[T, V]) set(d *Decoder, target any, n *yaml.Node) {
	made := d.Compiler.Compile(d, &f.info, n)
	if made == nil {
		return
	}
	v, ok := made.(V)
	if !ok {
		bug("%s: a %T was made for a field of type %T", f.info.Key, made, *new(V))
	}
	*f.ptr(target.(*T)) = v
}
