package spec

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
)

// Value declares a setting of struct T that this package decodes into a V.
type Value[T, V any] struct {
	info     Info
	ptr      func(*T) *V
	codec    codec[V]
	fallback *V
	min, max *V
	free     bool
	valid    func(V) (problem, hint string)
}

// codec reads and formats values of one type.
type codec[V any] struct {
	read    func(d *Decoder, info *Info, n node) (V, bool) // reports errors to d
	compare func(a, b V) int
	format  func(V) string
	source  func(string) V // placeholder for an expression that is evaluated later
}

// Or sets the default.
func (f *Value[T, V]) Or(v V) *Value[T, V] {
	f.fallback = &v
	f.info.Default = f.codec.format(v)
	if f.info.Sample == "" {
		f.info.Sample = f.info.Default
	}
	return f
}

// Eg sets the example value for hints and the reference.
func (f *Value[T, V]) Eg(sample string) *Value[T, V] { f.info.Sample = sample; return f }

// Secret marks a value that must not be readable in a file.
func (f *Value[T, V]) Secret() *Value[T, V] { f.info.Secret = true; return f }

// Local marks the path of a file or folder on the machine. A relative one starts
// from the folder of the project.
func (f *Value[T, V]) Local() *Value[T, V] { f.info.Local = true; return f }

// LocalIf is Local if another key of the map has a value.
func (f *Value[T, V]) LocalIf(key, value string) *Value[T, V] {
	f.info.Local, f.info.LocalKey, f.info.LocalValue = true, key, value
	return f
}

// Type sets the type shown in the reference.
func (f *Value[T, V]) Type(name string) *Value[T, V] { f.info.Type = name; return f }

// OrAs sets a default and its description in the reference.
func (f *Value[T, V]) OrAs(v V, text string) *Value[T, V] {
	f.fallback, f.info.Default, f.info.Spoken = &v, text, true
	return f
}

// Min sets the minimum.
func (f *Value[T, V]) Min(v V) *Value[T, V] {
	f.min, f.info.Min = &v, f.codec.format(v)
	return f
}

// Max sets the maximum.
func (f *Value[T, V]) Max(v V) *Value[T, V] {
	f.max, f.info.Max = &v, f.codec.format(v)
	return f
}

// Required makes a missing key an error.
func (f *Value[T, V]) Required() *Value[T, V] { f.info.Required = true; return f }

// Enum sets the allowed values, or those of the elements of a list.
func (f *Value[T, V]) Enum(values ...string) *Value[T, V] { f.info.Enum = values; return f }

// Later sets values that this version does not support.
func (f *Value[T, V]) Later(values ...string) *Value[T, V] { f.info.Later = values; return f }

// Besides sets allowed values of a reference that are no names.
func (f *Value[T, V]) Besides(words ...string) *Value[T, V] { f.info.Besides = words; return f }

// Free disables expressions: `${` is ordinary text, as in a description.
func (f *Value[T, V]) Free() *Value[T, V] { f.free = true; return f }

// Late sets the names of values in a statement that the connector sets when it
// runs it.
func (f *Value[T, V]) Late(names ...string) *Value[T, V] { f.info.Late = names; return f }

// Valid sets a check of values in a file, which returns a problem or "". Expressions
// that are evaluated later are placeholders in the value.
func (f *Value[T, V]) Valid(check func(V) (problem, hint string)) *Value[T, V] {
	f.valid = check
	return f
}

// Info describes the field.
func (f *Value[T, V]) Info() *Info { return &f.info }

func (f *Value[T, V]) empty() bool { return false }

func (f *Value[T, V]) reset(_ *Decoder, target any) {
	if f.fallback != nil {
		*f.ptr(target.(*T)) = *f.fallback
	}
}

func (f *Value[T, V]) decode(d *Decoder, target any, n node) {
	to := f.ptr(target.(*T))
	if n.y != nil && !f.free && IsDynamic(n.y) && f.info.Kind != KindAny && f.info.Kind != KindEach {
		if !d.Dynamic {
			d.problem(n.y, CodeNotFixed, "`"+f.info.Key+":` cannot be an expression: it is needed when the project is loaded", expects(&f.info))
		} else if f.codec.source != nil {
			*to = f.codec.source(n.y.Value)
			f.check(d, n, *to)
		}
		return
	}
	v, ok := f.codec.read(d, &f.info, n)
	if !ok || f.info.Kind == KindString && f.info.Enum != nil && !d.among(&f.info, n) {
		return
	}
	if f.min != nil && f.codec.compare(v, *f.min) < 0 || f.max != nil && f.codec.compare(v, *f.max) > 0 {
		d.wrongValue(n, &f.info, "is out of range")
		return
	}
	f.check(d, n, v)
	*to = v
}

