package spec

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// kinds holds the name of each type in the reference, its form in messages and
// an example.
var kinds = map[Kind]struct{ name, noun, example string }{
	KindString:    {"string", "a string", "some text"},
	KindInt:       {"integer", "an integer", "4"},
	KindBool:      {"boolean", "true or false", "true"},
	KindDuration:  {"duration", "a duration", "10s"},
	KindSize:      {"size", "a size", "10MiB"},
	KindRate:      {"rate", "a rate", "50/s"},
	KindEnum:      {"string", "one of a few values", ""},
	KindName:      {"name", "a name", "order_total"},
	KindStrings:   {"string or list of strings", "a string or a list of strings", "[one, two]"},
	KindDurations: {"duration or list of durations", "a duration or a list of durations", "[1s, 10s]"},
	KindStringMap: {"map of strings", "a map of strings", "{ name: text }"},
	KindAny:       {"any", "a value", "value"},
	KindPath:      {"URL path", "a URL path", "/orders/${doc.id}"},
	KindFile:      {"file path", "the path of a file", "orders/4711.json"},
	KindRef:       {"name", "the name of a component", "order"},
	KindObject:    {"map", "a map", "{ … }"},
	KindObjects:   {"list of maps", "a list of maps", "[{ … }]"},
	KindSQL:       {"SQL statement", "an SQL statement that is written in the project", "select * from orders where id = ${doc.id}"},
	KindEach:      {"list expression", "an expression that returns a list", "${doc.items}"},
	KindExpr:      {"expression", "an expression", "${doc.id}"},
	KindExprs:     {"map of expressions", "a map of expressions", "{ order: \"${doc.id}\" }"},
	KindTemplate:  {"template", "a template", "{ id: \"${doc.id}\" }"},
	KindSteps:     {"list of steps", "a list of steps", "[{ log: done }]"},
	KindPaths:     {"map of lists of steps", "a map of lists of steps", "{ one: [{ log: one }], two: [{ log: two }] }"},
	KindOperation: {"`connection.operation`", "`connection.operation`", "shop.get"},
	KindWith:      {"map", "a map", "{ path: /orders }"},
	KindRetry:     {"retry policy", "a retry policy", "{ max_attempts: 5, backoff: 1s..1m }"},
	KindAccept:    {"list of statuses", "a list of statuses", "[2xx, 404]"},
	KindLater:     {"not supported", "not supported", ""},
}

// typeName returns the type of a field as shown in the reference.
func typeName(info *Info) string {
	switch {
	case info.Type != "":
		return info.Type
	case info.Kind == KindRef && info.Of != "":
		return "name of " + article(info.Of)
	case info.Kind == KindExpr && info.Want == Boolean:
		return "boolean or expression"
	case info.Kind == KindExpr && info.Want == Number:
		return "number or expression"
	case info.Kind == KindExpr && info.Want == List:
		return "list expression"
	}
	return kinds[info.Kind].name
}

