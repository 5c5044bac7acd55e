package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// quote returns text as a string of the expression language.
func quote(s string) string {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(strings.ToValidUTF8(s, "�")); err != nil {
		return `""`
	}
	return strings.TrimSpace(out.String())
}

// value is a translated expression.
type value struct {
	text string
	str  bool   // its value is text
	bool bool   // its value is a boolean
	data string // for text that is JSON: the value of it
}

// postfix is one operation on a value: a member, an index or a call.
type postfix struct {
	kind byte // '.', '[' or '('
	name string
	args []argument
}

// argument is an argument of a call, which is translated when it is known for
// which function it is.
type argument struct{ tokens []token }

// dialect is the expression language of a system.
type dialect interface {
	// start translates the first name of a chain and the operations that belong
	// to it; used is their number.
	start(p *parser, name string, ops []postfix) (v value, used int, err error)
	// method translates a method of a value.
	method(p *parser, on value, name string, args []argument) (value, error)
}

// parser translates an expression.
type parser struct {
	dialect
	tokens []token
	at     int
	depth  int
	self   []string
	named  map[string]string
}

// maxExpression is the length of the longest translation in bytes.
const maxExpression = 20_000

var errLong = errors.New("the expression is too long")

// translate translates a whole expression.
func translate(d dialect, src string) (value, error) {
	tokens, err := scan(src)
	if err != nil {
		return value{}, err
	}
	p := &parser{dialect: d, tokens: tokens, named: map[string]string{}}
	return p.whole()
}

func (p *parser) whole() (value, error) {
	v, err := p.expression(0)
	if err != nil {
		return value{}, err
	}
	p.skipLines()
	if t := p.peek(); t.kind != tokenEnd {
		return value{}, fmt.Errorf("`%s` is not translated", shorten(t.text, 30))
	}
	return v, nil
}

// sub translates an argument with the names of this parser.
func (p *parser) sub(a argument) (value, error) {
	q := &parser{dialect: p.dialect, tokens: append(slices.Clone(a.tokens), token{tokenEnd, ""}), depth: p.depth + 1, self: p.self, named: p.named}
	if q.depth > 60 {
		return value{}, errors.New("it is nested too deep")
	}
	return q.whole()
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if p.at < len(p.tokens)-1 {
		p.at++
	}
	return t
}

func (p *parser) skipLines() {
	for p.peek().kind == tokenLine {
		p.next()
	}
}

