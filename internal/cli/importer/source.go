package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/strictyaml"
)

const (
	maxDepth = 100       // levels of a source
	maxNodes = 1_000_000 // values of a source, after its aliases are replaced
)

// parse returns the documents of a source as trees without aliases, merge keys
// and duplicate keys.
func parse(name string, text []byte) ([]*yaml.Node, error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 {
		return nil, fmt.Errorf("%s: %w", name, errNothing)
	}
	if trimmed[0] == '{' || trimmed[0] == '[' {
		j := &jsonReader{name: name, text: text, d: json.NewDecoder(bytes.NewReader(text))}
		j.d.UseNumber()
		if root, err := j.document(); err == nil {
			return []*yaml.Node{root}, nil
		} else if !errors.As(err, new(*json.SyntaxError)) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	file, _ := strictyaml.Read(name, text)
	for _, p := range file.Problems {
		if p.Code == strictyaml.CodeNotText {
			return nil, fmt.Errorf("%s:%d:%d: %s", name, p.Line, p.Col, p.Msg)
		}
	}
	roots, failed := strictyaml.Parse(string(text))
	if failed != nil {
		return nil, fmt.Errorf("%s:%d: the file is neither YAML nor JSON: %s", name, max(1, failed.Line), failed.Msg)
	}
	c := &copier{name: name, left: maxNodes}
	var out []*yaml.Node
	for _, root := range roots {
		tree, err := c.copy(root, 0)
		if err != nil {
			return nil, err
		}
		if tree.Kind != yaml.ScalarNode {
			out = append(out, tree)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: the file is neither a YAML nor a JSON document of keys and values", name)
	}
	return out, nil
}

// copier copies trees within a budget of nodes.
type copier struct {
	name string
	left int
}

func (c *copier) bad(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %s", c.name, n.Line, n.Column, fmt.Sprintf(format, args...))
}

// copy returns a tree without aliases and merge keys.
func (c *copier) copy(n *yaml.Node, depth int) (*yaml.Node, error) {
	if c.left--; c.left < 0 {
		return nil, c.bad(n, "the file has more than %d values", maxNodes)
	}
	if depth > maxDepth {
		return nil, c.bad(n, "the file is nested more than %d levels deep", maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		return c.copy(n.Alias, depth+1)
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style, Line: n.Line, Column: n.Column}
	if n.Kind != yaml.MappingNode {
		for _, e := range n.Content {
			e, err := c.copy(e, depth+1)
			if err != nil {
				return nil, err
			}
			out.Content = append(out.Content, e)
		}
		return out, nil
	}
	return out, c.mergeInto(n, out, depth)
}

func (c *copier) mergeInto(n, out *yaml.Node, depth int) error {
	lines := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return c.bad(key, "a key is not text")
		}
		value, err := c.copy(n.Content[i+1], depth+1)
		if err != nil {
			return err
		}
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		if first := lines[key.Value]; first > 0 {
			return c.bad(key, "the key %q is already used in line %d", shorten(key.Value, 40), first)
		}
		lines[key.Value] = max(1, key.Line)
		out.Content = append(out.Content, scalarAt(key), value)
	}
	for _, m := range merged {
		sources := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			sources = m.Content
		}
		for _, s := range sources {
			for i := 0; s.Kind == yaml.MappingNode && i+1 < len(s.Content); i += 2 {
				if lines[s.Content[i].Value] == 0 {
					lines[s.Content[i].Value] = max(1, s.Content[i].Line)
					out.Content = append(out.Content, s.Content[i], s.Content[i+1])
				}
			}
		}
	}
	return nil
}

func scalarAt(n *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: n.Tag, Value: n.Value, Style: n.Style, Line: n.Line, Column: n.Column}
}

// jsonReader reads JSON into the same trees.
type jsonReader struct {
	name  string
	text  []byte
	d     *json.Decoder
	nodes int
	line  int // of offset at
	at    int
	start int // offset of the line
}

// position returns the line and column of the value that comes next.
func (j *jsonReader) position() (line, col int) {
	offset := int(j.d.InputOffset())
	for offset < len(j.text) && strings.IndexByte(" \t\r\n,:", j.text[offset]) >= 0 {
		offset++
	}
	for ; j.at < offset; j.at++ {
		if j.text[j.at] == '\n' {
			j.line, j.start = j.line+1, j.at+1
		}
	}
	return j.line + 1, offset - j.start + 1
}

