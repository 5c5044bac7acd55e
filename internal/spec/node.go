package spec

import (
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// Shape is the type of an undecoded value.
type Shape int

// The shapes of values.
const (
	NullShape Shape = iota
	BoolShape
	NumberShape
	TextShape
	ListShape
	MapShape
)

// String returns the shape as used in messages.
func (s Shape) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "a map"}[s]
}

// ShapeOf returns the type of a YAML node in the JSON subset of YAML 1.2: a
// plain scalar is null, true, false, a JSON number or a string.
func ShapeOf(n *yaml.Node) Shape {
	switch n.Kind {
	case yaml.MappingNode:
		return MapShape
	case yaml.SequenceNode:
		return ListShape
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return TextShape
	}
	switch n.Value {
	case "", "null":
		return NullShape
	case "true", "false":
		return BoolShape
	}
	if IsNumber(n.Value) {
		return NumberShape
	}
	return TextShape
}

// Items returns the elements of a list. A single value is a list of one.
func Items(n *yaml.Node) []*yaml.Node {
	if n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

// IsNumber reports whether s is a JSON number (RFC 8259).
func IsNumber(s string) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}

// Obj is an evaluated object with ordered keys. Its values are nil, bool,
// string, []any, Obj, or a number, which is another string type.
type Obj interface {
	Len() int
	At(i int) (string, any)
	Get(key string) (any, bool)
}

// node is a value to decode, from a file or evaluated at run time.
type node struct {
	y *yaml.Node
	v any
}

func (n node) shape() Shape {
	if n.y != nil {
		return ShapeOf(n.y)
	}
	switch v := n.v.(type) {
	case nil:
		return NullShape
	case bool:
		return BoolShape
	case string:
		return TextShape
	case []any:
		return ListShape
	case Obj:
		return MapShape
	default:
		if reflect.ValueOf(v).Kind() == reflect.String {
			return NumberShape
		}
	}
	bug("%T is not a value", n.v)
	return NullShape
}

// text returns the text of a scalar.
func (n node) text() string {
	if n.y != nil {
		return n.y.Value
	}
	switch v := n.v.(type) {
	case string:
		return v
	case bool:
		if v {
			return "true"
		}
		return "false"
	case nil:
		return ""
	}
	return reflect.ValueOf(n.v).String()
}

func (n node) len() int {
	if n.y != nil {
		if n.y.Kind == yaml.MappingNode {
			return len(n.y.Content) / 2
		}
		return len(n.y.Content)
	}
	switch v := n.v.(type) {
	case []any:
		return len(v)
	case Obj:
		return v.Len()
	}
	return 0
}

func (n node) item(i int) node {
	if n.y != nil {
		return node{y: n.y.Content[i]}
	}
	return node{v: n.v.([]any)[i]}
}

func (n node) at(i int) (key string, keyNode *yaml.Node, value node) {
	if n.y != nil {
		return n.y.Content[2*i].Value, n.y.Content[2*i], node{y: n.y.Content[2*i+1]}
	}
	k, v := n.v.(Obj).At(i)
	return k, nil, node{v: v}
}

func (n node) get(key string) (node, bool) {
	if n.y == nil {
		v, ok := n.v.(Obj).Get(key)
		return node{v: v}, ok
	}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		if n.y.Content[i].Value == key {
			return node{y: n.y.Content[i+1]}, true
		}
	}
	return node{}, false
}

// keyNode returns the node of a key, or nil at run time.
func (n node) keyNode(key string) *yaml.Node {
	if n.y != nil {
		for i := 0; i+1 < len(n.y.Content); i += 2 {
			if n.y.Content[i].Value == key {
				return n.y.Content[i]
			}
		}
	}
	return nil
}

// IsDynamic reports whether a YAML value is known only at run time: a string
// with an expression, or a map with template keys such as $each.
func IsDynamic(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		return HoldsExpression(n.Value) && ShapeOf(n) == TextShape
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i].Value; strings.HasPrefix(k, "$") && !strings.HasPrefix(k, "$$") {
				return true
			}
		}
	}
	return false
}

// HoldsExpression reports whether s has a `${` that is not escaped as `$${`.
func HoldsExpression(s string) bool {
	for i := 0; ; {
		j := strings.Index(s[i:], "${")
		if j < 0 {
			return false
		}
		if at := i + j; at == 0 || s[at-1] != '$' {
			return true
		}
		i += j + 2
	}
}

// unescape replaces each `$${` by `${`.
func unescape(s string) string {
	if !strings.Contains(s, "$${") {
		return s
	}
	return strings.ReplaceAll(s, "$${", "${")
}
