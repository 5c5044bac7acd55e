package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// bloblang translates the expressions and mappings of Benthos.
type bloblang struct {
	r        *reader
	meta     func(name string) (string, error) // the expression that reads metadata
	assigned map[string]bool                   // metadata and variables that earlier steps have set
	read     map[string]bool                   // metadata that was read
	replies  bool                              // whether a caller waits for the reply
}

func (b *bloblang) translate(src string) (value, error) { return translate(b, src) }

// start translates the first name of a chain.
func (b *bloblang) start(p *parser, name string, ops []postfix) (value, int, error) {
	call := len(ops) > 0 && ops[0].kind == '('
	switch {
	case !call && (name == "this" || name == "root"):
		return value{text: self(p)}, 0, nil
	case strings.HasPrefix(name, "$") && len(name) > 1:
		return member(value{text: "vars"}, "let_"+variable(name[1:])), 0, nil
	case strings.HasPrefix(name, "@") && len(name) > 1:
		v, err := b.metadata(name[1:])
		return v, 0, err
	case name == "@" && len(ops) > 0 && ops[0].kind == '.' && (len(ops) == 1 || ops[1].kind != '('):
		v, err := b.metadata(ops[0].name)
		return v, 1, err
	case !call && (strings.HasPrefix(name, "@") || strings.HasPrefix(name, "$")):
		return value{}, 0, errors.New("all metadata together are not translated")
	case !call && (name == "match" || name == "_"):
		return value{}, 0, errors.New("`match` is not translated")
	case !call: // a path of the document
		return member(value{text: self(p)}, name), 0, nil
	}
	args := ops[0].args
	switch name {
	case "json":
		v := value{text: "doc"}
		if at, ok := constantString(args, 0); ok {
			return path(v, at), 1, nil
		} else if len(args) == 0 {
			return v, 1, nil
		}
	case "meta", "metadata":
		if at, ok := constantString(args, 0); ok {
			v, err := b.metadata(at)
			return v, 1, err
		}
	case "env":
		if at, ok := constantString(args, 0); ok {
			return value{text: b.r.env(at, "read by a mapping", ""), str: true}, 1, nil
		}
	}
	if text, ok := map[string]string{
		"content": "raw", "uuid_v4": "uuid()", "now": "now()", "timestamp_unix": "unix(now())", "deleted": "omit",
		"nothing": "omit", "error": "error.message",
	}[name]; ok && len(args) == 0 {
		return value{text: text, str: name == "content" || name == "uuid_v4" || name == "error"}, 1, nil
	}
	return value{}, 0, fmt.Errorf("the function `%s` is not translated", shorten(name, 30))
}

// self returns the name of the current context.
func self(p *parser) string {
	if len(p.self) > 0 {
		return p.self[len(p.self)-1]
	}
	return "doc"
}

func (b *bloblang) metadata(name string) (value, error) {
	b.read[name] = true
	if b.assigned["meta "+name] {
		return member(value{text: "vars"}, variable(name)), nil
	}
	text, err := b.meta(name)
	return value{text: text, str: true}, err
}

// sameMethods are methods with the same arguments as a function.
var sameMethods = map[string]string{
	"uppercase": "upper", "lowercase": "lower", "trim": "trim", "length": "len", "string": "string", "number": "number", "bool": "bool",
	"keys": "keys", "values": "values", "unique": "uniq", "sort": "sort", "sum": "sum", "floor": "floor", "ceil": "ceil", "abs": "abs",
	"round": "round", "join": "join", "split": "split", "replace_all": "replace", "replace": "replace", "max": "max", "min": "min",
	"parse_json": "json", "format_json": "tojson", "flatten": "flatten", "trim_prefix": "trimPrefix", "trim_suffix": "trimSuffix",
	"append": "", "merge": "",
}

var textFunctions = []string{"upper", "lower", "trim", "string", "join", "replace", "tojson", "trimPrefix", "trimSuffix"}

// method translates a method of a value.
func (b *bloblang) method(p *parser, on value, name string, args []argument) (value, error) {
	if f := sameMethods[name]; f != "" {
		if f == "string" && on.str {
			return on, nil
		}
		v, err := p.function(f, on, args)
		v.str = slices.Contains(textFunctions, f)
		return v, err
	}
	switch name {
	case "map_each", "filter", "any", "all", "sort_by":
		return b.perElement(p, on, name, args)
	case "format":
		return b.format(p, on, args)
	case "exists", "get":
		if at, ok := constantString(args, 0); ok {
			v := path(on, at)
			if name == "exists" {
				v = value{text: "(" + v.text + " != nil)"}
			}
			return v, nil
		}
	case "encode", "decode":
		if at, _ := constantString(args, 0); at == "base64" && name == "encode" {
			return value{text: "base64(" + on.text + ")", str: true}, nil
		} else if at == "base64" {
			return value{text: "unbase64(" + on.text + ")", str: true}, nil
		}
	case "or", "has_prefix", "has_suffix", "re_match", "contains", "index":
		if len(args) != 1 {
			break
		}
		arg, err := p.sub(args[0])
		if err != nil {
			return value{}, err
		}
		switch name {
		case "or":
			return p.join("??", on, arg)
		case "index":
			return value{text: on.text + "[" + arg.text + "]"}, nil
		case "has_prefix":
			return value{text: "(" + on.text + " startsWith " + arg.text + ")"}, nil
		case "has_suffix":
			return value{text: "(" + on.text + " endsWith " + arg.text + ")"}, nil
		case "re_match":
			return value{text: "(" + on.text + " matches " + arg.text + ")"}, nil
		}
		return contains(on, arg), nil
	}
	return value{}, fmt.Errorf("the method `%s` is not translated", shorten(name, 30))
}

