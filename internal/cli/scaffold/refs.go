package scaffold

import (
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"
)

// local returns the name that a reference has in a section of the components. A
// reference to elsewhere, or to a name that the document does not have, is noted.
func local[V any](b *builder, ref, section string, from map[string]V) (value V, ok bool) {
	name, inside := strings.CutPrefix(ref, "#/components/"+section+"/")
	if inside {
		value, ok = from[unescaped(name)]
	}
	if !ok {
		b.unresolved(ref)
	}
	return value, ok
}

// unresolved notes a reference, once.
func (b *builder) unresolved(ref string) {
	if b.refs[ref] {
		return
	}
	b.refs[ref] = true
	if strings.HasPrefix(ref, "#") {
		b.note("the reference %s leads to nothing that can be used, so it was left out", ref)
		return
	}
	b.note("the reference %s leads to another file, which is not supported, so it was left out", ref)
}

// unescaped returns a part of a JSON pointer in a URI.
func unescaped(part string) string {
	if s, err := url.PathUnescape(part); err == nil {
		part = s
	}
	return strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
}

// maxItemRefs bounds path items that refer to each other.
const maxItemRefs = 10

// pathItem returns the path item that a reference in one leads to, or the item
// itself; nil if it cannot be resolved, which is noted.
func (b *builder) pathItem(item *yaml.Node) *yaml.Node {
	for range maxItemRefs {
		ref := valueOf(item, "$ref")
		if ref == nil {
			return item
		}
		next := valueOf(&b.d.Components.PathItems, unescaped(strings.TrimPrefix(ref.Value, "#/components/pathItems/")))
		if path, inside := strings.CutPrefix(ref.Value, "#/paths/"); inside {
			next = valueOf(&b.d.Paths, unescaped(path))
		} else if !strings.HasPrefix(ref.Value, "#/components/pathItems/") {
			next = nil
		}
		if next == nil {
			b.unresolved(ref.Value)
			return nil
		}
		item = next
	}
	b.note("path items refer to each other, so they were left out")
	return nil
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// checkRefs notes the references of a schema that cannot be resolved.
func (b *builder) checkRefs(schema any) {
	switch v := schema.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			name, inside := strings.CutPrefix(ref, schemaRef)
			next, known := b.d.Components.Schemas[name]
			switch {
			case !inside || !known:
				b.unresolved(ref)
			case !b.refs[ref]:
				b.refs[ref] = true
				b.checkRefs(next)
			}
			return
		}
		for _, key := range sortedKeys(v) {
			if key != "example" && key != "examples" && key != "enum" && key != "const" && key != "default" {
				b.checkRefs(v[key])
			}
		}
	case []any:
		for _, e := range v {
			b.checkRefs(e)
		}
	}
}
