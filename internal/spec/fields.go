package spec

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

func value[T, V any](kind Kind, key string, ptr func(*T) *V, doc string, c codec[V]) *Value[T, V] {
	return &Value[T, V]{info: Info{Key: key, Kind: kind, Doc: doc}, ptr: ptr, codec: c}
}

func itself(s string) string { return s }

// String declares a string.
func String[T any](key string, ptr func(*T) *string, doc string) *Value[T, string] {
	return value(KindString, key, ptr, doc, codec[string]{read: readText, format: itself, source: itself})
}

// Path declares a URL path in which each ${} is one percent-encoded segment.
func Path[T any](key string, ptr func(*T) *string, doc string) *Value[T, string] {
	return value(KindPath, key, ptr, doc, codec[string]{read: readText, format: itself, source: itself})
}

// File declares the path of a file in which each ${} is one segment or a part
// of it.
func File[T any](key string, ptr func(*T) *string, doc string) *Value[T, string] {
	return value(KindFile, key, ptr, doc, codec[string]{read: readText, format: itself, source: itself})
}

// Name declares a name that expressions can read.
func Name[T any](key string, ptr func(*T) *string, doc string) *Value[T, string] {
	return value(KindName, key, ptr, doc, codec[string]{read: readName, format: itself})
}

// Enum declares a string that is one of values.
func Enum[T any](key string, ptr func(*T) *string, doc string, values ...string) *Value[T, string] {
	return value(KindEnum, key, ptr, doc, codec[string]{read: readEnum, format: itself, source: itself}).Enum(values...)
}

// Ref declares the name of a component of the project, which must exist.
func Ref[T any](key string, ptr func(*T) *string, kind, doc string) *Value[T, string] {
	f := value(KindRef, key, ptr, doc, codec[string]{read: readRef, format: itself})
	f.info.Of = kind
	return f
}

func readRef(d *Decoder, info *Info, n node) (string, bool) {
	s := n.text()
	if n.shape() != TextShape {
		d.wrongType(n, info)
		return "", false
	}
	for _, b := range info.Besides {
		if s == b {
			return s, true
		}
	}
	return s, d.Compiler == nil || n.y == nil || d.Compiler.Compile(d, info, n.y) != nil
}

// Int declares an integer.
func Int[T any](key string, ptr func(*T) *int, doc string) *Value[T, int] {
	return value(KindInt, key, ptr, doc, codec[int]{compare: cmp.Compare[int], format: strconv.Itoa,
		read: func(d *Decoder, info *Info, n node) (int, bool) {
			if s := n.shape(); s != NumberShape && !(d.lax && s == TextShape && IsNumber(n.text())) {
				d.wrongType(n, info)
				return 0, false
			}
			i, err := strconv.Atoi(n.text())
			if err != nil {
				d.wrongValue(n, info, "is not an integer")
			}
			return i, err == nil
		}})
}

// Bool declares a boolean.
func Bool[T any](key string, ptr func(*T) *bool, doc string) *Value[T, bool] {
	return value(KindBool, key, ptr, doc, codec[bool]{format: strconv.FormatBool,
		read: func(d *Decoder, info *Info, n node) (bool, bool) {
			if s := n.shape(); s != BoolShape && !(d.lax && s == TextShape && (n.text() == "true" || n.text() == "false")) {
				d.wrongType(n, info)
				return false, false
			}
			return n.text() == "true", true
		}})
}

// Duration declares a duration such as 10s.
func Duration[T any](key string, ptr func(*T) *time.Duration, doc string) *Value[T, time.Duration] {
	return value(KindDuration, key, ptr, doc, codec[time.Duration]{read: scalar(ParseDuration), compare: cmp.Compare[time.Duration], format: FormatDuration})
}

// Size declares a size in bytes, such as 10MiB.
func Size[T any](key string, ptr func(*T) *int64, doc string) *Value[T, int64] {
	return value(KindSize, key, ptr, doc, codec[int64]{read: scalar(ParseSize), compare: cmp.Compare[int64], format: FormatSize})
}

// Rate declares a rate such as 50/s, decoded as events per second.
func Rate[T any](key string, ptr func(*T) *float64, doc string) *Value[T, float64] {
	return value(KindRate, key, ptr, doc, codec[float64]{read: scalar(ParseRate), compare: cmp.Compare[float64], format: FormatRate})
}

// Strings declares a list of strings. A single string is a list of one.
func Strings[T any](key string, ptr func(*T) *[]string, doc string) *Value[T, []string] {
	return value(KindStrings, key, ptr, doc, codec[[]string]{read: readStrings, source: func(s string) []string { return []string{s} },
		format: func(l []string) string {
			if len(l) == 1 {
				return l[0]
			}
			return "[" + strings.Join(l, ", ") + "]"
		}})
}

