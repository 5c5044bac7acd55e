package convert

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is the type of a JSON value.
type kind byte

const (
	jsonNull kind = iota
	jsonBool
	jsonNumber
	jsonText
	jsonArray
	jsonObject
)

// text is valid JSON text with the positions of its objects and arrays. They
// make skipping a value independent of its size, so that visiting a nested
// document costs time proportional to its length and not to its depth.
type text struct {
	src   string
	start []int // of each object and array, ascending
	end   []int // the index after each
}

// value is one value within a text.
type value struct {
	t        *text
	from, to int
}

// parse checks JSON text and returns its value.
func parse(data string) (value, error) {
	if err := CheckJSON([]byte(data)); err != nil {
		return value{}, err
	}
	t := &text{src: data}
	var open []int
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfString(data, i) - 1
		case '{', '[':
			open = append(open, len(t.start))
			t.start, t.end = append(t.start, i), append(t.end, 0)
		case '}', ']':
			t.end[open[len(open)-1]] = i + 1
			open = open[:len(open)-1]
		}
	}
	from := t.space(0)
	return value{t, from, t.skip(from)}, nil
}

func (v value) kind() kind {
	switch v.t.src[v.from] {
	case '{':
		return jsonObject
	case '[':
		return jsonArray
	case '"':
		return jsonText
	case 't', 'f':
		return jsonBool
	case 'n':
		return jsonNull
	}
	return jsonNumber
}

// text returns the content of a string, the digits of a number, true or false,
// and "" for null. v must not be an object or an array.
func (v value) text() string {
	switch v.kind() {
	case jsonText:
		return unescape(v.t.src[v.from+1 : v.to-1])
	case jsonNull:
		return ""
	}
	return v.t.src[v.from:v.to]
}

// empty reports whether an array or object has no members.
func (v value) empty() bool {
	c := v.t.src[v.t.space(v.from+1)]
	return c == ']' || c == '}'
}

// each calls f for the members of an object or the elements of an array, in
// order, until f fails. The key of an element is "".
func (v value) each(f func(key string, member value) error) error {
	t := v.t
	object := t.src[v.from] == '{'
	for i := t.space(v.from + 1); t.src[i] != '}' && t.src[i] != ']'; {
		var key string
		if object {
			end := t.skip(i)
			key = unescape(t.src[i+1 : end-1])
			i = t.space(t.space(end) + 1)
		}
		end := t.skip(i)
		if err := f(key, value{t, i, end}); err != nil {
			return err
		}
		if i = t.space(end); t.src[i] == ',' {
			i = t.space(i + 1)
		}
	}
	return nil
}

// space returns the index of the next character that is not white space.
func (t *text) space(i int) int {
	for i < len(t.src) && t.src[i] <= ' ' {
		i++
	}
	return i
}

// skip returns the index after the value that starts at i.
func (t *text) skip(i int) int {
	switch s := t.src; s[i] {
	case '"':
		return endOfString(s, i)
	case '{', '[':
		at, _ := slices.BinarySearch(t.start, i)
		return t.end[at]
	default:
		for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' && s[i] != ':' {
			i++
		}
		return i
	}
}

// endOfString returns the index after the string that starts at i.
func endOfString(s string, i int) int {
	for i++; s[i] != '"'; i++ {
		if s[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// unescape resolves the escapes in the content of a JSON string.
func unescape(s string) string {
	i := strings.IndexByte(s, '\\')
	if i < 0 {
		return s
	}
	out := make([]byte, i, len(s))
	copy(out, s)
	for i < len(s) {
		if s[i] != '\\' {
			out = append(out, s[i])
			i++
			continue
		}
		switch ch := s[i+1]; ch {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4([]byte(s[i+2 : i+6]))
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4([]byte(s[i+8:i+12])))
				i += 6
			}
			out = utf8.AppendRune(out, r)
			i += 4
		default:
			out = append(out, ch)
		}
		i += 2
	}
	return string(out)
}

// pointerAt returns the RFC 6901 pointer to the value around offset. The text
// must be valid up to offset.
func pointerAt(b []byte, offset int) string {
	type level struct {
		array bool
		index int
		key   string
	}
	var open []level
	key := false // the next string is a key
	for i := 0; i < offset && i < len(b); i++ {
		switch b[i] {
		case '"':
			end := i + 1
			for end < len(b) && b[end] != '"' {
				if b[end] == '\\' {
					end++
				}
				end++
			}
			if end >= offset {
				i = offset
				break
			}
			if key {
				open[len(open)-1].key = unescape(string(b[i+1 : end]))
				key = false
			}
			i = end
		case '{':
			open = append(open, level{key: "\x00"})
			key = true
		case '[':
			open = append(open, level{array: true})
		case '}', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			key = false
		case ',':
			if n := len(open); n > 0 {
				open[n-1].index++
				if key = !open[n-1].array; key {
					open[n-1].key = "\x00"
				}
			}
		}
	}
	path := make([]string, 0, len(open))
	for _, l := range open {
		switch {
		case l.array:
			path = append(path, strconv.Itoa(l.index))
		case l.key != "\x00":
			path = append(path, l.key)
		}
	}
	return pointer(path)
}

const hexDigits = "0123456789abcdef"

// appendText appends a JSON string. s must be UTF-8.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		ch := s[i]
		if ch >= 0x20 && ch != '"' && ch != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch ch {
		case '"', '\\':
			dst = append(dst, '\\', ch)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[ch>>4], hexDigits[ch&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}