func (f *Value[T, V]) check(d *Decoder, n node, v V) {
	if f.valid == nil || n.y == nil {
		return
	}
	if problem, hint := f.valid(v); problem != "" {
		d.problem(n.y, CodeWrongValue, "`"+f.info.Key+":` "+problem, hint)
	}
}

// wrongType reports a value whose type does not match the declaration.
func (d *Decoder) wrongType(n node, info *Info) {
	if n.y != nil && quotedBare(n.y) && (info.Kind == KindInt && IsNumber(n.y.Value) || info.Kind == KindBool && !IsNumber(n.y.Value)) {
		d.Quoted(n.y, info)
		return
	}
	d.problem(n.y, CodeWrongType, "`"+info.Key+":` must be "+noun(info)+", not "+describe(n), expects(info))
}

// quotedBare reports whether a string is quoted that would be a number or a
// boolean without its quotes.
func quotedBare(n *yaml.Node) bool {
	return n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && (IsNumber(n.Value) || n.Value == "true" || n.Value == "false")
}

// Quoted reports a number or a boolean in quotes.
func (d *Decoder) Quoted(n *yaml.Node, info *Info) {
	quote := "\""
	if n.Style&yaml.SingleQuotedStyle != 0 {
		quote = "'"
	}
	d.problem(n, CodeWrongType, "`"+info.Key+":` must be "+noun(info)+", and quotes make it a string", "remove the quotes: `"+info.Key+": "+n.Value+"`").
		Fix = fault.Edit{Old: quote + n.Value + quote, New: n.Value}
}

// IsQuoted reports whether a value is a number or a boolean in quotes.
func IsQuoted(n *yaml.Node) bool { return quotedBare(n) }

// shown formats a setting with its value. It omits evaluated values, which may
// be secrets.
func (d *Decoder) shown(info *Info, n node) string {
	if n.y == nil {
		return "`" + info.Key + ":`"
	}
	return "`" + info.Key + ": " + Clip(n.text()) + "`"
}

func (d *Decoder) wrongValue(n node, info *Info, why string) {
	d.problem(n.y, CodeWrongValue, d.shown(info, n)+" "+why, expects(info))
}

// scalar returns the reader of a type that is parsed from a string.
func scalar[V any](parse func(string) (V, error)) func(*Decoder, *Info, node) (V, bool) {
	return func(d *Decoder, info *Info, n node) (V, bool) {
		v, err := parse(n.text())
		if s := n.shape(); s != TextShape && !(s == NumberShape && err == nil) {
			d.wrongType(n, info)
			return v, false
		}
		if err != nil {
			d.wrongValue(n, info, "is not "+noun(info))
			return v, false
		}
		return v, true
	}
}

func readText(d *Decoder, info *Info, n node) (string, bool) {
	switch s := n.shape(); {
	case s == TextShape && n.y != nil:
		return unescape(n.text()), true
	case s == TextShape, d.lax && (s == NumberShape || s == BoolShape):
		return n.text(), true
	case s == NumberShape || s == BoolShape:
		d.problem(n.y, CodeWrongType, "`"+info.Key+":` must be a string, not "+describe(n), "put it in quotes: `"+info.Key+": \""+Clip(n.text())+"\"`").
			Fix = fault.Edit{Old: n.text(), New: "\"" + n.text() + "\""}
		return "", false
	}
	d.wrongType(n, info)
	return "", false
}

func readEnum(d *Decoder, info *Info, n node) (string, bool) {
	s, shape := n.text(), n.shape()
	if shape != TextShape && (shape != NumberShape || !slices.Contains(info.Enum, s)) { // `version: 5` is a number
		d.wrongType(n, info)
		return "", false
	}
	return s, d.among(info, n)
}

// among checks a scalar against the allowed values.
func (d *Decoder) among(info *Info, n node) bool {
	s := n.text()
	for _, e := range info.Enum {
		if e == s {
			return true
		}
	}
	for _, l := range info.Later {
		if l == s {
			d.NotAvailable(n.y, "`"+info.Key+": "+s+"`", info.Enum...)
			return false
		}
	}
	near, hint := Suggest(s, info.Enum), "use one of: "+strings.Join(info.Enum, ", ")
	if near != "" {
		hint = "did you mean `" + near + "`?"
	}
	d.problem(n.y, CodeWrongValue, d.shown(info, n)+" is not one of "+strings.Join(info.Enum, ", "), hint).Correct(s, near)
	return false
}

func readName(d *Decoder, info *Info, n node) (string, bool) {
	s := n.text()
	if n.shape() != TextShape {
		d.wrongType(n, info)
		return "", false
	}
	if !IsName(s) {
		d.BadName(n.y, s)
		return "", false
	}
	return s, true
}
