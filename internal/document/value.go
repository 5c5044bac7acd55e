package document

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// Every value is one of
//
//	nil, bool, string
//	Number    a JSON number exactly as written
//	Raw       a JSON object or array that is not decoded yet
//	[]any     an array
//	*Object   an object with ordered keys
//
// Raw and its decoded form are the same value.

// Number is a JSON number as text, with any number of digits.
type Number string

// Raw is the valid JSON text of an object or array, without surrounding white
// space.
type Raw string

// Object is a JSON object with ordered keys. The zero value is empty.
type Object struct {
	keys  []string
	vals  []any
	index map[string]int // only beyond linearKeys
}

const linearKeys = 12

// Len returns the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// Keys returns the keys in order. Callers must not modify the slice.
func (o *Object) Keys() []string { return o.keys }

// At returns the i-th key and value.
func (o *Object) At(i int) (string, any) { return o.keys[i], o.vals[i] }

// Get returns the value of a key and whether the key is present.
func (o *Object) Get(key string) (any, bool) {
	if i := o.find(key); i >= 0 {
		return o.vals[i], true
	}
	return nil, false
}

// Set appends a key, or replaces its value in place.
func (o *Object) Set(key string, v any) {
	if i := o.find(key); i >= 0 {
		o.vals[i] = v
		return
	}
	o.keys = append(o.keys, key)
	o.vals = append(o.vals, v)
	if o.index != nil {
		o.index[key] = len(o.keys) - 1
	} else if len(o.keys) > linearKeys {
		o.index = make(map[string]int, 2*len(o.keys))
		for i, k := range o.keys {
			o.index[k] = i
		}
	}
}

func (o *Object) find(key string) int {
	if o.index != nil {
		if i, ok := o.index[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range o.keys {
		if k == key {
			return i
		}
	}
	return -1
}

// Copy returns a shallow copy.
func (o *Object) Copy() *Object {
	c := &Object{}
	for i, k := range o.keys {
		c.Set(k, o.vals[i])
	}
	return c
}

// Each calls f for the members of valid JSON text, in order, until f returns
// false. Nested objects and arrays are Raw. Each reports whether the text is an
// object.
func Each(text string, f func(key string, v any) bool) bool {
	r := gjson.Parse(text)
	if !r.IsObject() {
		return false
	}
	r.ForEach(func(k, v gjson.Result) bool { return f(k.String(), fromResult(v)) })
	return true
}

// EachElement calls f for the elements of valid JSON text, in order, until f
// returns false. It reports whether the text is an array.
func EachElement(text string, f func(element string) bool) bool {
	r := gjson.Parse(text)
	if !r.IsArray() {
		return false
	}
	r.ForEach(func(_, v gjson.Result) bool { return f(v.Raw) })
	return true
}

// Parse returns the value of valid JSON text. Objects and arrays stay Raw until
// they are decoded.
func Parse(text string) any { return fromResult(gjson.Parse(text)) }

// Decode decodes one level of a Raw into *Object or []any; nested objects and
// arrays stay Raw. It returns every other value unchanged.
func Decode(v any) any {
	raw, ok := v.(Raw)
	if !ok {
		return v
	}
	r := gjson.Parse(string(raw))
	if r.IsArray() {
		list := []any{}
		r.ForEach(func(_, e gjson.Result) bool { list = append(list, fromResult(e)); return true })
		return list
	}
	o := &Object{}
	r.ForEach(func(k, e gjson.Result) bool { o.Set(k.String(), fromResult(e)); return true })
	return o
}

// Key returns the value of a key of an object. ok is false if v is not an
// object or has no such key.
func Key(v any, key string) (any, bool) {
	if o, ok := Decode(v).(*Object); ok {
		return o.Get(key)
	}
	return nil, false
}

// fromResult returns the value of a gjson result, or nil if it does not exist.
func fromResult(r gjson.Result) any {
	switch r.Type {
	case gjson.True:
		return true
	case gjson.False:
		return false
	case gjson.Number:
		return Number(strings.TrimSpace(r.Raw))
	case gjson.String:
		return r.Str
	case gjson.JSON:
		return Raw(strings.TrimSpace(r.Raw))
	}
	return nil
}

// TypeName returns the name that authors use for the type of v: null, boolean,
// number, text, list or object.
func TypeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "text"
	case Number:
		return "number"
	case []any:
		return "list"
	case *Object:
		return "object"
	case Raw:
		if len(v) > 0 && v[0] == '[' {
			return "list"
		}
		return "object"
	}
	return fmt.Sprintf("%T", v)
}

// Plain returns v as map[string]any, []any and json.Number, for libraries that
// need them.
func Plain(v any) any {
	switch v := Decode(v).(type) {
	case Number:
		return json.Number(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Plain(e)
		}
		return out
	case *Object:
		out := make(map[string]any, v.Len())
		for i, k := range v.keys {
			out[k] = Plain(v.vals[i])
		}
		return out
	default:
		return v
	}
}

// FromPlain converts the result of Plain, and Go's integers and strings, to a
// value. The keys of maps are sorted.
func FromPlain(v any) any {
	switch v := v.(type) {
	case json.Number:
		return Number(v)
	case int:
		return Number(strconv.Itoa(v))
	case int64:
		return Number(strconv.FormatInt(v, 10))
	case float64:
		return Number(strconv.FormatFloat(v, 'f', -1, 64))
	case []string:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = e
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = FromPlain(e)
		}
		return out
	case map[string]string:
		o := &Object{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o.Set(k, v[k])
		}
		return o
	case map[string]any:
		o := &Object{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			o.Set(k, FromPlain(v[k]))
		}
		return o
	default:
		return v
	}
}

// AppendJSON appends a value as JSON text without white space.
func AppendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case string:
		return AppendString(dst, v)
	case Number:
		return append(dst, v...)
	case Raw:
		return append(dst, v...)
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendJSON(dst, e)
		}
		return append(dst, ']')
	case *Object:
		dst = append(dst, '{')
		for i, k := range v.keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(dst, k)
			dst = append(dst, ':')
			dst = AppendJSON(dst, v.vals[i])
		}
		return append(dst, '}')
	}
	panic(fmt.Sprintf("document: %T is not a value", v))
}

const hexDigits = "0123456789abcdef"

// AppendString appends a JSON string. It escapes only characters that JSON
// requires to be escaped and the two line separators that JavaScript rejects.
// Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[start:i]...)
			switch r {
			case '\u2028':
				dst = append(dst, `\u2028`...)
			case '\u2029':
				dst = append(dst, `\u2029`...)
			default:
				dst = append(dst, "\uFFFD"...)
			}
			i += n
			start = i
			continue
		}
		i += n
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Shared returns the bytes of a string without a copy. They must not be modified.
func Shared(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf reads bytes that nobody changes any more as a string, without a copy.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
