package processes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// Bounds of what is read.
const (
	MaxFile  = 4 << 20 // bytes of one file
	MaxFiles = 20_000  // files of one project
	MaxTotal = 256 << 20
	MaxDepth = 64    // levels of one YAML document
	MaxSteps = 5_000 // of one process
	// MaxProblems is how many are reported; a further one tells how many there are.
	MaxProblems = 1_000
)

// source is one file while it is loaded.
type source struct {
	name     string
	text     string
	starts   []int // offset of each line
	broken   bool  // not all of it is YAML without tabs
	problems fault.Problems
}

// component is one YAML document of a file.
type component struct {
	src  *source
	root *yaml.Node // nil if it is broken, and for a process until it is compiled
	nth  int        // of the file's documents
	bad  bool       // broken
	kind string     // the first key
	key  *yaml.Node
	val  *yaml.Node // of the first key
}

func (s *source) report(line, col int, code fault.Code, msg, hint string) {
	s.problems = append(s.problems, &fault.Problem{Pos: fault.Pos{File: s.name, Line: line, Col: col}, Code: code, Msg: msg, Hint: hint})
}

// line gives the n-th line, from 1, without its end; "" beyond the file.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.starts) {
		return ""
	}
	text := s.text[s.starts[n-1]:]
	if n < len(s.starts) {
		text = s.text[s.starts[n-1]:s.starts[n]]
	}
	return strings.TrimRight(text, "\r\n")
}

// read takes a file apart into its components. What is wrong is in src.problems.
func read(f File) (*source, []*component) {
	src := &source{name: f.Name}
	if !src.decode(f.Content) {
		return src, nil
	}
	roots, failed := parse(src.text)
	var out []*component
	if src.broken = failed != nil || scanLines(&source{name: src.name, text: src.text, starts: src.starts}).tabs; src.broken {
		out = src.apart()
		roots = src.documents()
	}
	for i, root := range roots {
		if c := src.component(root); c != nil {
			c.nth, c.bad = i, c.root == nil
			if c.kind == "process" {
				c.root = nil
			}
			out = append(out, c)
		}
	}
	if len(out) == 0 && len(src.problems) == 0 {
		src.problems = append(src.problems, &fault.Problem{Pos: fault.Pos{File: src.name}, Severity: fault.Warning, Code: CodeEmptyFile,
			Msg: "this file declares nothing", Hint: "declare a component, such as `process: my-process`, or delete the file"})
	}
	return src, out
}

// decode checks that the content is text that can be read.
func (s *source) decode(content []byte) bool {
	if len(content) > MaxFile {
		s.report(0, 0, CodeTooLarge, fmt.Sprintf("the file has %s, the most is %s", spec.FormatSize(int64(len(content))), spec.FormatSize(MaxFile)),
			"split it: every file of the project is read, and a file may hold several components")
		return false
	}
	if bytes.HasPrefix(content, []byte{0xff, 0xfe}) || bytes.HasPrefix(content, []byte{0xfe, 0xff}) {
		s.report(1, 1, CodeNotText, "the file is UTF-16", "save it as UTF-8")
		return false
	}
	s.text = string(bytes.TrimPrefix(content, []byte("\xef\xbb\xbf")))
	s.index()
	for i := 0; i < len(s.text); {
		r, n := utf8.DecodeRuneInString(s.text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			line, col := s.at(i)
			s.report(line, col, CodeNotText, "the file is not UTF-8: the byte 0x"+strconv.FormatUint(uint64(s.text[i]), 16)+" cannot stand here", "save it as UTF-8")
			return false
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
			line, col := s.at(i)
			s.report(line, col, CodeNotText, fmt.Sprintf("the character U+%04X cannot stand in YAML", r), "remove it, or write it in double quotes as an escape: \"\\u0000\"")
			return false
		}
		i += n
	}
	return true
}

// index finds where the lines begin.
func (s *source) index() {
	s.starts = append(s.starts, 0)
	for i := 0; i < len(s.text); i++ {
		if s.text[i] == '\n' || s.text[i] == '\r' && !strings.HasPrefix(s.text[i+1:], "\n") {
			s.starts = append(s.starts, i+1)
		}
	}
}

// at gives the line and the column of an offset.
func (s *source) at(offset int) (line, col int) {
	line = len(s.starts)
	for i, start := range s.starts {
		if start > offset {
			line = i
			break
		}
	}
	return line, utf8.RuneCountInString(s.text[s.starts[line-1]:offset]) + 1
}

