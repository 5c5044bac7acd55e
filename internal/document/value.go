package document

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"
)

// A value is one of
//
//	nil, bool, string
//	Number    a JSON number exactly as it was written
//	Raw       a JSON object or array not looked into yet
//	[]any     an array
//	*Object   an object, its keys in order
//
// and nothing else. Raw and its decoded form are the same value.

// Number is a JSON number with its text: any length, any number of zeros.
type Number string

// Raw is the valid JSON text of one object or one array, without space around it.
type Raw string

// Object is a JSON object that keeps the order of its keys. The zero value is empty.
type Object struct {
	keys  []string
	vals  []any
	index map[string]int // only beyond linearKeys
}

const linearKeys = 12

// Len is the number of keys.
func (o *Object) Len() int { return len(o.keys) }

// Keys gives the keys in order. Callers must not change them.
func (o *Object) Keys() []string { return o.keys }

// At gives the i-th key and value.
func (o *Object) At(i int) (string, any) { return o.keys[i], o.vals[i] }

// Get gives the value of a key, and whether it is there.
func (o *Object) Get(key string) (any, bool) {
	if i := o.find(key); i >= 0 {
		return o.vals[i], true
	}
	return nil, false
}

// Set adds a key at the end, or replaces its value where it stands.
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

// Copy gives an object of its own with the same keys and values.
func (o *Object) Copy() *Object {
	c := &Object{}
	for i, k := range o.keys {
		c.Set(k, o.vals[i])
	}
	return c
}

// Each calls f with the members of valid JSON text, in order, until f gives
// false. Objects and arrays among them are Raw. It is false if the text is not
// an object.
func Each(text string, f func(key string, v any) bool) bool {
	r := gjson.Parse(text)
	if !r.IsObject() {
		return false
	}
	r.ForEach(func(k, v gjson.Result) bool { return f(k.String(), fromResult(v)) })
	return true
}

// Parse gives the value of valid JSON text. Objects and arrays stay Raw until
// something looks into them.
func Parse(text string) any { return fromResult(gjson.Parse(text)) }

// Decode looks one level into a Raw: *Object or []any, whose own objects and
// arrays are still Raw. Every other value is returned as it is.
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

// Key reads one key of an object. The second result is false where v has no
// such key or is no object.
func Key(v any, key string) (any, bool) {
	if o, ok := Decode(v).(*Object); ok {
		return o.Get(key)
	}
	return nil, false
}

// FromResult gives what gjson found as a value; nil if it found nothing.
func FromResult(r gjson.Result) any { return fromResult(r) }

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

// TypeName is what an author calls the type of v: null, boolean, number, text, list or object.
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

// Plain gives Go's own map[string]any, []any and json.Number for libraries that want them.
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

// FromPlain takes what Plain gives, and Go's integers and strings, as a value;
// the keys of maps are sorted.
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
		for _, k := range sortedKeys(v) {
			o.Set(k, v[k])
		}
		return o
	case map[string]any:
		o := &Object{}
		for _, k := range sortedKeys(v) {
			o.Set(k, FromPlain(v[k]))
		}
		return o
	default:
		return v
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// AppendJSON writes a value as JSON text without space.
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

// AppendString writes a JSON string. Only what JSON requires is escaped, and
// the two line separators that JavaScript does not take; bytes that are not
// UTF-8 become U+FFFD.
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

// str reads bytes that nobody changes any more as a string, without a copy.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
