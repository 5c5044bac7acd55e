package importer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// variable returns the name of the variable of a header, property or variable.
func (r *route) variable(kind, name string) string {
	key := kind + " " + name
	if v := r.vars[key]; v != "" {
		return v
	}
	v := variable(name)
	for n := 2; r.taken[v]; n++ {
		v = fmt.Sprintf("%s_%d", variable(name), n)
	}
	r.taken[v], r.vars[key] = true, v
	return v
}

// header returns the expression that reads a header.
func (r *route) header(name string) (string, error) {
	if v := r.vars["header "+name]; v != "" {
		return "vars." + v, nil
	}
	if e := r.meta[name]; e != "" {
		return e, nil
	}
	switch {
	case r.others == "request" && slices.Contains(r.params, name):
		return "request.params." + variable(name), nil
	case r.others == "request":
		return "(request.query?.[" + quote(name) + "] ?? request.headers[" + quote(name) + "])", nil
	case r.others == "" || strings.HasPrefix(name, "Camel"):
		return "", fmt.Errorf("nothing sets the header `%s`", shorten(name, 40))
	}
	return member(value{text: r.others}, name).text, nil
}

// placeholders replaces `{{name}}` by values of the environment.
func (x *camel) placeholders(s string) template {
	var out template
	last := 0
	for _, m := range placeholder.FindAllStringSubmatchIndex(s, -1) {
		if m[0] > last {
			out = append(out, piece{text: s[last:m[0]]})
		}
		name, suggestion, _ := strings.Cut(strings.TrimPrefix(s[m[2]:m[3]], "?"), ":")
		if name == "env" || name == "sys" {
			name, suggestion, _ = strings.Cut(suggestion, ":")
		}
		if isSecretName(name) {
			suggestion = ""
		}
		out = append(out, piece{x.env(name, "a property of the application", suggestion), true})
		last = m[1]
	}
	if last < len(s) {
		out = append(out, piece{text: s[last:]})
	}
	return out
}

var placeholder = regexp.MustCompile(`\{\{\s*([^{}]+?)\s*\}\}`)

// simple translates a template of the Simple language.
func (x *camel) simple(r *route, s string) (template, error) {
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
		out = append(out, x.placeholders(s[:i])...)
		v, err := x.function(r, strings.TrimSpace(s[i+2:i+2+end]))
		if err != nil {
			return nil, err
		}
		out = append(out, piece{v.text, true})
		s = s[i+3+end:]
	}
	return append(out, x.placeholders(s)...), nil
}

var (
	simpleKeyed = regexp.MustCompile(`^(headers?|exchangeProperty|variables?|property)(?:\.|:)([A-Za-z_][A-Za-z0-9_-]*)((?:\?*\.[A-Za-z_].*|\[.*)?)$`)
	simpleIndex = regexp.MustCompile(`^(headers?|exchangeProperty|variables?|property)\[['"]?([^'"\]]+)['"]?\]$`)
)

// function translates the content of `${…}`.
func (x *camel) function(r *route, s string) (value, error) {
	m := simpleKeyed.FindStringSubmatch(s)
	if m == nil {
		if i := simpleIndex.FindStringSubmatch(s); i != nil {
			m = append(i, "")
		}
	}
	if m != nil {
		kind := strings.TrimSuffix(m[1], "s")
		if kind == "exchangeProperty" {
			kind = "property"
		}
		base := ""
		if kind == "header" {
			var err error
			if base, err = r.header(m[2]); err != nil {
				return value{}, err
			}
		} else {
			base = "vars." + r.variable(kind, m[2])
		}
		return x.ognl(value{text: base}, m[3])
	}
	switch s {
	case "body", "in.body", "bodyAs(String)", "bodyAsString", "bodyAs(java.lang.String)", "mandatoryBodyAs(String)", "body()", "messageAs(String)":
		return value{text: "doc"}, nil
	case "exception.message", "exception.stacktrace", "exception":
		return value{text: "error.message", str: true}, nil
	case "uuid":
		return value{text: "uuid()", str: true}, nil
	case "exchangeId", "messageId", "id":
		return value{text: "execution.id"}, nil
	case "routeId", "fromRouteId":
		return value{text: "execution.process", str: true}, nil
	case "null":
		return value{text: "nil"}, nil
	case "threadName", "hostname", "camelId":
		return value{}, fmt.Errorf("`${%s}` has no counterpart", s)
	}
	if rest, ok := strings.CutPrefix(s, "body"); ok && rest != "" && strings.ContainsRune(".[?", rune(rest[0])) {
		return x.ognl(value{text: "doc"}, rest)
	}
	if layout, ok := strings.CutPrefix(s, "date:now:"); ok {
		return value{text: "formatDate(now(), " + quote(layout) + ")", str: true}, nil
	}
	if s == "date:now" {
		return value{text: "now()", str: true}, nil
	}
	if at, ok := strings.CutPrefix(s, "jsonpath($"); ok {
		return x.ognl(value{text: "doc"}, strings.TrimSuffix(at, ")"))
	}
	return value{}, fmt.Errorf("`${%s}` is not translated", shorten(s, 40))
}

