package spec

import "gopkg.in/yaml.v3"

// Compiled declares a setting of struct T that a Compiler decodes into a V.
type Compiled[T, V any] struct {
	info Info
	ptr  func(*T) *V
}

func compiled[T, V any](kind Kind, key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return &Compiled[T, V]{Info{Key: key, Kind: kind, Doc: doc}, ptr}
}

// Expr declares an expression; V is *expression.Expr.
func Expr[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindExpr, key, ptr, doc)
}

// Exprs declares a map of expressions and preserves its order; V is []processes.Track.
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

// Paths declares a map of lists of steps and preserves its order; V is []processes.Path.
func Paths[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindPaths, key, ptr, doc)
}

// Operation declares `connection.operation`; V is processes.Operation.
func Operation[T, V any](key string, ptr func(*T) *V, doc string) *Compiled[T, V] {
	return compiled(KindOperation, key, ptr, doc)
}

// With declares the settings of the preceding Operation of the same step; V is
// *expression.Template.
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

// Or sets the default, in YAML.
func (f *Compiled[T, V]) Or(source string) *Compiled[T, V] {
	f.info.Default, f.info.Sample = source, source
	return f
}

// Required makes a missing key an error.
func (f *Compiled[T, V]) Required() *Compiled[T, V] { f.info.Required = true; return f }

// Bool requires a boolean value.
func (f *Compiled[T, V]) Bool() *Compiled[T, V] { f.info.Want = Boolean; return f }

// Number requires a number.
func (f *Compiled[T, V]) Number() *Compiled[T, V] { f.info.Want = Number; return f }

// List requires a list.
func (f *Compiled[T, V]) List() *Compiled[T, V] { f.info.Want = List; return f }

// Text requires a value that can be converted to a string.
func (f *Compiled[T, V]) Text() *Compiled[T, V] { f.info.Want = Text; return f }

// Names requires a map whose keys are the names of variables to set.
func (f *Compiled[T, V]) Names() *Compiled[T, V] { f.info.Names = true; return f }

// AnyNames allows any string as the name of a path.
func (f *Compiled[T, V]) AnyNames() *Compiled[T, V] { f.info.AnyNames = true; return f }

// Info describes the field.
func (f *Compiled[T, V]) Info() *Info { return &f.info }

// empty reports whether the argument of a step is optional, as in `- reply:`.
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
		bug("%s: got a %T, want a %T", f.info.Key, made, *new(V))
	}
	*f.ptr(target.(*T)) = v
}
