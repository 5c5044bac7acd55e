package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

var (
	beginsAsJSON = regexp.MustCompile(`^(\{\s*["}]|\[)`)
	likelyJSON   = regexp.MustCompile(`(?s)^(\{\s*".*\}|\[\s*[{\[].*\])$`)
	wholeMark    = regexp.MustCompile("^\ue000([0-9]+)\ue000$")
)

// document translates the expression of a body: JSON text becomes data.
func (x *camel) document(r *route, n *yaml.Node) (*yaml.Node, error) {
	language, s, _ := expressionNode(n)
	simple := language == "simple" || language == "csimple"
	if trimmed := strings.TrimSpace(s); (simple || language == "constant") && beginsAsJSON.MatchString(trimmed) {
		b := &camelBody{camel: x, route: r, templates: simple}
		src := trimmed
		if !json.Valid([]byte(src)) {
			var err error
			if src, err = b.mark(src); err != nil {
				return nil, err
			}
		}
		j := &jsonReader{name: "body", text: []byte(src), d: json.NewDecoder(strings.NewReader(src))}
		j.d.UseNumber()
		if json.Valid([]byte(src)) {
			if tree, err := j.document(); err == nil {
				return b.data(tree)
			}
		}
		if likelyJSON.MatchString(trimmed) {
			return nil, errors.New("the body is not JSON when its expressions are values")
		}
	}
	t, err := x.expr(r, n)
	if err != nil {
		return nil, err
	}
	return text(t.String()), nil
}

// camelBody translates a body that is JSON text.
type camelBody struct {
	*camel
	route     *route
	templates bool     // whether it has expressions
	parts     []string // expressions outside of quotes
}

// mark replaces the expressions outside of quotes by texts with marks.
func (b *camelBody) mark(s string) (string, error) {
	var src strings.Builder
	quoted := false
	for s != "" {
		size := 1
		switch {
		case strings.HasPrefix(s, "${") && b.templates:
			end := closing(s[2:])
			if end < 0 {
				return "", errors.New("`${` is not closed")
			}
			size = end + 3
			if quoted {
				inner := quote(s[:size])
				src.WriteString(inner[1 : len(inner)-1])
				s = s[size:]
				continue
			}
			v, err := b.function(b.route, strings.TrimSpace(s[2:2+end]))
			if err != nil {
				return "", err
			}
			src.WriteString(b.part(v))
			s = s[size:]
			continue
		case s[0] == '\\' && len(s) > 1:
			size = 2
		case s[0] == '"':
			quoted = !quoted
		case !quoted && strings.HasPrefix(s, "{{"):
			if m := placeholder.FindStringIndex(s); m != nil && m[0] == 0 {
				src.WriteString(b.part(value{text: b.placeholders(s[:m[1]]).expression(), str: true}))
				s = s[m[1]:]
				continue
			}
		}
		src.WriteString(s[:size])
		s = s[size:]
	}
	return src.String(), nil
}

// part adds an expression, and returns its mark. A member of a document is data;
// the text of other expressions is JSON.
func (b *camelBody) part(v value) string {
	if v.text != "doc" && !strings.HasPrefix(v.text, "doc?.") && v.text != "nil" || v.str {
		v.text = "json(string(" + v.text + "))"
	}
	b.parts = append(b.parts, v.text)
	return fmt.Sprintf("\"\ue000%d\ue000\"", len(b.parts)-1)
}

// data translates the texts of a tree.
func (b *camelBody) data(n *yaml.Node) (*yaml.Node, error) {
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		return b.text(n.Value)
	}
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			key := e.Value
			if strings.ContainsRune(key, '\ue000') || strings.Contains(key, "{{") || b.templates && strings.Contains(key, "${") {
				return nil, errors.New("a computed key is not translated")
			}
			if strings.HasPrefix(key, "$") {
				key = "$" + key
			}
			out.Content = append(out.Content, text(key))
			continue
		}
		v, err := b.data(e)
		if err != nil {
			return nil, err
		}
		out.Content = append(out.Content, v)
	}
	return out, nil
}

// text translates a text of the body: a mark, or a text with expressions.
func (b *camelBody) text(s string) (*yaml.Node, error) {
	if m := wholeMark.FindStringSubmatch(s); m != nil {
		var i int
		_, _ = fmt.Sscanf(m[1], "%d", &i)
		if i >= len(b.parts) {
			return nil, errors.New("a text of the body is not translated")
		}
		return text("${" + b.parts[i] + "}"), nil
	}
	t := b.placeholders(s)
	if b.templates {
		var err error
		if t, err = b.camel.simple(b.route, s); err != nil {
			return nil, err
		}
	}
	return text(t.String()), nil
}
