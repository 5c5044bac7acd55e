package loader

import (
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/strictyaml"
	"valence/processes"
)

// Positions finds the positions of values in a parsed file.
type Positions struct {
	maps map[fault.Pos]*yaml.Node // by line and column
}

// NewPositions parses a file. Parts that are not valid YAML have no positions.
func NewPositions(f processes.File) *Positions {
	roots, _ := strictyaml.Parse(strings.TrimPrefix(string(f.Content), "\ufeff"))
	p := &Positions{map[fault.Pos]*yaml.Node{}}
	for _, root := range roots {
		p.add(root)
	}
	return p
}

func (p *Positions) add(n *yaml.Node) {
	if at := (fault.Pos{Line: n.Line, Col: n.Column}); n.Kind == yaml.MappingNode && p.maps[at] == nil {
		p.maps[at] = n
	}
	for _, e := range n.Content {
		p.add(e)
	}
}

// Field returns the position of a value below the map at a position, such as a
// step: at the end of a path of keys and indices, or as far as the path exists.
// An index into a map with `$each` is its one description of all elements.
func (p *Positions) Field(at fault.Pos, path ...string) fault.Pos {
	n := p.maps[fault.Pos{Line: at.Line, Col: at.Col}]
	if n == nil {
		return at
	}
	for _, key := range path {
		next := below(n, key)
		if next == nil {
			break
		}
		n = next
	}
	return fault.Pos{File: at.File, Line: n.Line, Col: n.Column}
}

func below(n *yaml.Node, key string) *yaml.Node {
	i, err := strconv.Atoi(key)
	switch {
	case n.Kind == yaml.SequenceNode && err == nil && i < len(n.Content):
		return n.Content[i]
	case n.Kind == yaml.MappingNode && err == nil && valueAt(n, "$each") != nil:
		return n
	}
	return valueAt(n, key)
}
