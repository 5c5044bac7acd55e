package strictyaml

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// Check checks that a document uses only the supported subset of YAML. It adds
// the problems to the file, and reports whether there are none.
func (s *File) Check(root *yaml.Node) bool {
	w := &walker{src: s, deepest: MaxDepth}
	w.walk(root, 0)
	return !w.broken
}

// walker checks one document.
type walker struct {
	src     *File
	deepest int
	broken  bool // a problem was reported
}

func (w *walker) bad(n *yaml.Node, code fault.Code, msg, hint string) {
	w.src.Report(n.Line, n.Column, code, msg, hint)
	w.broken = true
}

func (w *walker) walk(n *yaml.Node, depth int) {
	if depth > w.deepest {
		w.bad(n, CodeTooDeep, fmt.Sprintf("the document is nested more than %d levels deep", w.deepest), "flatten it, or move steps to another process")
		w.deepest = 1 << 30 // report it only once
		return
	}
	if depth > MaxDepth {
		return
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		word := "*" + n.Value
		if n.Anchor != "" {
			word = "&" + n.Anchor
		}
		w.bad(n, CodeAnchor, "anchors and aliases (`"+spec.Clip(word)+"`) are not supported", "write the value out; quote text that starts with & or *")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		w.tag(n)
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		w.scalar(n)
	case yaml.SequenceNode:
		for _, e := range n.Content {
			w.walk(e, depth+1)
		}
	case yaml.MappingNode:
		w.mapping(n, depth)
	}
}

func (w *walker) mapping(n *yaml.Node, depth int) {
	var seen map[string]int
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		w.walk(k, depth+1)
		switch {
		case k.Kind != yaml.ScalarNode:
			w.bad(k, CodeBadKey, "a key must be a string, not "+spec.DescribeNode(k), "quote expressions that start with { or [")
		case k.Value == "<<" && k.Style == 0:
			w.bad(k, CodeMergeKey, "merge keys (`<<`) are not supported", "write the keys out; in a `map` step use `$merge:`")
		case k.Value == "":
			w.bad(k, CodeBadKey, "the key is empty", "add a name, or remove the line")
		default:
			first := 0
			if len(n.Content) <= 16 {
				for j := 0; j < i && first == 0; j += 2 {
					if n.Content[j].Value == k.Value {
						first = n.Content[j].Line
					}
				}
			} else {
				if seen == nil {
					seen = make(map[string]int, len(n.Content)/2)
				}
				first = seen[k.Value]
				if first == 0 {
					seen[k.Value] = k.Line
				}
			}
			if first != 0 {
				w.bad(k, CodeDuplicateKey, "the key `"+spec.Clip(k.Value)+"` is already used in line "+strconv.Itoa(first), "remove one of them")
			}
		}
		w.walk(n.Content[i+1], depth+1)
	}
}

func (w *walker) tag(n *yaml.Node) {
	word := n.Tag + n.Value
	if n.Kind == yaml.ScalarNode && !strings.HasPrefix(n.Tag, "!!") {
		if n.Value != "" {
			word = n.Tag + " " + n.Value
		}
		line := w.src.Line(n.Line)
		quoted := "\"${" + word + "}\""
		if i := strings.Index(line, n.Tag); i >= 0 {
			quoted = strings.TrimSpace(line[:i]) + " " + quoted
		}
		hint := "write `" + strings.TrimSpace(quoted) + "`"
		if strings.ContainsAny(word, "\r\n") {
			hint = "quote the expression and write it on one line"
		}
		w.bad(n, CodeTag, "YAML reads `"+spec.Clip(word)+"` as a tag, not as an expression", hint)
		return
	}
	w.bad(n, CodeTag, "tags (`"+spec.Clip(n.Tag)+"`) are not supported", "remove the tag; quote text that starts with !")
}

// scalar reports expressions that YAML has truncated.
func (w *walker) scalar(n *yaml.Node) {
	if n.Style != 0 || !spec.HoldsExpression(n.Value) || balanced(n.Value) {
		return
	}
	line := w.src.Line(n.Line)
	fixed, _ := quoteLine(line, 0)
	if fixed == "" && strings.Contains(line, n.Value) {
		return // the } is missing: reported when the expression is parsed
	}
	hint := "quote the whole value"
	if fixed != "" {
		hint = "write the line as `" + strings.TrimSpace(fixed) + "`"
	}
	w.bad(n, CodeUnquoted, "quote this expression: YAML reads ` #` as the start of a comment", hint)
}
