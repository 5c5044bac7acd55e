package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"valence/internal/cli/project"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/mask"
)

// hider replaces the values and secrets of this machine by the placeholders of
// tests, and other credentials by mask.Text.
type hider struct {
	env, secrets map[string]string
	whole        map[string]string // placeholders by text
	parts        *strings.Replacer // of values that texts contain
	masks        *mask.Set
	placeholders []string
	hidden       bool // whether a value has no placeholder of its own
}

// credential matches the names of members, headers and parameters whose values
// are credentials.
var credential = regexp.MustCompile(`(?i)^(.*(password|passwd|passphrase|secret|credential|authenticat|authoriz|api[-_]?key|private[-_]?key|signature|cookie).*|(.*[-_@:.])?(auth|token|jwt|pin|pwd)|.*(access|refresh|id|session|csrf|bearer|auth|api|user|client)token|(?-i:.*[a-z0-9](Token|Pwd)))$`)

var (
	textName  = regexp.MustCompile(`[A-Za-z0-9_.-]+`)
	textValue = regexp.MustCompile(`^["']?(?:[ \t]*=[ \t]*(?:"[^"]*"|'[^']*'|[^\s&]*)|[ \t]*:[ \t]*(?:"[^"]*"|'[^']*'|[^\r\n]*))`)
	textMark  = regexp.MustCompile(`^["']?[ \t]*[=:][ \t]*`)
)

// redacted stands for values that a process redacts.
const redacted = "[redacted]"

func newHider(p *project.Opened) *hider {
	h := &hider{env: texts(p.Values.Env), secrets: texts(p.Values.Secrets), whole: map[string]string{}, masks: p.Masks}
	type part struct{ value, placeholder string }
	var parts []part
	add := func(values map[string]string, kind string) {
		for name, v := range values {
			placeholder := kind + "." + name
			h.placeholders = append(h.placeholders, placeholder)
			if kind == "secret" && v != "" {
				h.whole[v] = placeholder
			}
			if len(v) >= mask.MinLength {
				parts = append(parts, part{v, placeholder})
			}
		}
	}
	add(h.env, "env")
	add(h.secrets, "secret")
	slices.SortFunc(parts, func(a, b part) int {
		if n := len(b.value) - len(a.value); n != 0 {
			return n
		}
		return strings.Compare(b.placeholder, a.placeholder) // a secret before a value
	})
	var pairs []string
	for _, p := range parts {
		pairs = append(pairs, p.value, p.placeholder)
	}
	h.parts = strings.NewReplacer(pairs...)
	h.placeholders = append(h.placeholders, redacted)
	return h
}

func texts(o *document.Object) map[string]string {
	m := map[string]string{}
	for i := range o.Len() {
		name, v := o.At(i)
		m[name] = fmt.Sprint(v)
	}
	return m
}

// text returns a text with placeholders.
func (h *hider) text(s string) string {
	if p, ok := h.whole[s]; ok {
		return p
	}
	return h.masks.String(h.parts.Replace(s))
}

// holds reports whether a text has a placeholder.
func (h *hider) holds(s string) bool {
	return slices.ContainsFunc(h.placeholders, func(p string) bool { return strings.Contains(s, p) })
}

// member returns a text that has a name.
func (h *hider) member(name, s string) string {
	if credential.MatchString(name) && s != "" {
		return mask.Text
	}
	return h.text(s)
}

// content returns a text with placeholders, in which the values after the names of
// credentials, such as password=abc, are masked: the value of = ends with a space
// or an &, that of : with the line.
func (h *hider) content(s string) string {
	var b strings.Builder
	end := 0
	for _, at := range textName.FindAllStringIndex(s, -1) {
		if at[0] < end || !credential.MatchString(s[at[0]:at[1]]) {
			continue
		}
		rest := s[at[1]:]
		value, mark := textValue.FindString(rest), textMark.FindString(rest)
		if len(value) == len(mark) {
			continue
		}
		h.hidden = true
		b.WriteString(s[end:at[1]] + mark + mask.Text)
		end = at[1] + len(value)
	}
	return h.text(b.String() + s[end:])
}

// csv returns a text of CSV with these data, without credentials.
func (h *hider) csv(text string, data []byte) string {
	if _, isList := document.Decode(document.Parse(string(data))).([]any); !isList {
		return text
	}
	shown := h.json(document.Parse(string(data)))
	if bytes.Equal(shown, data) {
		return text
	}
	hidden, err := convert.JSONToCSV(context.Background(), string(shown), true, ',')
	if err != nil {
		return mask.Text
	}
	return string(hidden)
}

// value returns a value with placeholders.
func (h *hider) value(v any) any { return h.masked(v, false) }

// masked returns a value with placeholders. In a credential, everything but
// booleans is masked.
func (h *hider) masked(v any, secret bool) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		out := &document.Object{}
		for i := range v.Len() {
			name, e := v.At(i)
			out.Set(h.text(name), h.masked(e, secret || credential.MatchString(name)))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = h.masked(e, secret)
		}
		return out
	case string:
		h.hidden = h.hidden || secret || strings.Contains(v, redacted)
		if secret && v != "" {
			return mask.Text
		}
		return h.text(v)
	case document.Number:
		if secret {
			h.hidden = true
			return mask.Text
		}
		if p := h.text(string(v)); p != string(v) {
			return p
		}
		return v
	default:
		return v
	}
}

// json returns the JSON of a value with placeholders.
func (h *hider) json(v any) []byte { return document.AppendJSON(nil, h.value(v)) }

// settled collects the fields that a test does not expect.
type settled struct {
	hide    *hider
	leftOut []string
}

const (
	because        = " changes with each run"
	becauseMissing = " is missing in the run with mocks, or in the recording"
)

func (s *settled) drop(at, why string) (any, bool) {
	s.leftOut = append(s.leftOut, at+why)
	return nil, false
}

// value returns the parts of a value that are the same in the recorded run and in
// the run with mocks. ok is false if nothing is left. Credentials are left out.
func (s *settled) value(at string, real, mock any) (kept any, ok bool) {
	real, mock = document.Decode(real), document.Decode(mock)
	switch m := mock.(type) {
	case *document.Object:
		r, isObject := real.(*document.Object)
		if !isObject {
			return s.drop(at, because)
		}
		out := &document.Object{}
		for i := range m.Len() {
			name, v := m.At(i)
			field := at + "." + name
			other, has := r.Get(name)
			switch {
			case credential.MatchString(name) && document.Decode(v) != nil:
				s.drop(field, " is a credential")
			case !has:
				s.drop(field, becauseMissing)
			default:
				if v, ok := s.value(field, other, v); ok {
					out.Set(name, v)
				}
			}
		}
		return out, out.Len() > 0 || m.Len() == 0
	case []any:
		r, isList := real.([]any)
		if !isList || len(r) != len(m) {
			return s.drop(at, because)
		}
		out := make([]any, len(m))
		for i := range m {
			v, ok := s.value(at+"["+strconv.Itoa(i)+"]", r[i], m[i])
			if !ok {
				return nil, false // a list is compared as a whole
			}
			out[i] = v
		}
		return out, true
	}
	if real == redacted && mock != real {
		return s.drop(at, " is redacted")
	}
	a, b := string(s.hide.json(real)), string(s.hide.json(mock))
	if text, isText := mock.(string); a != b && (!isText || !s.hide.holds(text)) {
		return s.drop(at, because)
	}
	return s.hide.value(mock), true
}

// isJSON reports whether a text is one JSON value.
func isJSON(text []byte) bool { return json.Valid(text) }
