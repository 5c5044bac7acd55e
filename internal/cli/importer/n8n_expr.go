package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

var nodeRead = regexp.MustCompile(`\$\(\\*["']+([^"'\\]+)\\*["']+\)|\$node\[\\*["']+([^"'\\]+)\\*["']+\]`)

// n8nDialect translates the expressions of a node.
type n8nDialect struct {
	x *n8n
	n *n8nNode
}

// value translates a parameter to an expression.
func (x *n8n) value(n *n8nNode, v *yaml.Node) (value, error) {
	if isNull(v) {
		return value{text: "nil"}, nil
	}
	if v.Kind != yaml.ScalarNode {
		return value{}, errors.New("a parameter is not a single value")
	}
	if v.Tag != "!!str" {
		return value{text: v.Value}, nil
	}
	t, err := x.template(n, v.Value)
	if err != nil {
		return value{}, err
	}
	if len(t) == 1 && t[0].expr {
		return value{text: "(" + t[0].text + ")"}, nil
	}
	return value{text: t.expression(), str: true}, nil
}

// template translates the text of a parameter: literal, unless it begins with =.
func (x *n8n) template(n *n8nNode, s string) (template, error) {
	expr, ok := strings.CutPrefix(s, "=")
	if !ok {
		if s == "" {
			return nil, nil
		}
		return template{{text: s}}, nil
	}
	var out template
	for {
		before, rest, found := strings.Cut(expr, "{{")
		if before != "" {
			out = append(out, piece{text: before})
		}
		if !found {
			return out, nil
		}
		inner, after, closed := cutExpression(rest)
		if !closed {
			return nil, errors.New("`{{` is not closed")
		}
		v, err := translate(n8nDialect{x, n}, strings.TrimSpace(inner))
		if err != nil {
			return nil, err
		}
		out = append(out, piece{v.text, true})
		expr = after
	}
}

// cutExpression cuts a text at the `}}` that ends an expression.
func cutExpression(s string) (inner, after string, found bool) {
	quoted, depth := byte(0), 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted != 0:
			if c == '\\' {
				i++
			} else if c == quoted {
				quoted = 0
			}
		case c == '"' || c == '\'' || c == '`':
			quoted = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}' && i+1 < len(s) && s[i+1] == '}':
			return s[:i], s[i+2:], true
		}
	}
	return strings.Cut(s, "}}")
}

// item translates the output of a node: the request for the trigger.
func (d n8nDialect) item(from *n8nNode, current bool, ops []postfix) (value, int, error) {
	if from != nil && from == d.x.trigger && from.kind == "webhook" {
		if len(ops) == 0 || ops[0].kind != '.' && (ops[0].kind != '[' || len(ops[0].args) != 1) {
			return value{}, 0, errors.New("the request as a whole has no counterpart")
		}
		name := ops[0].name
		if ops[0].kind == '[' {
			name, _ = constantString(ops[0].args, 0)
		}
		body := "doc"
		if !current {
			body = "input"
		}
		switch name {
		case "body":
			return value{text: body}, 1, nil
		case "query":
			return value{text: "request.query"}, 1, nil
		case "params":
			return value{text: "request.params"}, 1, nil
		case "headers":
			return value{text: "request.headers"}, 1, nil
		}
		return value{}, 0, fmt.Errorf("`%s` of a request has no counterpart", shorten(name, 30))
	}
	if current {
		return value{text: "doc"}, 0, nil
	}
	if from == nil {
		return value{}, 0, errors.New("there is no such node")
	}
	if from == d.x.trigger {
		return value{text: "input"}, 0, nil
	}
	name := d.x.named[from.name]
	if name == "" {
		return value{}, 0, fmt.Errorf("the node %q has no result that can be read", shorten(from.name, 40))
	}
	return value{text: "steps." + name}, 0, nil
}