func readStrings(d *Decoder, info *Info, n node) ([]string, bool) {
	if n.shape() != ListShape {
		s, ok := oneString(d, info, n)
		return []string{s}, ok
	}
	list, all := make([]string, 0, n.len()), true
	for i := range n.len() {
		s, ok := oneString(d, info, n.item(i))
		list, all = append(list, s), all && ok
	}
	return list, all
}

// oneString reads an element. Numbers are allowed, as in [409, timeout].
func oneString(d *Decoder, info *Info, n node) (string, bool) {
	if n.y != nil && IsDynamic(n.y) {
		if !d.Dynamic {
			d.problem(n.y, CodeNotFixed, "`"+info.Key+":` cannot be an expression: it is needed when the project is loaded", expects(info))
		}
		return n.text(), d.Dynamic
	}
	if s := n.shape(); s != TextShape && s != NumberShape {
		d.wrongType(n, info)
		return "", false
	}
	if info.Enum != nil && !d.among(info, n) {
		return "", false
	}
	return n.text(), true
}

// Durations declares a list of durations. A single duration is a list of one.
func Durations[T any](key string, ptr func(*T) *[]time.Duration, doc string) *Value[T, []time.Duration] {
	one := scalar(ParseDuration)
	return value(KindDurations, key, ptr, doc, codec[[]time.Duration]{
		read: func(d *Decoder, info *Info, n node) ([]time.Duration, bool) {
			if n.shape() != ListShape {
				v, ok := one(d, info, n)
				return []time.Duration{v}, ok
			}
			list, all := make([]time.Duration, 0, n.len()), true
			for i := range n.len() {
				if e := n.item(i); e.y != nil && d.Dynamic && IsDynamic(e.y) {
					continue
				}
				v, ok := one(d, info, n.item(i))
				list, all = append(list, v), all && ok
			}
			return list, all
		},
		format: func(l []time.Duration) string {
			parts := make([]string, len(l))
			for i, e := range l {
				parts[i] = FormatDuration(e)
			}
			return "[" + strings.Join(parts, ", ") + "]"
		}})
}

// StringMap declares a map of strings and preserves its order. A list of values
// repeats the name. An evaluated nil is an error: an omitted name could select
// other records than the author meant.
func StringMap[T any](key string, ptr func(*T) *[]KV, doc string) *Value[T, []KV] {
	return value(KindStringMap, key, ptr, doc, codec[[]KV]{read: readStringMap,
		format: func(l []KV) string {
			parts := make([]string, len(l))
			for i, e := range l {
				parts[i] = e.Name + ": " + e.Value
			}
			return "{ " + strings.Join(parts, ", ") + " }"
		}})
}

func readStringMap(d *Decoder, info *Info, n node) ([]KV, bool) {
	if n.shape() != MapShape {
		d.wrongType(n, info)
		return nil, false
	}
	list, all := make([]KV, 0, n.len()), true
	add := func(key string, v node) {
		switch s := v.shape(); {
		case v.y != nil && IsDynamic(v.y):
			if d.Dynamic {
				list = append(list, KV{key, v.text()})
				return
			}
			d.problem(v.y, CodeNotFixed, "`"+info.Key+":` cannot be an expression: it is needed when the project is loaded", expects(info))
			all = false
		case s == NullShape && v.y == nil:
			d.problem(nil, CodeWrongValue, "`"+info.Key+"."+Clip(key)+":` is nil; write `${… ?? omit}` to leave it out, or another default with ??", "")
			all = false
		case s == TextShape && v.y != nil:
			list = append(list, KV{key, unescape(v.text())})
		case s == TextShape, s == NumberShape, s == BoolShape:
			list = append(list, KV{key, v.text()})
		default:
			d.problem(v.y, CodeWrongType, "`"+info.Key+"."+Clip(key)+":` must be a string, not "+describe(v), "write a string, a number or a boolean")
			all = false
		}
	}
	for i := range n.len() {
		key, _, v := n.at(i)
		if v.shape() == ListShape {
			for j := range v.len() {
				add(key, v.item(j))
			}
			continue
		}
		add(key, v)
	}
	return list, all
}

// Any declares a value of any type: nil, bool, string, a number's own type,
// []any, or an Obj.
func Any[T any](key string, ptr func(*T) *any, doc string) *Value[T, any] {
	return value(KindAny, key, ptr, doc, codec[any]{format: func(v any) string { return "" },
		read: func(_ *Decoder, _ *Info, n node) (any, bool) {
			if n.y != nil {
				return written(n.y), true
			}
			return n.v, true
		}})
}

// written returns a placeholder for a value that is evaluated later.
func written(n *yaml.Node) any {
	switch ShapeOf(n) {
	case NullShape:
		return nil
	case BoolShape:
		return n.Value == "true"
	}
	return n.Value
}
