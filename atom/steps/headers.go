package steps

import (
	"net/http"
	"slices"
	"unicode/utf8"

	"valence/internal/document"
)

// Headers returns HTTP headers as an object with lower-case names. A repeated
// header is a list. It omits the hidden ones, which are given by canonical name.
func Headers(h http.Header, hidden []string) *document.Object {
	o := &document.Object{}
	for _, name := range visible(make([]string, 0, len(h)), h, hidden) {
		if values := h[name]; len(values) == 1 {
			o.Set(lower(name), fieldText(values[0]))
		} else {
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = fieldText(v)
			}
			o.Set(lower(name), list)
		}
	}
	return o
}

// AppendHeaders appends the result of Headers as JSON. It runs for every
// message, so it does not build the object.
func AppendHeaders(dst []byte, h http.Header, hidden []string) []byte {
	var few [16]string
	dst = append(dst, '{')
	for i, name := range visible(few[:0], h, hidden) {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := len(dst)
		dst = document.AppendString(dst, name)
		for i := at; i < len(dst); i++ {
			dst[i] = lowered(dst[i])
		}
		dst = appendField(append(dst, ':'), h[name])
	}
	return append(dst, '}')
}

// visible appends the names of the headers that are not hidden, in order.
func visible(names []string, h http.Header, hidden []string) []string {
	for name := range h {
		if !slices.Contains(hidden, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// appendField appends the text of a header that occurs once, or a list.
func appendField(dst []byte, values []string) []byte {
	if len(values) == 1 {
		return document.AppendString(dst, fieldText(values[0]))
	}
	dst = append(dst, '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = document.AppendString(dst, fieldText(v))
	}
	return append(dst, ']')
}

// fieldText returns the value of a header as text: UTF-8 or, as in old HTTP,
// ISO-8859-1 (RFC 9110, section 5.5).
func fieldText(v string) string {
	if utf8.ValidString(v) {
		return v
	}
	out := make([]byte, 0, len(v)+8)
	for i := range len(v) {
		out = utf8.AppendRune(out, rune(v[i]))
	}
	return string(out)
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowered(c)
	}
	return string(b)
}

func lowered(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
