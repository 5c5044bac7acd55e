package convert

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// FormToJSON reads an application/x-www-form-urlencoded body (WHATWG URL,
// section 5.1) as an object of text, in the order of the fields; a field that
// is repeated becomes a list at the place of the first.
func FormToJSON(b []byte) ([]byte, error) {
	values := map[string][]string{}
	var names []string
	for at, count := 0, 0; at < len(b); {
		end := len(b)
		if i := bytes.IndexByte(b[at:], '&'); i >= 0 {
			end = at + i
		}
		if count++; count > MaxElements {
			return nil, errorAt(b, at, "", "the form has more than %d fields", MaxElements)
		}
		if end > at {
			eq := bytes.IndexByte(b[at:end], '=')
			valueAt := end
			if eq >= 0 {
				valueAt = at + eq + 1
			} else {
				eq = end - at
			}
			name, err := formText(b, at, at+eq)
			if err != nil {
				return nil, err
			}
			text, err := formText(b, valueAt, end)
			if err != nil {
				return nil, err
			}
			if _, ok := values[name]; !ok {
				names = append(names, name)
			}
			values[name] = append(values[name], text)
		}
		at = end + 1
	}
	out := append(make([]byte, 0, 2*len(b)+2), '{')
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendText(out, name), ':')
		if same := values[name]; len(same) == 1 {
			out = appendText(out, same[0])
		} else {
			out = appendRow(out, nil, same)
		}
	}
	return append(out, '}'), nil
}

// formText decodes b[from:to].
func formText(b []byte, from, to int) (string, error) {
	out := make([]byte, 0, to-from)
	for i := from; i < to; i++ {
		switch ch := b[i]; ch {
		case '+':
			out = append(out, ' ')
		case '%':
			hi, lo := -1, -1
			if i+2 < to {
				hi, lo = hexDigit(b[i+1]), hexDigit(b[i+2])
			}
			if hi < 0 || lo < 0 {
				return "", errorAt(b, i, "", "%% needs two hexadecimal digits")
			}
			out = append(out, byte(hi<<4|lo))
			i += 2
		default:
			out = append(out, ch)
		}
	}
	if !utf8.Valid(out) {
		return "", errorAt(b, from, "", "the text that starts here is not UTF-8")
	}
	return string(out), nil
}

func hexDigit(ch byte) int {
	switch {
	case ch >= '0' && ch <= '9':
		return int(ch - '0')
	case ch >= 'a' && ch <= 'f':
		return int(ch-'a') + 10
	case ch >= 'A' && ch <= 'F':
		return int(ch-'A') + 10
	}
	return -1
}

// JSONToForm writes an object as application/x-www-form-urlencoded, in the
// order of its keys. A list repeats its field, null is left out. An object, or
// a list in a list, is an error.
func JSONToForm(data string) ([]byte, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	if v.kind() != jsonObject {
		return nil, pathError(nil, "a form is written from an object")
	}
	var out []byte
	field := func(name string, v value) error {
		switch v.kind() {
		case jsonNull:
			return nil
		case jsonArray, jsonObject:
			return pathError([]string{name}, "a field of a form is text, or a list of texts")
		}
		if len(out) > 0 {
			out = append(out, '&')
		}
		out = append(appendForm(out, name), '=')
		out = appendForm(out, v.text())
		return nil
	}
	err = v.each(func(name string, v value) error {
		if v.kind() == jsonArray {
			return v.each(func(_ string, e value) error { return field(name, e) })
		}
		return field(name, v)
	})
	return out, err
}

func appendForm(dst []byte, s string) []byte {
	for _, ch := range []byte(s) {
		switch {
		case ch == ' ':
			dst = append(dst, '+')
		case ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || strings.IndexByte("*-._", ch) >= 0:
			dst = append(dst, ch)
		default:
			dst = append(dst, '%', upperHex[ch>>4], upperHex[ch&15])
		}
	}
	return dst
}

const upperHex = "0123456789ABCDEF"
