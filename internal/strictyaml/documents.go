package strictyaml

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// part is the text between two `---` of a file.
type part struct {
	text string
	line int // how many lines stand before it
}

// Documents gives the YAML documents of a file, parsed again. Where it is
// broken, they are those of the parts that are not.
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

// Stub is the first key of a document that cannot be read, and its value.
type Stub struct{ Key, Value *yaml.Node }

// apart reports what is wrong with each part that cannot be read, and keeps
// what the first lines of those parts say.
func (s *File) apart() {
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

// parts takes the text apart at its `---`. Inside of a document none can begin
// a line: not in a block text, nor in quotes.
func (s *File) parts() []part {
	var out []part
	from, begun := 0, false
	for n := 1; n <= len(s.starts); n++ {
		line := s.Line(n)
		if rest, cut := strings.CutPrefix(line, "---"); cut && (rest == "" || rest[0] == ' ' || rest[0] == '\t') {
			if begun {
				out = append(out, part{s.text[s.starts[from]:s.starts[n-1]], from})
				from, begun = n-1, false
			}
			line = rest
		}
		line = strings.TrimSpace(line)
		begun = begun || line != "" && line[0] != '#' && line[0] != '%'
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

// stub is what the first line of a broken document says; nil if it says nothing.
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
