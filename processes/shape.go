package processes

import (
	"encoding/json"
	"strings"

	"valence/internal/convert"
	"valence/internal/spec"
)

// maxShape bounds how deep a schema that refers to itself is followed: an XML
// document below that keeps its text and its single elements as they are.
const maxShape = 32

// xmlShape tells how the data view of an XML document looks for a schema:
// which elements are lists, and what numbers and booleans are.
func xmlShape(schema []byte, namespaces []spec.KV) *convert.Shape {
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil // the compiler of schemas says why
	}
	s := (&shaper{root: root}).shape(root, 0)
	if s == nil {
		s = &convert.Shape{}
	}
	for _, n := range namespaces {
		if s.Namespaces == nil {
			s.Namespaces = map[string]string{}
		}
		s.Namespaces[n.Value] = n.Name
	}
	return s
}

type shaper struct{ root any }

func (x *shaper) shape(schema any, depth int) *convert.Shape {
	m, ok := schema.(map[string]any)
	if !ok || depth > maxShape {
		return nil
	}
	if ref, ok := m["$ref"].(string); ok {
		return x.shape(x.find(ref), depth+1)
	}
	s := &convert.Shape{}
	for _, t := range typesOf(m["type"]) {
		switch t {
		case "array":
			s.List = true
		case "string", "number", "integer", "boolean":
			if s.Type == "" {
				s.Type = t
			}
		}
	}
	if s.List {
		s.Type, s.Item = "", x.shape(m["items"], depth+1)
	}
	if fields, ok := m["properties"].(map[string]any); ok {
		s.Fields = make(map[string]*convert.Shape, len(fields))
		for name, f := range fields {
			if below := x.shape(f, depth+1); below != nil {
				s.Fields[name] = below
			}
		}
	}
	return s
}

// typesOf gives the types of a schema: a name, or a list of names.
func typesOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var names []string
		for _, e := range v {
			if name, ok := e.(string); ok {
				names = append(names, name)
			}
		}
		return names
	}
	return nil
}

// find follows a reference within the schema, such as #/$defs/line.
func (x *shaper) find(ref string) any {
	path, local := strings.CutPrefix(ref, "#/")
	if !local {
		return nil
	}
	at := x.root
	for _, name := range strings.Split(path, "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	return at
}
