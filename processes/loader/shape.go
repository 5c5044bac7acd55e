package loader

import (
	"encoding/json"
	"strings"

	"valence/internal/convert"
	"valence/internal/spec"
)

// maxShape bounds the depth to which a schema that refers to itself is followed.
// Deeper elements of an XML document have no types and are never lists.
const maxShape = 32

// xmlShape returns the shape of the data view of XML documents for a schema:
// which elements are lists, numbers and booleans.
func xmlShape(schema []byte, namespaces []spec.KV) *convert.Shape {
	var root any
	if json.Unmarshal(schema, &root) != nil {
		return nil // compiling the schema reports it
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
		case "null":
			s.Null = true
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

// typesOf returns the types of a schema, which are a name or a list of names.
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

// find resolves a reference within the schema, such as #/$defs/line.
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

// namespaces returns the namespaces of the profiles that the process uses, by
// prefix. The profile called first decides if several use a prefix.
func (b *processBuilder) namespaces(first string) convert.Namespaces {
	var all convert.Namespaces
	for _, name := range append([]string{first}, b.profiles...) {
		p := b.l.project.Profiles[name]
		if p == nil || p.Shape == nil {
			continue
		}
		for uri, prefix := range p.Shape.Namespaces {
			if all == nil {
				all = convert.Namespaces{}
			}
			if all[prefix] == "" && prefix != "" {
				all[prefix] = uri
			}
		}
	}
	return all
}