// noun returns the type of a field for messages, with its article.
func noun(info *Info) string {
	switch {
	case info.Kind == KindEnum:
		return "one of " + strings.Join(info.Enum, ", ")
	case info.Kind == KindRef && info.Of != "":
		return "the name of " + article(info.Of)
	case info.Kind == KindExpr && info.Want == Boolean:
		return "a boolean or an expression that returns one"
	case info.Kind == KindExpr && info.Want == Number:
		return "a number or an expression that returns one"
	case info.Kind == KindExpr && info.Want == List:
		return "an expression that returns a list"
	}
	return kinds[info.Kind].noun
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// Example returns an example value of a field in YAML.
func Example(info *Info) string {
	switch {
	case info.Sample != "":
		return info.Sample
	case info.Secret:
		return "${secret.NAME}"
	case info.Kind == KindEnum && len(info.Enum) > 0:
		return info.Enum[0]
	case info.Kind == KindStrings && len(info.Enum) > 1:
		return "[" + info.Enum[0] + ", " + info.Enum[1] + "]"
	case info.Kind == KindInt && info.Min != "" && len(info.Min) > 1:
		return info.Min
	case info.Kind == KindObject && len(info.Fields) > 0:
		return exampleMap(info.Fields)
	case info.Kind == KindObjects && len(info.Fields) > 0:
		return "[" + exampleMap(info.Fields) + "]"
	case info.Kind == KindExpr && info.Want == Boolean:
		return "${doc.total > 100}"
	case info.Kind == KindExpr && info.Want == List:
		return "${doc.items}"
	case info.Kind == KindExpr && info.Want == Number:
		return "201"
	}
	return kinds[info.Kind].example
}

// exampleMap returns a map with the required keys, or with the first key that has
// an example.
func exampleMap(fields []Field) string {
	var pairs []string
	for _, f := range fields {
		if info := f.Info(); info.Required {
			pairs = append(pairs, info.Key+": "+inFlow(Example(info)))
		}
	}
	for i := 0; len(pairs) == 0 && i < len(fields); i++ {
		if info := fields[i].Info(); Example(info) != "" {
			pairs = append(pairs, info.Key+": "+inFlow(Example(info)))
		}
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

// inFlow quotes an example that cannot stand inside { } as it is.
func inFlow(example string) string {
	if strings.ContainsAny(example, "{}[],") && !strings.HasPrefix(example, "{ ") && !strings.HasPrefix(example, "[") && !strings.HasPrefix(example, `"`) {
		return `"` + strings.ReplaceAll(example, `"`, `\"`) + `"`
	}
	return example
}

// expects returns the hint for an invalid value.
func expects(info *Info) string {
	s := "write " + noun(info)
	switch {
	case info.Min != "" && info.Max != "":
		s += " from " + info.Min + " to " + info.Max
	case info.Min != "":
		s += " of at least " + info.Min
	case info.Max != "":
		s += " of at most " + info.Max
	}
	if e := Example(info); e != "" && info.Kind != KindEnum {
		s += ", such as `" + info.Key + ": " + e + "`"
	}
	return s
}

// Noun returns the type of a field for messages, with its article.
func Noun(info *Info) string { return noun(info) }

// Expects returns the hint for an invalid value of a field.
func Expects(info *Info) string { return expects(info) }

// BadName reports a name that expressions cannot read.
func (d *Decoder) BadName(n *yaml.Node, name string) {
	hint := "use lower-case letters, digits and `_`, starting with a letter"
	if fixed := nameLike(name, '_'); fixed != "" {
		hint = "write `" + fixed + "`"
	}
	d.problem(n, CodeBadName, "`"+Clip(name)+"` is not a valid name: expressions cannot read it", hint).Correct(name, nameLike(name, '_'))
}

// BadComponentName reports an invalid name of a component.
func (d *Decoder) BadComponentName(n *yaml.Node, name string) {
	hint := "use lower-case letters, digits and `-`, starting with a letter"
	if fixed := nameLike(name, '-'); fixed != "" {
		hint = "write `" + fixed + "`"
	}
	d.problem(n, CodeBadName, "`"+Clip(name)+"` is not a valid component name", hint).Correct(name, nameLike(name, '-'))
}

// nameLike returns the valid name closest to s, or "" if there is none.
func nameLike(s string, joiner byte) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case 'A' <= c && c <= 'Z':
			if i > 0 && s[i-1] >= 'a' && s[i-1] <= 'z' {
				b = append(b, joiner)
			}
			b = append(b, c+'a'-'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9' && len(b) > 0:
			b = append(b, c)
		case (c == '-' || c == '_' || c == ' ' || c == '.') && len(b) > 0 && b[len(b)-1] != joiner:
			b = append(b, joiner)
		case c >= 0x80:
			return ""
		}
	}
	name := strings.TrimRight(string(b), string(joiner))
	if !isName(name, joiner) || len(name) > 40 {
		return ""
	}
	return name
}
