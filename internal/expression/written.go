package expression

import (
	"strings"

	"valence/internal/document"
	"valence/internal/spec"
)

// ParamsKey is the key for the values of a statement in the result of Written.
const ParamsKey = "params"

// written stores a statement as it is written.
func (u *unit) written(text string, parts []part) {
	if u.statements == nil {
		u.statements = map[string]string{}
	}
	var texts []string
	last := ""
	for _, p := range parts {
		if p.expr {
			texts, last = append(texts, last), ""
			continue
		}
		last += p.text
	}
	u.statements[statementKey(append(texts, last))] = text
}

// statementKey identifies a statement by its texts.
func statementKey(texts []string) string { return strings.Join(texts, "\x00") }

// Written returns settings that the template has evaluated to, for people: each
// SQL statement is its text as it is written, and `params` has the list of its
// values. For a statement that runs for each element of a list, `params` has
// such a list per element.
func (t *Template) Written(settings *document.Object) *document.Object {
	if t == nil || settings == nil || t.u.statements == nil {
		return settings
	}
	return t.u.writtenObject(settings)
}

func (u *unit) writtenObject(o *document.Object) *document.Object {
	out := &document.Object{}
	for i := range o.Len() {
		key, v := o.At(i)
		v = document.Decode(v)
		source, values, ok := u.statement(v)
		switch {
		case !ok && (key != "each" || !u.perElement(o)):
			out.Set(key, u.writtenValue(v))
		case !ok:
		default:
			out.Set(key, source)
			if values == nil {
				values = elementValues(o)
			}
			if len(values) > 0 {
				out.Set(ParamsKey, values)
			}
		}
	}
	return out
}

func (u *unit) writtenValue(v any) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		return u.writtenObject(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = u.writtenValue(e)
		}
		return out
	default:
		return v
	}
}

// statement returns the statement that a value stands for. values is nil if the
// statement runs for each element of a list.
func (u *unit) statement(v any) (source string, values []any, ok bool) {
	list, isList := v.([]any)
	if !isList || len(list) == 0 {
		return "", nil, false
	}
	only := len(list) > 1 && document.Decode(list[0]) == any(TextsOnly)
	if only {
		list = list[1:]
	} else {
		values = []any{}
	}
	var texts []string
	for i, e := range list {
		e = document.Decode(e)
		if i%2 == 1 && !only {
			values = append(values, e)
			continue
		}
		text, isText := e.(string)
		if !isText {
			return "", nil, false
		}
		texts = append(texts, text)
	}
	source, ok = u.statements[statementKey(texts)]
	return source, values, ok
}

// perElement reports whether an object has a statement that runs for each
// element of a list.
func (u *unit) perElement(o *document.Object) bool {
	for i := range o.Len() {
		_, v := o.At(i)
		if _, values, ok := u.statement(document.Decode(v)); ok && values == nil {
			return true
		}
	}
	return false
}

// elementValues returns the values of a statement for each element of its list.
func elementValues(o *document.Object) []any {
	v, _ := o.Get("each")
	list, _ := document.Decode(v).([]any)
	out := make([]any, len(list))
	for i, e := range list {
		if element, ok := document.Decode(e).(*document.Object); ok {
			out[i], _ = element.Get(spec.EachValues)
		}
	}
	return out
}
