package strictyaml

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// part is the text of a file between two `---`.
type part struct {
	text string
	line int // number of lines before it
}

// Documents parses the file again and returns its documents. If the file is
// invalid, it returns the documents of its valid parts.
func (s *File) Documents() []*yaml.Node {
	if !s.broken {
		roots, _ := Parse(s.text)
		return roots
	}
	var out []*yaml.Node
	for _, p := range s.parts() {
		sub := p.source(s.Name)
		roots, failed := Parse(p.text)
		if failed != nil || scanLines(sub).tabs {
			continue
		}
		for _, root := range roots {
			shift(root, p.line)
			out = append(out, root)
		}
	}
	return out
}

// Stub is the first key of an invalid document and its value.
type Stub struct{ Key, Value *yaml.Node }

// checkParts reports the syntax errors of each invalid part, and adds its stub.
func (s *File) checkParts() {
	for _, p := range s.parts() {
		sub := p.source(s.Name)
		_, failed := Parse(p.text)
		scan := scanLines(sub)
		if failed == nil && !scan.tabs {
			continue
		}
		if !scan.tabs {
			sub.explain(failed, scan)
		}
		for _, problem := range sub.Problems {
			problem.Pos.Line += p.line
		}
		s.Problems = append(s.Problems, sub.Problems...)
		if stub := p.stub(sub); stub != nil {
			s.Stubs = append(s.Stubs, *stub)
		}
	}
}

// parts splits the text at lines that start with `---`, which cannot occur
// inside a document.
func (s *File) parts() []part {
	var out []part
	from, started := 0, false
	for n := 1; n <= len(s.starts); n++ {
		line := s.Line(n)
		if rest, cut := strings.CutPrefix(line, "---"); cut && (rest == "" || rest[0] == ' ' || rest[0] == '\t') {
			if started {
				out = append(out, part{s.text[s.starts[from]:s.starts[n-1]], from})
				from, started = n-1, false
			}
			line = rest
		}
		line = strings.TrimSpace(line)
		started = started || line != "" && line[0] != '#' && line[0] != '%'
	}
	return append(out, part{s.text[s.starts[from]:], from})
}

func (p part) source(name string) *File {
	s := &File{Name: name, text: p.text}
	s.index()
	return s
}

func shift(n *yaml.Node, lines int) {
	n.Line += lines
	for _, e := range n.Content {
		shift(e, lines)
	}
}

var firstLine = regexp.MustCompile(`^([a-z_]+):[ \t]+["']?([^\s"'#]+)["']?[ \t]*(?:#.*)?$`)

// stub returns the stub of an invalid part, or nil if its first line has no key.
func (p part) stub(sub *File) *Stub {
	for n := 1; n <= len(sub.starts); n++ {
		text := sub.Line(n)
		line := strings.TrimSpace(text)
		if line == "" || line[0] == '#' || line[0] == '%' || strings.HasPrefix(text, "---") {
			continue
		}
		m := firstLine.FindStringSubmatchIndex(text)
		if m == nil {
			return nil
		}
		scalar := func(from, to int) *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text[from:to], Line: p.line + n, Column: from + 1}
		}
		return &Stub{scalar(m[2], m[3]), scalar(m[4], m[5])}
	}
	return nil
}