func (p *parser) sign(s string) bool {
	if t := p.peek(); t.kind == tokenSign && t.text == s {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(s string) error {
	p.skipLines()
	if !p.sign(s) {
		return fmt.Errorf("`%s` is missing", s)
	}
	return nil
}

var binary = map[string]struct {
	level int
	sign  string
}{
	"||": {2, "||"}, "&&": {3, "&&"}, "??": {9, "??"}, "|": {9, "??"},
	"==": {4, "=="}, "!=": {4, "!="}, "===": {4, "=="}, "!==": {4, "!="},
	"<": {5, "<"}, "<=": {5, "<="}, ">": {5, ">"}, ">=": {5, ">="},
	"+": {6, "+"}, "-": {6, "-"}, "*": {7, "*"}, "/": {7, "/"}, "%": {7, "%"},
}

// expression translates operators of at least a level.
func (p *parser) expression(level int) (value, error) {
	if p.depth++; p.depth > 60 {
		return value{}, errors.New("it is nested too deep")
	}
	defer func() { p.depth-- }()
	left, err := p.unary()
	if err != nil {
		return value{}, err
	}
	for {
		at := p.at
		p.skipLines()
		t := p.peek()
		op, known := binary[t.text]
		switch {
		case t.kind == tokenSign && t.text == "?" && level <= 1:
			p.next()
			if left, err = p.conditional(left); err != nil {
				return value{}, err
			}
			continue
		case t.kind != tokenSign || !known || op.level < level || at != p.at && t.text == "-":
			p.at = at
			return left, nil
		}
		p.next()
		p.skipLines()
		right, err := p.expression(op.level + 1)
		if err != nil {
			return value{}, err
		}
		if left, err = p.join(op.sign, left, right); err != nil {
			return value{}, err
		}
	}
}

func (p *parser) join(sign string, left, right value) (value, error) {
	l, r := left.text, right.text
	out := value{}
	switch sign {
	case "+":
		out.str = left.str || right.str
		if out.str && !left.str {
			l = "string(" + l + ")"
		}
		if out.str && !right.str {
			r = "string(" + r + ")"
		}
	case "??":
		out.str = left.str && right.str
	case "||":
		if _, ok := p.dialect.(n8nDialect); ok && !right.bool { // the first value that is not empty
			sign, out.str = "??", left.str && right.str
		}
	}
	out.bool = slices.Contains([]string{"==", "!=", "<", "<=", ">", ">=", "&&", "||"}, sign)
	out.text = "(" + l + " " + sign + " " + r + ")"
	if len(out.text) > maxExpression {
		return value{}, errLong
	}
	return out, nil
}

func (p *parser) conditional(condition value) (value, error) {
	yes, err := p.expression(0)
	if err != nil {
		return value{}, err
	}
	if err := p.expect(":"); err != nil {
		return value{}, err
	}
	p.skipLines()
	no, err := p.expression(0)
	if err != nil {
		return value{}, err
	}
	return choose(condition, yes, no), nil
}

func choose(condition, yes, no value) value {
	return value{text: "(" + condition.text + " ? " + yes.text + " : " + no.text + ")", str: yes.str && no.str}
}

func (p *parser) unary() (value, error) {
	p.skipLines()
	switch t := p.peek(); {
	case p.sign("!"):
		v, err := p.unary()
		return value{text: "not (" + v.text + ")", bool: true}, err
	case p.sign("-"):
		v, err := p.unary()
		return value{text: "-" + v.text}, err
	case t.kind == tokenName && t.text == "if":
		p.next()
		return p.ifElse()
	}
	return p.chain()
}

// ifElse translates `if condition { a } else { b }`.
func (p *parser) ifElse() (value, error) {
	condition, err := p.expression(0)
	if err != nil {
		return value{}, err
	}
	block := func() (value, error) {
		if err := p.expect("{"); err != nil {
			return value{}, err
		}
		v, err := p.expression(0)
		if err != nil {
			return value{}, err
		}
		return v, p.expect("}")
	}
	yes, err := block()
	if err != nil {
		return value{}, err
	}
	p.skipLines()
	if t := p.peek(); t.text != "else" {
		return value{}, errors.New("`if` without `else` is not translated")
	}
	p.next()
	p.skipLines()
	var no value
	if t := p.peek(); t.text == "if" {
		p.next()
		no, err = p.ifElse()
	} else {
		no, err = block()
	}
	return choose(condition, yes, no), err
}

// chain translates a value with its members, indexes and calls.
func (p *parser) chain() (value, error) {
	t := p.next()
	var v value
	var err error
	switch {
	case t.kind == tokenNumber:
		v = value{text: t.text}
	case t.kind == tokenString:
		v = value{text: quote(t.text), str: true}
	case t.kind == tokenName && slices.Contains([]string{"true", "false", "null", "undefined"}, t.text):
		v = value{text: strings.NewReplacer("null", "nil", "undefined", "nil").Replace(t.text), bool: t.text == "true" || t.text == "false"}
	case t.kind == tokenName:
		ops, err := p.postfixes()
		if err != nil {
			return value{}, err
		}
		if name, ok := p.named[t.text]; ok {
			return p.apply(value{text: name}, ops)
		}
		v, used, err := p.start(p, t.text, ops)
		if err != nil {
			return value{}, err
		}
		return p.apply(v, ops[used:])
	case t.kind == tokenSign && t.text == "(":
		if v, err = p.expression(0); err == nil {
			v.text, err = "("+v.text+")", p.expect(")")
		}
	case t.kind == tokenSign && t.text == "[":
		v, err = p.list()
	case t.kind == tokenSign && t.text == "{":
		v, err = p.object()
	default:
		return value{}, fmt.Errorf("`%s` is not translated", shorten(strings.TrimSpace(t.text), 30))
	}
	if err != nil {
		return value{}, err
	}
	ops, err := p.postfixes()
	if err != nil || len(ops) == 0 {
		return v, err
	}
	return p.apply(v, ops)
}

func (p *parser) list() (value, error) {
	var items []string
	for {
		p.skipLines()
		if p.sign("]") {
			return value{text: "[" + strings.Join(items, ", ") + "]"}, nil
		}
		v, err := p.expression(0)
		if err != nil {
			return value{}, err
		}
		items = append(items, v.text)
		p.skipLines()
		if !p.sign(",") && p.peek().text != "]" {
			return value{}, errors.New("`]` is missing")
		}
	}
}

func (p *parser) object() (value, error) {
	var items []string
	for {
		p.skipLines()
		if p.sign("}") {
			return value{text: "{" + strings.Join(items, ", ") + "}"}, nil
		}
		t := p.next()
		if t.kind != tokenName && t.kind != tokenString {
			return value{}, errors.New("an object with a computed key is not translated")
		}
		if err := p.expect(":"); err != nil {
			return value{}, err
		}
		v, err := p.expression(0)
		if err != nil {
			return value{}, err
		}
		items = append(items, quote(t.text)+": "+v.text)
		p.skipLines()
		if !p.sign(",") && p.peek().text != "}" {
			return value{}, errors.New("`}` is missing")
		}
	}
}

// postfixes reads the operations after a value.
func (p *parser) postfixes() ([]postfix, error) {
	var ops []postfix
	for {
		at := p.at
		p.skipLines()
		t := p.peek()
		if t.kind == tokenSign && (t.text == "." || t.text == "?.") {
			p.next()
			p.skipLines()
			switch name := p.next(); {
			case name.kind == tokenName || name.kind == tokenNumber || name.kind == tokenString:
				ops = append(ops, postfix{kind: '.', name: name.text})
				continue
			case name.text == "(" || name.text == "[":
				p.at--
			default:
				return nil, fmt.Errorf("`.%s` is not translated", shorten(strings.TrimSpace(name.text), 20))
			}
			t = p.peek()
		} else if p.at != at {
			p.at = at
			return ops, nil
		}
		switch {
		case t.kind == tokenSign && (t.text == "(" || t.text == "["):
			p.next()
			args, err := p.arguments(t.text)
			if err != nil {
				return nil, err
			}
			ops = append(ops, postfix{kind: t.text[0], args: args})
		default:
			p.at = at
			return ops, nil
		}
	}
}

// arguments splits the tokens up to the closing bracket at commas.
func (p *parser) arguments(open string) ([]argument, error) {
	var args []argument
	var current []token
	depth := 0
	for {
		t := p.next()
		if t.kind == tokenEnd {
			return nil, fmt.Errorf("`%s` is not closed", open)
		}
		if t.kind == tokenSign {
			switch t.text {
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				if depth == 0 {
					if slices.ContainsFunc(current, func(t token) bool { return t.kind != tokenLine }) {
						args = append(args, argument{current})
					}
					return args, nil
				}
				depth--
			case ",":
				if depth == 0 {
					args = append(args, argument{current})
					current = nil
					continue
				}
			}
		}
		current = append(current, t)
	}
}

// apply translates operations on a value.
func (p *parser) apply(v value, ops []postfix) (value, error) {
	for i := 0; i < len(ops); i++ {
		op := ops[i]
		switch {
		case op.kind == '.' && i+1 < len(ops) && ops[i+1].kind == '(':
			next, err := p.method(p, v, op.name, ops[i+1].args)
			if err != nil {
				return value{}, err
			}
			v = next
			i++
		case op.kind == '.':
			next, ok := value{}, false
			if d, own := p.dialect.(n8nDialect); own {
				next, ok = d.member(v, op.name)
			}
			if !ok {
				next = member(v, op.name)
			}
			v = next
		case op.kind == '[' && len(op.args) == 1:
			index, err := p.sub(op.args[0])
			if err != nil {
				return value{}, err
			}
			v = value{text: v.text + "?.[" + index.text + "]"}
		default:
			return value{}, errors.New("a call of a value is not translated")
		}
		if len(v.text) > maxExpression {
			return value{}, errLong
		}
	}
	return v, nil
}