func (d n8nDialect) start(p *parser, name string, ops []postfix) (value, int, error) {
	call := len(ops) > 0 && ops[0].kind == '('
	argument := func() string { s, _ := constantString(ops[0].args, 0); return s }
	switch {
	case name == "$json" && !call:
		return d.item(d.n.cause, true, ops)
	case name == "$input" && len(ops) > 1:
		used := 1 // item
		if ops[1].kind == '(' {
			used = 2 // first()
		}
		if ops[0].name != "item" && ops[0].name != "first" && ops[0].name != "last" || len(ops) <= used || ops[used].name != "json" {
			return value{}, 0, errors.New("several items at once are not translated")
		}
		v, n, err := d.item(d.n.cause, true, ops[used+1:])
		return v, used + 1 + n, err
	case name == "$" && call, name == "$node" && len(ops) > 1:
		from := d.x.nodes[argument()]
		if name == "$node" && ops[0].kind == '.' {
			from = d.x.nodes[ops[0].name]
		}
		used := 1
		if name == "$" {
			if len(ops) > used && (ops[used].name == "item" || ops[used].name == "first" || ops[used].name == "last") {
				used++
			}
			if len(ops) > used && ops[used].kind == '(' {
				used++
			}
		}
		if len(ops) <= used || ops[used].name != "json" {
			return value{}, 0, errors.New("several items of a node are not translated")
		}
		v, n, err := d.item(from, false, ops[used+1:])
		return v, used + 1 + n, err
	case name == "$now" && len(ops) > 1 && (ops[0].name == "toISO" || ops[0].name == "toString"):
		return value{text: "now()", str: true}, 2, nil
	case name == "$now":
		return value{text: "now()", str: true}, 0, nil
	case (name == "$env" || name == "$vars") && len(ops) > 0 && ops[0].kind == '.':
		return value{text: d.x.env(ops[0].name, "read by the workflow", "")}, 1, nil
	case name == "$workflow" && len(ops) > 0 && (ops[0].name == "name" || ops[0].name == "id"):
		return value{text: "execution.process", str: true}, 1, nil
	case name == "$execution" && len(ops) > 0 && ops[0].name == "id":
		return value{text: "execution.id"}, 1, nil
	}
	f, used := name, 0
	if len(ops) > 1 && ops[0].kind == '.' && ops[1].kind == '(' {
		f, used = name+"."+ops[0].name, 1
	}
	function := map[string]string{
		"JSON.stringify": "tojson", "JSON.parse": "json", "Number": "number", "String": "string", "parseFloat": "number", "parseInt": "int", "Boolean": "bool",
		"Math.round": "round", "Math.floor": "floor", "Math.ceil": "ceil", "Math.abs": "abs", "Math.max": "max", "Math.min": "min",
		"Object.keys": "keys", "Object.values": "values", "encodeURIComponent": "urlencode",
	}[f]
	if function == "" || len(ops) <= used || ops[used].kind != '(' || len(ops[used].args) == 0 {
		return value{}, 0, fmt.Errorf("`%s` is not translated", shorten(f, 30))
	}
	first, err := p.sub(ops[used].args[0])
	if err != nil {
		return value{}, 0, err
	}
	args := ops[used].args[1:]
	if f == "JSON.stringify" || f == "parseInt" {
		args = nil
	}
	v, err := p.function(function, first, args)
	v.str = function == "tojson" || function == "string" || function == "urlencode"
	if function == "tojson" {
		v.data = first.text
	}
	return v, used + 1, err
}

func (d n8nDialect) method(p *parser, on value, name string, args []argument) (value, error) {
	if f := map[string]string{
		"toUpperCase": "upper", "toLowerCase": "lower", "trim": "trim", "split": "split", "join": "join", "toString": "string", "replaceAll": "replace",
		"first": "first", "last": "last", "toJsonString": "tojson", "keys": "keys", "values": "values", "reverse": "reverse", "concat": "concat",
		"sum": "sum", "max": "max", "min": "min", "unique": "uniq", "padStart": "padStart", "padEnd": "padEnd", "toNumber": "number", "toInt": "int", "parseJson": "json",
		"urlEncode": "urlencode", "round": "round", "floor": "floor", "ceil": "ceil", "abs": "abs", "base64Encode": "base64", "base64Decode": "unbase64",
	}[name]; f != "" {
		v, err := p.function(f, on, args)
		v.str = strings.Contains(" upper lower trim join string replace tojson padStart padEnd urlencode base64 ", " "+f+" ")
		if f == "tojson" {
			v.data = on.text
		}
		return v, err
	}
	switch name {
	case "map", "filter", "some", "every", "find":
		if len(args) != 1 || len(p.named) > 0 {
			return value{}, fmt.Errorf("`%s` within another one is not translated", name)
		}
		tokens := args[0].tokens
		if len(tokens) > 4 && tokens[0].text == "(" && tokens[2].text == ")" {
			tokens = tokens[1:]
			tokens = append([]token{tokens[0]}, tokens[2:]...)
		}
		if len(tokens) < 3 || tokens[0].kind != tokenName || tokens[1].text != "=>" || tokens[2].text == "{" {
			return value{}, fmt.Errorf("`%s` with this function is not translated", name)
		}
		inner := *p
		inner.named = map[string]string{tokens[0].text: "#"}
		v, err := inner.sub(argument{tokens[2:]})
		function := map[string]string{"some": "any", "every": "all"}[name]
		return value{text: or(function, name) + "(" + on.text + ", " + v.text + ")"}, err
	case "isEmpty", "isNotEmpty":
		sign := map[string]string{"isEmpty": "== 0", "isNotEmpty": "> 0"}[name]
		return value{text: "(len(" + on.text + " ?? \"\") " + sign + ")", bool: true}, nil
	}
	var texts []value
	for _, a := range args {
		v, err := p.sub(a)
		if err != nil {
			return value{}, err
		}
		texts = append(texts, v)
	}
	switch {
	case name == "includes" && len(texts) == 1:
		v := contains(on, texts[0])
		v.bool = true
		return v, nil
	case (name == "startsWith" || name == "endsWith") && len(texts) == 1:
		return value{text: "(" + on.text + " " + name + " " + texts[0].text + ")", bool: true}, nil
	case name == "replace" && len(texts) == 2 && texts[0].str:
		return value{text: "replace(" + on.text + ", " + texts[0].text + ", " + texts[1].text + ", 1)", str: true}, nil
	case (name == "slice" || name == "substring") && len(texts) == 1:
		return value{text: on.text + "[" + texts[0].text + ":]", str: on.str}, nil
	case (name == "slice" || name == "substring") && len(texts) == 2:
		return value{text: on.text + "[" + texts[0].text + ":" + texts[1].text + "]", str: on.str}, nil
	}
	return value{}, fmt.Errorf("the method `%s` is not translated", shorten(name, 30))
}