var ognlPart = regexp.MustCompile(`^(?:\??\.([A-Za-z_][A-Za-z0-9_]*)(\(\))?|\[['"]?([^\]'"]+)['"]?\])`)

// ognl translates the members after a value.
func (x *camel) ognl(v value, rest string) (value, error) {
	for rest != "" {
		m := ognlPart.FindStringSubmatch(rest)
		if m == nil {
			return value{}, fmt.Errorf("`%s` is not translated", shorten(rest, 40))
		}
		rest = rest[len(m[0]):]
		switch {
		case m[2] != "":
			f := map[string]string{"size": "len", "length": "len", "toUpperCase": "upper", "toLowerCase": "lower", "trim": "trim", "toString": "string"}[m[1]]
			if f == "" {
				return value{}, fmt.Errorf("the method `%s` is not translated", shorten(m[1], 30))
			}
			v = value{text: f + "(" + v.text + ")", str: f != "len"}
		case m[1] != "":
			v = member(v, m[1])
		default:
			v = member(v, m[3])
		}
		if len(v.text) > maxExpression {
			return value{}, errLong
		}
	}
	return v, nil
}

var predicateToken = regexp.MustCompile(`^\s*(&&|\|\||==|!=|=~|<=|>=|<|>|'[^']*'|"[^"]*"|[^\s'"&|=!<>$]+)`)

// predicate translates a condition of the Simple language.
func (x *camel) predicate(r *route, s string) (string, error) {
	var tokens []value // with str for operands that are text
	var ops []bool
	for rest := strings.TrimSpace(s); rest != ""; rest = strings.TrimSpace(rest) {
		if strings.HasPrefix(rest, "${") {
			end := closing(rest[2:])
			if end < 0 {
				return "", errors.New("`${` is not closed")
			}
			v, err := x.function(r, strings.TrimSpace(rest[2:2+end]))
			if err != nil {
				return "", err
			}
			tokens, ops, rest = append(tokens, v), append(ops, false), rest[3+end:]
			continue
		}
		m := predicateToken.FindStringSubmatch(rest)
		if m == nil || len(tokens) > 200 {
			return "", fmt.Errorf("`%s` is not translated", shorten(rest, 40))
		}
		rest = rest[len(m[0]):]
		switch t := m[1]; {
		case t[0] == '\'' || t[0] == '"':
			tokens, ops = append(tokens, value{text: x.placeholders(t[1 : len(t)-1]).expression(), str: true}), append(ops, false)
		case jsonNumber.MatchString(t), t == "true", t == "false":
			tokens, ops = append(tokens, value{text: t}), append(ops, false)
		case t == "null":
			tokens, ops = append(tokens, value{text: "nil"}), append(ops, false)
		case placeholder.MatchString(t):
			tokens, ops = append(tokens, value{text: x.placeholders(t).expression(), str: true}), append(ops, false)
		default:
			tokens, ops = append(tokens, value{text: t}), append(ops, true)
		}
	}
	var out []string
	for i := 0; i < len(tokens); {
		switch {
		case ops[i]:
			return "", fmt.Errorf("`%s` is not translated", shorten(tokens[i].text, 30))
		case i+2 < len(tokens) && ops[i+1] && !ops[i+2] && tokens[i+1].text != "&&" && tokens[i+1].text != "||":
			c, err := compare(tokens[i], tokens[i+1].text, tokens[i+2])
			if err != nil {
				return "", err
			}
			out, i = append(out, c), i+3
		default:
			out, i = append(out, "(("+tokens[i].text+" ?? false) == true)"), i+1
		}
		if i < len(tokens) {
			if !ops[i] || tokens[i].text != "&&" && tokens[i].text != "||" {
				return "", fmt.Errorf("`%s` is not translated", shorten(tokens[i].text, 30))
			}
			out, i = append(out, tokens[i].text), i+1
		}
	}
	if len(out)%2 == 0 {
		return "", errors.New("the condition is empty or incomplete")
	}
	return strings.Join(out, " "), nil
}

