package steps

import (
	"net/http"
	"slices"

	"valence/internal/document"
)

// Headers gives HTTP headers as an object with lower-case names; a header
// that comes several times is joined by ", " as RFC 9110 has it. Hidden ones,
// by their canonical names, are left out.
func Headers(h http.Header, hidden []string) *document.Object {
	o := &document.Object{}
	for _, name := range shown(make([]string, 0, len(h)), h, hidden) {
		o.Set(lower(name), joined(h[name]))
	}
	return o
}

// AppendHeaders writes what Headers gives as JSON. It is written for each
// message, so without what is in between.
func AppendHeaders(dst []byte, h http.Header, hidden []string) []byte {
	var few [16]string
	dst = append(dst, '{')
	for i, name := range shown(few[:0], h, hidden) {
		if i > 0 {
			dst = append(dst, ',')
		}
		at := len(dst)
		dst = document.AppendString(dst, name)
		for i := at; i < len(dst); i++ {
			dst[i] = lowered(dst[i])
		}
		dst = document.AppendString(append(dst, ':'), joined(h[name]))
	}
	return append(dst, '}')
}

// shown appends the names of the headers that are not hidden, in order.
func shown(names []string, h http.Header, hidden []string) []string {
	for name := range h {
		if !slices.Contains(hidden, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func joined(values []string) string {
	if len(values) == 0 {
		return ""
	}
	text := values[0]
	for _, v := range values[1:] {
		text += ", " + v
	}
	return text
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