// contains returns whether text or a list contains a value.
func contains(on, arg value) value {
	switch {
	case on.str:
		return value{text: "(" + on.text + " contains " + arg.text + ")"}
	case strings.HasPrefix(on.text, "["):
		return value{text: "(" + arg.text + " in " + on.text + ")"}
	}
	return value{text: "(type(" + on.text + ") == \"text\" ? " + on.text + " contains " + arg.text + " : " + arg.text + " in " + on.text + ")"}
}

// perElement translates a method that evaluates an expression for each element.
func (b *bloblang) perElement(p *parser, on value, name string, args []argument) (value, error) {
	if len(args) != 1 {
		return value{}, fmt.Errorf("`%s` without an expression is not translated", name)
	}
	if len(p.self) > 0 || len(p.named) > 0 {
		return value{}, fmt.Errorf("`%s` within another one is not translated", name)
	}
	body := args[0]
	inner := *p
	inner.self = []string{"#"}
	if len(body.tokens) > 2 && body.tokens[0].kind == tokenName && body.tokens[1].text == "->" {
		inner.self, inner.named = p.self, map[string]string{body.tokens[0].text: "#"}
		body.tokens = body.tokens[2:]
	}
	v, err := inner.sub(body)
	if err != nil {
		return value{}, err
	}
	if strings.Contains(v.text, "omit") {
		return value{}, errors.New("an element that is deleted is not translated")
	}
	function := map[string]string{"map_each": "map", "sort_by": "sortBy"}[name]
	if function == "" {
		function = name
	}
	return value{text: function + "(" + on.text + ", " + v.text + ")"}, nil
}

// format translates "a %v".format(b) if every verb writes a value as it is.
func (b *bloblang) format(p *parser, on value, args []argument) (value, error) {
	if !strings.HasPrefix(on.text, `"`) || !strings.HasSuffix(on.text, `"`) {
		return value{}, errors.New("`format` of a computed text is not translated")
	}
	parts := strings.Split(strings.NewReplacer("%s", "%v", "%d", "%v").Replace(on.text[1:len(on.text)-1]), "%v")
	if len(parts) != len(args)+1 || strings.Contains(strings.Join(parts, ""), "%") {
		return value{}, errors.New("`format` with this pattern is not translated")
	}
	out := []string{`"` + parts[0] + `"`}
	for i, a := range args {
		v, err := p.sub(a)
		if err != nil {
			return value{}, err
		}
		out = append(out, "string("+v.text+")", `"`+parts[i+1]+`"`)
	}
	return value{text: "(" + strings.Join(out, " + ") + ")", str: true}, nil
}

// interpolate translates the text of a setting: `${NAME}`, `${NAME:default}` of
// the environment, and `${! … }`.
func (b *bloblang) interpolate(s string, secret bool) (template, error) {
	var out template
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			break
		}
		end := closing(s[i+2:])
		if end < 0 {
			return nil, errors.New("`${` is not closed")
		}
		out = append(out, piece{text: s[:i]})
		inner := s[i+2 : i+2+end]
		s = s[i+3+end:]
		if expr, ok := strings.CutPrefix(inner, "!"); ok {
			v, err := b.translate(expr)
			if err != nil {
				return nil, err
			}
			out = append(out, piece{v.text, true})
			continue
		}
		name, suggestion, _ := strings.Cut(inner, ":")
		if !identifier.MatchString(name) {
			return nil, fmt.Errorf("`${%s}` is not translated", shorten(inner, 40))
		}
		if secret {
			e := b.r.secret(name, "read by the configuration")
			out = append(out, piece{e[2 : len(e)-1], true})
			continue
		}
		if isSecretName(name) {
			suggestion = ""
		}
		out = append(out, piece{b.r.env(name, "read by the configuration", suggestion), true})
	}
	out = append(out, piece{text: s})
	return slices.DeleteFunc(out, func(p piece) bool { return p.text == "" }), nil
}

// closing returns the offset of the brace that closes an expression, or -1.
func closing(s string) int {
	depth, quoted := 0, byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted != 0:
			if c == '\\' {
				i++
			} else if c == quoted {
				quoted = 0
			}
		case c == '"' || c == '\'' && strings.HasPrefix(s, "!"):
			quoted = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}