// compare translates a comparison. Text is compared with text, as Camel does.
func compare(left value, op string, right value) (string, error) {
	l, r := left.text, right.text
	switch op {
	case "==", "!=":
		if right.str && !left.str {
			l = "string(" + l + " ?? \"\")"
		}
		return "(" + l + " " + op + " " + r + ")", nil
	case "<", "<=", ">", ">=":
		if !left.str && !right.str {
			l, r = "number("+l+")", "number("+r+")"
		}
		return "(" + l + " " + op + " " + r + ")", nil
	case "contains", "startsWith", "endsWith", "!contains":
		c := "(string(" + l + " ?? \"\") " + strings.TrimPrefix(op, "!") + " string(" + r + "))"
		if op[0] == '!' {
			c = "(not " + c + ")"
		}
		return c, nil
	case "regex":
		return "(string(" + l + " ?? \"\") matches " + r + ")", nil
	}
	return "", fmt.Errorf("the operator `%s` is not translated", shorten(op, 20))
}

// expressionNode returns the language and the text of an expression in a step.
func expressionNode(n *yaml.Node) (language, text string, ok bool) {
	if e := child(n, "expression"); e != nil && e.Kind == yaml.MappingNode {
		n = e
	}
	for _, l := range []string{"simple", "constant", "header", "exchangeProperty", "variable", "jsonpath", "jq", "csimple", "tokenize", "groovy", "js", "javascript", "xpath", "method", "datasonnet", "ref", "xtokenize", "joor", "java", "python", "language"} {
		e := child(n, l)
		if e == nil {
			continue
		}
		if e.Kind == yaml.MappingNode {
			for _, key := range []string{"expression", "token", "name"} {
				if inner := child(e, key); inner != nil && inner.Kind == yaml.ScalarNode {
					return l, inner.Value, true
				}
			}
			return l, "", true
		}
		return l, e.Value, true
	}
	return "", "", false
}

// expr translates the expression of a step to a template.
func (x *camel) expr(r *route, n *yaml.Node) (template, error) {
	language, s, ok := expressionNode(n)
	if !ok {
		return nil, errors.New("the expression is missing")
	}
	switch language {
	case "constant":
		return x.placeholders(s), nil
	case "simple", "csimple":
		return x.simple(r, s)
	case "header":
		e, err := r.header(s)
		return template{{e, true}}, err
	case "exchangeProperty":
		return template{{"vars." + r.variable("property", s), true}}, nil
	case "variable":
		return template{{"vars." + r.variable("variable", s), true}}, nil
	case "jsonpath":
		if rest, ok := strings.CutPrefix(s, "$"); ok {
			v, err := x.ognl(value{text: "doc"}, rest)
			return template{{v.text, true}}, err
		}
	case "jq":
		if rest, ok := strings.CutPrefix(s, "."); ok {
			if rest != "" {
				rest = "." + rest
			}
			v, err := x.ognl(value{text: "doc"}, rest)
			return template{{v.text, true}}, err
		}
	case "tokenize":
		return template{{"split(raw, " + quote(or(s, "\n")) + ")", true}}, nil
	}
	return nil, fmt.Errorf("expressions in %s are not translated", language)
}
