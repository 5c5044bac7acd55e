package spec

import "valence/internal/document"

// Statement is an SQL statement with values between its texts, which never
// become a part of it. There is one text more than there are values, unless the
// statement runs for each element of a list, which then has the values.
type Statement struct {
	Texts  []string
	Values []any
}

// SQL declares an SQL statement that is written in the project. Each ${} in it
// is a value.
func SQL[T any](key string, ptr func(*T) *Statement, doc string) *Value[T, Statement] {
	return value(KindSQL, key, ptr, doc, codec[Statement]{
		source: func(s string) Statement { return Statement{Texts: []string{s}} },
		read: func(d *Decoder, info *Info, n node) (Statement, bool) {
			switch {
			case n.y != nil && n.shape() == TextShape:
				return Statement{Texts: []string{unescape(n.text())}}, true
			case n.y == nil && n.shape() == ListShape:
				return readStatement(n)
			}
			d.wrongType(n, info)
			return Statement{}, false
		}})
}

// readStatement reads a statement as package expression evaluates it: its texts
// and values in turn, or only its texts.
func readStatement(n node) (s Statement, ok bool) {
	list := n.v.([]any)
	only := len(list) > 1 && list[0] == any(TextsOnly)
	if only {
		list = list[1:]
	}
	for i, e := range list {
		if i%2 == 1 && !only {
			s.Values = append(s.Values, e)
			continue
		}
		text, isText := e.(string)
		if !isText {
			return s, false
		}
		s.Texts = append(s.Texts, text)
	}
	return s, only || len(s.Texts) == len(s.Values)+1
}

// TextsOnly is the first element of an evaluated statement that has only texts.
const TextsOnly = "\x00texts"

// Each declares the list for whose elements the statement in the same map runs.
// Each element of the decoded list is an Obj with the list of the statement's
// values under EachValues.
func Each[T any](key string, ptr func(*T) *any, doc string) *Value[T, any] {
	f := Any(key, ptr, doc)
	f.info.Kind = KindEach
	return f
}

// EachValues is the key of the values of an element of Each.
const EachValues = "values"

// lateKey is the only key of the placeholder for a value that the connector
// sets.
const lateKey = "\x00late"

// Late returns the placeholder in a Statement for a value that the connector
// sets: of a name, such as cursor, or of a column below it, as in row.id.
func Late(name, column string) any {
	o := &document.Object{}
	o.Set(lateKey, []any{name, column})
	return o
}

// IsLate returns the name and the column of a placeholder.
func IsLate(v any) (name, column string, ok bool) {
	o, _ := document.Decode(v).(*document.Object)
	if o == nil || o.Len() != 1 {
		return "", "", false
	}
	at, _ := o.Get(lateKey)
	if path, _ := document.Decode(at).([]any); len(path) == 2 {
		name, _ = path[0].(string)
		column, _ = path[1].(string)
		return name, column, true
	}
	return "", "", false
}

// LateSample returns an example of a value with a name.
func LateSample(name string) string {
	if name == LateRow {
		return name + ".id"
	}
	return name
}

// The names of values that connectors set.
const (
	LateRow    = "row"    // the row that the statement is about
	LateCursor = "cursor" // the position from which to read
)