func (j *jsonReader) document() (*yaml.Node, error) {
	root, err := j.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := j.d.Token(); !errors.Is(err, io.EOF) {
		line, col := j.position()
		return nil, fmt.Errorf("%s:%d:%d: there is more after the JSON document", j.name, line, col)
	}
	return root, nil
}

func (j *jsonReader) value(depth int) (*yaml.Node, error) {
	n := &yaml.Node{}
	n.Line, n.Column = j.position()
	if depth > maxDepth {
		return nil, fmt.Errorf("%s:%d:%d: the file is nested more than %d levels deep", j.name, n.Line, n.Column, maxDepth)
	}
	if j.nodes++; j.nodes > maxNodes {
		return nil, fmt.Errorf("%s: the file has more than %d values", j.name, maxNodes)
	}
	token, err := j.d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if v == '{' {
			n.Kind = yaml.MappingNode
		}
		return n, j.content(n, depth)
	case string:
		n.Kind, n.Tag, n.Value, n.Style = yaml.ScalarNode, "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!float", v.String()
		if !strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!int"
		}
	case bool:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!bool", fmt.Sprint(v)
	default:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!null", "null"
	}
	return n, nil
}

func (j *jsonReader) content(n *yaml.Node, depth int) error {
	lines := map[string]int{}
	for j.d.More() {
		e, err := j.value(depth + 1)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, e)
		if n.Kind != yaml.MappingNode {
			continue
		}
		if first := lines[e.Value]; first > 0 {
			return fmt.Errorf("%s:%d:%d: the key %q is already used in line %d", j.name, e.Line, e.Column, shorten(e.Value, 40), first)
		}
		lines[e.Value] = e.Line
		if e, err = j.value(depth + 1); err != nil {
			return err
		}
		n.Content = append(n.Content, e)
	}
	_, err := j.d.Token()
	return err
}

// child returns the value of a key, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool { return n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// object is a map of the source that remembers which keys were read.
type object struct {
	r    *reader
	node *yaml.Node
	part string // the part that its keys configure
	read map[string]bool
}

func (r *reader) object(n *yaml.Node, part string) *object {
	return &object{r, n, part, map[string]bool{}}
}

// get returns the value of the first of some names that is set, or nil.
func (o *object) get(keys ...string) *yaml.Node {
	var found *yaml.Node
	for _, key := range keys {
		if v := child(o.node, key); v != nil {
			o.read[key] = true
			if found == nil && !isNull(v) {
				found = v
			}
		}
	}
	return found
}

// text returns the value of a key as text, "" if there is none. A list has the
// text of its first element.
func (o *object) text(keys ...string) string {
	n := o.get(keys...)
	if n == nil {
		return ""
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) > 0 {
		for _, other := range n.Content[1:] {
			o.r.left(other, o.part+": "+keys[0], "only the first value was taken over")
		}
		n = n.Content[0]
	}
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// flag reports whether a key is true.
func (o *object) flag(keys ...string) bool { return o.text(keys...) == "true" }

// rest reports the keys that were not read, and returns a comment for each.
// quiet are keys that need no counterpart.
func (o *object) rest(quiet ...string) (comments []string) {
	if o.node == nil || o.node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(o.node.Content); i += 2 {
		key, value := o.node.Content[i], o.node.Content[i+1]
		if o.read[key.Value] {
			continue
		}
		why := "no counterpart"
		for _, q := range quiet {
			if q == key.Value {
				why = ""
			}
		}
		if why == "" {
			o.r.left(key, o.part+": "+key.Value, "not needed")
			continue
		}
		comments = append(comments, o.r.left(key, o.part+": "+key.Value+shown(key.Value, value), why))
	}
	return comments
}

// shown returns a short value for the report, without values that may be secret.
func shown(key string, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!str" && isSecretName(key) || len(n.Value) > 40 || strings.Contains(n.Value, "://") {
		return ""
	}
	return " " + strings.Join(strings.Fields(n.Value), " ")
}

// only returns the single key of a map, other than some names, with its value.
func only(n *yaml.Node, except ...string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
next:
	for i := 0; i+1 < len(n.Content); i += 2 {
		for _, e := range except {
			if n.Content[i].Value == e {
				continue next
			}
		}
		return n.Content[i], n.Content[i+1]
	}
	return nil, nil
}
