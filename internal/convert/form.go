package convert

import (
	"bytes"
	"context"
	"strings"
	"unicode/utf8"
)

// FormToJSON converts an application/x-www-form-urlencoded body (WHATWG URL,
// section 5.1) to an object of text in field order. A repeated field becomes a
// list in the place of its first occurrence.
func FormToJSON(ctx context.Context, b []byte) ([]byte, error) {
	return formToJSON(ctx, b, Label{})
}

// formToJSON converts a form whose decoded fields are text as l says.
func formToJSON(ctx context.Context, b []byte, l Label) ([]byte, error) {
	values := map[string][]string{}
	var names []string
	m := newMeter(ctx, len(b))
	defer m.finish()
	for at, count := 0, 0; at < len(b); {
		end := len(b)
		if i := bytes.IndexByte(b[at:], '&'); i >= 0 {
			end = at + i
		}
		if count++; count > MaxElements {
			return nil, syntaxError(b, at, "", "the form has more than %d fields", MaxElements)
		}
		if end > at {
			eq := bytes.IndexByte(b[at:end], '=')
			valueAt := end
			if eq >= 0 {
				valueAt = at + eq + 1
			} else {
				eq = end - at
			}
			name, err := formText(ctx, b, at, at+eq, l)
			if err != nil {
				return nil, err
			}
			text, err := formText(ctx, b, valueAt, end, l)
			if err != nil {
				return nil, err
			}
			if err := m.use(fieldBytes + len(name) + len(text)); err != nil {
				return nil, err
			}
			if _, ok := values[name]; !ok {
				names = append(names, name)
			}
			values[name] = append(values[name], text)
		}
		at = end + 1
	}
	if err := m.use(2 * len(b)); err != nil {
		return nil, err
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

// fieldBytes is the approximate memory of a field besides its text.
const fieldBytes = 64

// formText decodes b[from:to].
func formText(ctx context.Context, b []byte, from, to int, l Label) (string, error) {
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
				return "", syntaxError(b, i, "", "%% needs two hexadecimal digits")
			}
			out = append(out, byte(hi<<4|lo))
			i += 2
		default:
			out = append(out, ch)
		}
	}
	if l != (Label{}) {
		var err error
		if out, err = Text(ctx, out, l); err != nil {
			if wrong, ok := err.(*SyntaxError); ok {
				return "", syntaxError(b, from, "", "the text that starts here cannot be read: %s", wrong.Msg)
			}
			return "", err
		}
	}
	if !utf8.Valid(out) {
		return "", syntaxError(b, from, "", "the text that starts here is not valid UTF-8")
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

// JSONToForm converts an object to application/x-www-form-urlencoded in key
// order. A list repeats its field and null is omitted. An object, or a list
// within a list, is an error.
func JSONToForm(ctx context.Context, data string) ([]byte, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	if v.kind() != jsonObject {
		return nil, pathError(nil, "a form must be an object")
	}
	var out []byte
	m := newMeter(ctx, len(data))
	defer m.finish()
	field := func(name string, v value) error {
		if err := m.wrote(len(out) + len(name)); err != nil {
			return err
		}
		switch v.kind() {
		case jsonNull:
			return nil
		case jsonArray, jsonObject:
			return pathError([]string{name}, "a form field must be text or a list of text")
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
	if err != nil {
		return nil, err
	}
	return out, nil
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
