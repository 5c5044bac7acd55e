package convert

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what a JSON value is.
type kind byte

const (
	jsonNull kind = iota
	jsonBool
	jsonNumber
	jsonText
	jsonArray
	jsonObject
)

// value is JSON text that CheckJSON has accepted, without space around it.
type value string

func (v value) kind() kind {
	switch v[0] {
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

// text is the value as text: a string's content, digits as they are written,
// true, false, and "" for null. It must not be an object or an array.
func (v value) text() string {
	switch v.kind() {
	case jsonText:
		return unescape(string(v[1 : len(v)-1]))
	case jsonNull:
		return ""
	}
	return string(v)
}

// parse checks the text and gives it as a value.
func parse(data string) (value, error) {
	if err := CheckJSON([]byte(data)); err != nil {
		return "", err
	}
	return value(strings.Trim(data, " \t\r\n")), nil
}

// each calls f for the members of an object or the elements of an array, in
// order, until f fails. An element's key is "".
func (v value) each(f func(key string, member value) error) error {
	object := v[0] == '{'
	for i := skipSpace(v, 1); v[i] != '}' && v[i] != ']'; {
		var key string
		if object {
			end := skipValue(v, i)
			key = unescape(string(v[i+1 : end-1]))
			i = skipSpace(v, skipSpace(v, end)+1)
		}
		end := skipValue(v, i)
		if err := f(key, v[i:end]); err != nil {
			return err
		}
		if i = skipSpace(v, end); v[i] == ',' {
			i = skipSpace(v, i+1)
		}
	}
	return nil
}

func skipSpace(v value, i int) int {
	for i < len(v) && v[i] <= ' ' {
		i++
	}
	return i
}

// skipValue is the index after the value that starts at i.
func skipValue(v value, i int) int {
	switch v[i] {
	case '"':
		for i++; v[i] != '"'; i++ {
			if v[i] == '\\' {
				i++
			}
		}
		return i + 1
	case '{', '[':
		for depth := 0; ; i++ {
			switch v[i] {
			case '"':
				i = skipValue(v, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(v) && v[i] > ' ' && v[i] != ',' && v[i] != '}' && v[i] != ']' && v[i] != ':' {
		i++
	}
	return i
}

// unescape resolves the escapes of a JSON string's content.
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

// pointerAt is the RFC 6901 pointer to the value that holds offset, in text
// that is valid up to there.
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

// appendText writes a JSON string. s must be UTF-8.
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
