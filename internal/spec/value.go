package spec

import (
	"strings"
)

// Value declares a setting that this package decodes itself into a V of a T.
type Value[T, V any] struct {
	info     Info
	ptr      func(*T) *V
	codec    codec[V]
	fallback *V
	min, max *V
	free     bool
}

// codec is how one type of value is read and printed.
type codec[V any] struct {
	read    func(d *Decoder, info *Info, n node) (V, bool) // reports what is wrong
	compare func(a, b V) int
	format  func(V) string
	source  func(string) V // what stands for an expression until it is evaluated
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

// Eg sets the value that hints and documents show.
func (f *Value[T, V]) Eg(sample string) *Value[T, V] { f.info.Sample = sample; return f }

// OrAs sets a default that documents describe with words.
func (f *Value[T, V]) OrAs(v V, text string) *Value[T, V] {
	f.fallback, f.info.Default, f.info.Spoken = &v, text, true
	return f
}

// Min sets the least value.
func (f *Value[T, V]) Min(v V) *Value[T, V] {
	f.min, f.info.Min = &v, f.codec.format(v)
	return f
}

// Max sets the greatest value.
func (f *Value[T, V]) Max(v V) *Value[T, V] {
	f.max, f.info.Max = &v, f.codec.format(v)
	return f
}

// Required makes a missing key an error.
func (f *Value[T, V]) Required() *Value[T, V] { f.info.Required = true; return f }

// Enum sets the values that are allowed; for a list, those of its elements.
func (f *Value[T, V]) Enum(values ...string) *Value[T, V] { f.info.Enum = values; return f }

// Later names values of the language that this version does not have.
func (f *Value[T, V]) Later(values ...string) *Value[T, V] { f.info.Later = values; return f }

// Besides names words that a reference may be instead of a name.
func (f *Value[T, V]) Besides(words ...string) *Value[T, V] { f.info.Besides = words; return f }

// Free makes `${` ordinary text, as in a description.
func (f *Value[T, V]) Free() *Value[T, V] { f.free = true; return f }

// Info says what was declared.
func (f *Value[T, V]) Info() *Info { return &f.info }

func (f *Value[T, V]) empty() bool { return false }

func (f *Value[T, V]) reset(_ *Decoder, target any) {
	if f.fallback != nil {
		*f.ptr(target.(*T)) = *f.fallback
	}
}

func (f *Value[T, V]) decode(d *Decoder, target any, n node) {
	to := f.ptr(target.(*T))
	if n.y != nil && !f.free && IsDynamic(n.y) && f.info.Kind != KindAny {
		if !d.Dynamic {
			d.problem(n.y, CodeNotFixed, "`"+f.info.Key+":` is fixed when the project is loaded, it cannot hold an expression", expects(&f.info))
		} else if f.codec.source != nil {
			*to = f.codec.source(n.y.Value)
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
	*to = v
}

// wrongType reports a value of another type than was declared.
func (d *Decoder) wrongType(n node, info *Info) {
	d.problem(n.y, CodeWrongType, "`"+info.Key+":` must be "+noun(info)+", not "+describe(n), expects(info))
}

// shown prints a setting with its value, unless it was evaluated: then it may
// be a secret.
func (d *Decoder) shown(info *Info, n node) string {
	if n.y == nil {
		return "`" + info.Key + ":`"
	}
	return "`" + info.Key + ": " + Clip(n.text()) + "`"
}

func (d *Decoder) wrongValue(n node, info *Info, why string) {
	d.problem(n.y, CodeWrongValue, d.shown(info, n)+" "+why, expects(info))
}

// scalar makes the reader of a type that is written as text.
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
		d.problem(n.y, CodeWrongType, "`"+info.Key+":` must be text, not "+describe(n), "put it in quotes: `"+info.Key+": \""+Clip(n.text())+"\"`")
		return "", false
	}
	d.wrongType(n, info)
	return "", false
}

func readEnum(d *Decoder, info *Info, n node) (string, bool) {
	s, ok := n.text(), n.shape() == TextShape
	if !ok {
		d.wrongType(n, info)
		return "", false
	}
	return s, d.among(info, n)
}

// among checks a scalar against the values that are allowed.
func (d *Decoder) among(info *Info, n node) bool {
	s := n.text()
	for _, e := range info.Enum {
		if e == s {
			return true
		}
	}
	for _, l := range info.Later {
		if l == s {
			d.NotAvailable(n.y, "`"+info.Key+": "+s+"`")
			return false
		}
	}
	hint := "use one of: " + strings.Join(info.Enum, ", ")
	if near := Suggest(s, info.Enum); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	d.problem(n.y, CodeWrongValue, d.shown(info, n)+" is not one of "+strings.Join(info.Enum, ", "), hint)
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