// member translates members that are functions.
func (n8nDialect) member(on value, name string) (value, bool) {
	if name == "length" {
		return value{text: "len(" + on.text + ")"}, true
	}
	return value{}, false
}

// document translates JSON text with expressions to a template.
func (x *n8n) document(n *n8nNode, v *yaml.Node) (*yaml.Node, error) {
	if isNull(v) {
		return text("${doc}"), nil
	}
	if v.Kind != yaml.ScalarNode {
		return x.tree(n, v, nil)
	}
	expr, isExpr := strings.CutPrefix(v.Value, "=")
	var src strings.Builder
	var parts []string
	quoted := false
	for rest := expr; rest != ""; {
		if inner, after, ok := strings.Cut(rest, "{{"); isExpr && ok && inner == "" {
			body, tail, closed := cutExpression(after)
			if !closed {
				return nil, errors.New("`{{` is not closed")
			}
			e, err := translate(n8nDialect{x, n}, strings.TrimSpace(body))
			if err != nil {
				return nil, err
			}
			mark := fmt.Sprintf("\ue000%d\ue000", len(parts))
			if !quoted {
				mark = `"` + mark + `"`
				switch whole := tail == "" && src.Len() == 0; {
				case e.data != "":
					e.text = e.data
				case e.str && whole: // JSON text
					e.text = "json(" + e.text + ")"
				}
			}
			parts = append(parts, e.text)
			src.WriteString(mark)
			rest = tail
			continue
		}
		switch {
		case rest[0] == '\\' && len(rest) > 1:
			src.WriteString(rest[:2])
			rest = rest[2:]
			continue
		case rest[0] == '"':
			quoted = !quoted
		}
		if quoted && rest[0] == '\n' {
			src.WriteString(`\n`)
		} else {
			src.WriteByte(rest[0])
		}
		rest = rest[1:]
	}
	trimmed := strings.TrimSpace(src.String())
	if len(parts) == 1 && trimmed == "\"\ue0000\ue000\"" {
		return text("${" + parts[0] + "}"), nil
	}
	j := &jsonReader{name: "body", text: []byte(trimmed), d: json.NewDecoder(strings.NewReader(trimmed))}
	j.d.UseNumber()
	tree, err := j.document()
	if err != nil {
		return nil, errors.New("the text is not JSON")
	}
	return x.tree(n, tree, parts)
}

var marked = regexp.MustCompile("\ue000([0-9]+)\ue000")

// tree translates the texts of a tree. parts are the expressions of its marks;
// nil: texts are parameters.
func (x *n8n) tree(n *n8nNode, v *yaml.Node, parts []string) (*yaml.Node, error) {
	out := &yaml.Node{Kind: v.Kind, Tag: v.Tag, Value: v.Value}
	for i, e := range v.Content {
		if v.Kind == yaml.MappingNode && i%2 == 0 {
			if strings.ContainsRune(e.Value, '\ue000') || e.Value == "" {
				return nil, errors.New("a computed key is not translated")
			}
			key := e.Value
			if strings.HasPrefix(key, "$") {
				key = "$" + key
			}
			out.Content = append(out.Content, text(key))
			continue
		}
		t, err := x.tree(n, e, parts)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, t)
	}
	if v.Kind != yaml.ScalarNode || v.Tag != "!!str" {
		return out, nil
	}
	if parts == nil {
		t, err := x.template(n, v.Value)
		return text(t.String()), err
	}
	s := escape(v.Value)
	return text(marked.ReplaceAllStringFunc(s, func(m string) string {
		var i int
		_, _ = fmt.Sscanf(strings.Trim(m, "\ue000"), "%d", &i)
		if i >= len(parts) {
			return ""
		}
		return "${" + parts[i] + "}"
	})), nil
}
