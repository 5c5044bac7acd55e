package processes

import (
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
)

// part is the text between two `---` of a file.
type part struct {
	text string
	line int // how many lines stand before it
}

// documents gives the YAML documents of a source. Where it is broken, they are
// those of the parts that are not.
func (s *source) documents() []*yaml.Node {
	if !s.broken {
		roots, _ := parse(s.text)
		return roots
	}
	var out []*yaml.Node
	for _, p := range s.parts() {
		sub := p.source(s.name)
		roots, failed := parse(p.text)
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

// apart reports what is wrong with each part that cannot be read, and gives
// what the first lines of those parts tell: which components there are.
func (s *source) apart() (named []*component) {
	for _, p := range s.parts() {
		sub := p.source(s.name)
		_, failed := parse(p.text)
		scan := scanLines(sub)
		if failed == nil && !scan.tabs {
			continue
		}
		if !scan.tabs {
			sub.explain(failed, scan)
		}
		for _, problem := range sub.problems {
			problem.Pos.Line += p.line
		}
		s.problems = append(s.problems, sub.problems...)
		if c := s.stub(sub, p.line); c != nil {
			named = append(named, c)
		}
	}
	return named
}

// parts takes the text apart at its `---`. Inside of a document none can begin
// a line: not in a block text, nor in quotes.
func (s *source) parts() []part {
	var out []part
	from, begun := 0, false
	for n := 1; n <= len(s.starts); n++ {
		line := s.line(n)
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

func (p part) source(name string) *source {
	s := &source{name: name, text: p.text}
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

// stub is the component that a broken document would have been, as far as its
// first line tells; nil if it does not.
func (s *source) stub(sub *source, before int) *component {
	for n := 1; n <= len(sub.starts); n++ {
		text := sub.line(n)
		line := strings.TrimSpace(text)
		if line == "" || line[0] == '#' || line[0] == '%' || strings.HasPrefix(text, "---") {
			continue
		}
		m := firstLine.FindStringSubmatchIndex(text)
		if m == nil || kinds[text[m[2]:m[3]]] == nil || !spec.IsComponentName(text[m[4]:m[5]]) {
			return nil
		}
		scalar := func(from, to int) *yaml.Node {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text[from:to], Line: before + n, Column: from + 1}
		}
		return &component{src: s, nth: -1, bad: true, kind: text[m[2]:m[3]], key: scalar(m[2], m[3]), val: scalar(m[4], m[5])}
	}
	return nil
}

// halfKnown reports whether there are components of which only the name is
// known: then what seems to be missing may be there.
func (l *loader) halfKnown() bool {
	for _, c := range l.components {
		if c.bad {
			return true
		}
	}
	return false
}
