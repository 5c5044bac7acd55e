package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/processes/testrun"
)

// maxLine is the length up to which a map or a list is written in one line.
const maxLine = 100

// expect adds the expectations: the values of the run with mocks that the
// recorded run has too.
func (d *draft) expect(real, mocked *testrun.Outcome) *settled {
	s := &settled{hide: d.hide}
	n := pair("status", scalar(mocked.Status))
	var fail struct{ Code string }
	if json.Unmarshal(mocked.Error, &fail) == nil && fail.Code != "" {
		add(n, "error", short(pair("code", scalar(fail.Code))))
	}
	calls := &yaml.Node{Kind: yaml.SequenceNode}
	for i, made := range mocked.Calls {
		calls.Content = append(calls.Content, d.call(s, i, real.Calls[i], made))
	}
	if len(calls.Content) == 0 {
		calls.Style = yaml.FlowStyle
	}
	add(n, "calls", calls)
	if mocked.Reply != nil {
		first := len(s.leftOut)
		if v, ok := s.value("reply", d.redacted(real.Reply).Value(), mocked.Reply.Value()); ok && v != nil {
			key := add(n, "reply", d.expected("reply", v))
			s.comment(key, first)
		}
	}
	if mocked.ReplyStatus != 0 {
		add(n, "reply_status", number(strconv.Itoa(mocked.ReplyStatus)))
	}
	add(d.root, "expect", n)
	return s
}

// call returns one expected call.
func (d *draft) call(s *settled, i int, real, mocked *testrun.MadeCall) *yaml.Node {
	at, first, parts := fmt.Sprintf("calls[%d]", i), len(s.leftOut), mapping()
	if mocked.With != nil && mocked.With.Len() > 0 && real.With != nil {
		if v, ok := s.value(at+".with", d.redacted(document.FromValue(real.With)).Value(), mocked.With); ok {
			add(parts, "with", d.expected(fmt.Sprintf("%s-with-%d", mocked.Operation, i+1), v))
		}
	}
	if mocked.Body != nil && real.Body != nil {
		if v, ok := s.value(at+".body", d.redacted(real.Body).Value(), mocked.Body.Value()); ok && v != nil {
			add(parts, "body", d.expected(fmt.Sprintf("%s-body-%d", mocked.Operation, i+1), v))
		}
	}
	if len(parts.Content) == 0 {
		n := scalar(mocked.Operation)
		s.comment(n, first)
		return n
	}
	n := pair(mocked.Operation, short(parts))
	s.comment(n, first)
	return n
}

func (d *draft) expected(name string, v any) *yaml.Node {
	return d.json(name, document.AppendJSON(nil, v), true)
}

// comment writes the fields that were left out since first above a node.
func (s *settled) comment(n *yaml.Node, first int) {
	if len(s.leftOut) > first {
		n.HeadComment = "not expected: " + strings.Join(s.leftOut[first:], "\nnot expected: ")
	}
}

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func pair(key string, value *yaml.Node) *yaml.Node {
	n := mapping()
	add(n, key, value)
	return n
}

// add adds a member to a map, and returns the node of its key.
func add(n *yaml.Node, key string, value *yaml.Node) *yaml.Node {
	k := scalar(key)
	n.Content = append(n.Content, k, value)
	return k
}

func scalar(text string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if !simpleText.MatchString(text) || reserved.MatchString(text) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func number(text string) *yaml.Node {
	tag := "!!int"
	if strings.Contains(text, ".") {
		tag = "!!float"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

// node returns a value as YAML.
func node(v any) *yaml.Node {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		n := mapping()
		for i := range v.Len() {
			name, e := v.At(i)
			add(n, name, node(e))
		}
		return short(n)
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, e := range v {
			n.Content = append(n.Content, node(e))
		}
		return short(n)
	case string:
		return scalar(v)
	case document.Number:
		return number(string(v))
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
}

// short writes a map or a list in one line if it fits.
func short(n *yaml.Node) *yaml.Node {
	style := n.Style
	n.Style = yaml.FlowStyle
	if len(nodeText(n)) > maxLine || strings.Contains(nodeText(n), "\n#") {
		n.Style = style
	}
	return n
}

// indented returns JSON for people; other texts are returned unchanged.
func indented(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return text
	}
	b.WriteByte('\n')
	return b.Bytes()
}
