package spec

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// kinds says how each kind is called, and shows a value.
var kinds = map[Kind]struct{ noun, example string }{
	KindString:    {"text", "some text"},
	KindInt:       {"a whole number", "4"},
	KindBool:      {"true or false", "true"},
	KindDuration:  {"a duration", "10s"},
	KindSize:      {"a size", "10MiB"},
	KindRate:      {"a rate", "50/s"},
	KindEnum:      {"one of a few words", ""},
	KindName:      {"a name", "order_total"},
	KindStrings:   {"a text or a list of texts", "[one, two]"},
	KindDurations: {"a duration or a list of durations", "[1s, 10s]"},
	KindStringMap: {"a mapping of names to texts", "{ name: text }"},
	KindAny:       {"a value", "value"},
	KindPath:      {"a URL path", "/orders/${doc.id}"},
	KindRef:       {"the name of a component", "order"},
	KindObject:    {"a mapping", "{ … }"},
	KindExpr:      {"an expression", "${doc.id}"},
	KindExprs:     {"a mapping of names to expressions", "{ order: \"${doc.id}\" }"},
	KindTemplate:  {"a template", "{ id: \"${doc.id}\" }"},
	KindSteps:     {"a list of steps", "[…]"},
	KindPaths:     {"a mapping of names to lists of steps", "{ name: […] }"},
	KindOperation: {"connection.operation", "shop.get"},
	KindWith:      {"a mapping", "{ path: /orders }"},
	KindRetry:     {"a retry policy", "{ max_attempts: 5, backoff: 1s..1m }"},
	KindAccept:    {"a list of statuses", "[2xx, 404]"},
	KindLater:     {"not available yet", ""},
}

// noun says what a field takes.
func noun(info *Info) string {
	switch {
	case info.Kind == KindEnum:
		return "one of " + strings.Join(info.Enum, ", ")
	case info.Kind == KindRef && info.Of != "":
		if strings.ContainsRune("aeiou", rune(info.Of[0])) {
			return "the name of an " + info.Of
		}
		return "the name of a " + info.Of
	case info.Kind == KindExpr:
		switch info.Want {
		case Boolean:
			return "true, false or an expression that gives one of them"
		case Number:
			return "a number or an expression that gives one"
		case List:
			return "an expression that gives a list"
		}
	}
	return kinds[info.Kind].noun
}

// Example is a value that a field takes, as an author would write it.
func Example(info *Info) string {
	switch {
	case info.Sample != "":
		return info.Sample
	case info.Kind == KindEnum && len(info.Enum) > 0:
		return info.Enum[0]
	case info.Kind == KindStrings && len(info.Enum) > 1:
		return "[" + info.Enum[0] + ", " + info.Enum[1] + "]"
	case info.Kind == KindInt && info.Min != "" && len(info.Min) > 1:
		return info.Min
	case info.Kind == KindExpr && info.Want == Boolean:
		return "${doc.total > 100}"
	case info.Kind == KindExpr && info.Want == List:
		return "${doc.items}"
	case info.Kind == KindExpr && info.Want == Number:
		return "201"
	}
	return kinds[info.Kind].example
}

// expects says what to write.
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

// Noun says what a field takes, for documents.
func Noun(info *Info) string { return noun(info) }

// Expects says what to write for a field, for hints.
func Expects(info *Info) string { return expects(info) }

// BadName reports a name that expressions could not read.
func (d *Decoder) BadName(n *yaml.Node, name string) {
	hint := "start with a lower-case letter, and go on with lower-case letters, digits and `_`"
	if fixed := nameLike(name, '_'); fixed != "" {
		hint = "write `" + fixed + "`"
	}
	d.problem(n, CodeBadName, "`"+Clip(name)+"` cannot be a name: expressions could not read it", hint)
}

// BadComponentName reports a name that no component may have.
func (d *Decoder) BadComponentName(n *yaml.Node, name string) {
	hint := "start with a lower-case letter, and go on with lower-case letters, digits and `-`"
	if fixed := nameLike(name, '-'); fixed != "" {
		hint = "write `" + fixed + "`"
	}
	d.problem(n, CodeBadName, "`"+Clip(name)+"` cannot name a component", hint)
}

// nameLike makes the nearest allowed name, "" if nothing is left of it.
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