// syntaxError is what the YAML parser says.
type syntaxError struct {
	line int // 0 if it does not say
	msg  string
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

// parse gives the documents of a text, those before a syntax error too.
func parse(text string) (roots []*yaml.Node, failed *syntaxError) {
	defer func() {
		if r := recover(); r != nil { // the parser has met something that its authors have not
			failed = &syntaxError{msg: "this cannot be read as YAML"}
		}
	}()
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc yaml.Node
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return roots, nil
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(err.Error())
			line, _ := strconv.Atoi(m[1])
			return roots, &syntaxError{line: line, msg: strings.TrimPrefix(err.Error(), m[0])}
		}
		if len(doc.Content) == 1 {
			roots = append(roots, doc.Content[0])
		}
	}
}

// component checks a document by the rules of the language, and finds its kind.
func (s *source) component(root *yaml.Node) *component {
	if root.Kind == yaml.ScalarNode && spec.ShapeOf(root) == spec.NullShape && root.Value == "" {
		return nil // only comments
	}
	before := len(s.problems)
	w := &walker{src: s, deepest: MaxDepth}
	w.walk(root, 0)
	if root.Kind != yaml.MappingNode || len(root.Content) == 0 {
		if len(s.problems) == before {
			what := spec.DescribeNode(root)
			if root.Kind == yaml.MappingNode {
				what = "an empty one"
			}
			s.report(root.Line, root.Column, CodeNotComponent, "a document must be a mapping whose first key says what it declares, not "+what,
				"begin with one of: "+strings.Join(kindNames(), ", "))
		}
		return nil
	}
	c := &component{src: s, root: root, key: root.Content[0], val: root.Content[1], kind: root.Content[0].Value}
	if _, known := kinds[c.kind]; known {
		if w.broken {
			c.root = nil
		}
		return c
	}
	hint := "begin with one of: " + strings.Join(kindNames(), ", ")
	if near := spec.Suggest(c.kind, kindNames()); near != "" {
		hint = "did you mean `" + near + "`?"
	}
	for i := 2; i < len(root.Content); i += 2 {
		if _, known := kinds[root.Content[i].Value]; known {
			hint = "put `" + root.Content[i].Value + ":` first"
			break
		}
	}
	s.report(c.key.Line, c.key.Column, CodeUnknownKind, "`"+cut(c.kind)+"` is no kind of component", hint)
	return nil
}

// walker holds a document against the YAML rules of the language.
type walker struct {
	src     *source
	deepest int
	broken  bool // in a way that makes the document useless
}

func (w *walker) bad(n *yaml.Node, code fault.Code, msg, hint string) {
	w.src.report(n.Line, n.Column, code, msg, hint)
	w.broken = true
}

func (w *walker) walk(n *yaml.Node, depth int) {
	if depth > w.deepest {
		w.bad(n, CodeTooDeep, fmt.Sprintf("this is nested more than %d levels deep", w.deepest), "flatten it, or move steps into a process of their own")
		w.deepest = 1 << 30 // said once
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
		w.bad(n, CodeAnchor, "anchors and aliases (`"+cut(word)+"`) are not part of the language", "write the value out; a text that starts with & or * goes in quotes")
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
			w.bad(k, CodeBadKey, "a key must be text, not "+spec.DescribeNode(k), "put an expression that starts with { or [ in quotes")
		case k.Value == "<<" && k.Style == 0:
			w.bad(k, CodeMergeKey, "merge keys (`<<`) are not part of the language", "write the keys out; a map step has `$merge:`")
		case k.Value == "":
			w.bad(k, CodeBadKey, "a key is empty", "give it a name, or remove the line")
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
				w.bad(k, CodeDuplicateKey, "the key `"+cut(k.Value)+"` stands here twice, first in line "+strconv.Itoa(first), "keep one of them")
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
		line := w.src.line(n.Line)
		quoted := "\"${" + word + "}\""
		if i := strings.Index(line, n.Tag); i >= 0 {
			quoted = strings.TrimSpace(line[:i]) + " " + quoted
		}
		hint := "write `" + strings.TrimSpace(quoted) + "`"
		if strings.ContainsAny(word, "\r\n") {
			hint = "put the expression in quotes, on one line"
		}
		w.bad(n, CodeTag, "`"+cut(word)+"` is a tag for YAML, not an expression", hint)
		return
	}
	w.bad(n, CodeTag, "tags (`"+cut(n.Tag)+"`) are not part of the language", "remove the tag; text goes in quotes")
}

// scalar finds expressions that YAML has cut.
func (w *walker) scalar(n *yaml.Node) {
	if n.Style != 0 || !spec.HoldsExpression(n.Value) || balanced(n.Value) {
		return
	}
	hint := "put the whole value in quotes"
	if fixed, _ := quoteLine(w.src.line(n.Line), 0); fixed != "" {
		hint = "write the line as `" + strings.TrimSpace(fixed) + "`"
	}
	w.bad(n, CodeUnquoted, "YAML ends this expression too early: unquoted, ` #` begins a comment", hint)
}

func cut(s string) string { return spec.Clip(s) }
