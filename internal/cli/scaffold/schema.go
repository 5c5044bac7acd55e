package scaffold

import (
	"maps"
	"slices"
	"strings"
)

const schemaRef = "#/components/schemas/"

func lastOf(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// unused are keywords of OpenAPI without a meaning in JSON Schema.
var unused = []string{"discriminator", "xml", "externalDocs", "example", "examples", "readOnly", "writeOnly", "deprecated", "nullable", "description", "title", "default"}

// convert returns a schema of OpenAPI as JSON Schema whose references lead to
// $defs, and notes the names that it refers to.
func convert(v any, refs map[string]bool) any {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			if name, local := strings.CutPrefix(ref, schemaRef); local {
				refs[name] = true
				return map[string]any{"$ref": "#/$defs/" + name}
			}
			return map[string]any{}
		}
		return convertObject(v, refs)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = convert(e, refs)
		}
		return out
	}
	return v
}

func convertObject(v map[string]any, refs map[string]bool) any {
	out := map[string]any{}
	for key, value := range v {
		switch {
		case key == "properties" || key == "patternProperties":
			fields := map[string]any{}
			if m, ok := value.(map[string]any); ok {
				for name, field := range m {
					fields[name] = convert(field, refs)
				}
			}
			out[key] = fields
		case key == "enum" || key == "const" || key == "required":
			out[key] = value
		case slices.Contains(unused, key) || strings.HasPrefix(key, "x-"):
		default:
			out[key] = convert(value, refs)
		}
	}
	for _, side := range []string{"Minimum", "Maximum"} { // booleans in OpenAPI 3.0
		key, limit := "exclusive"+side, strings.ToLower(side)
		if strict, ok := out[key].(bool); ok {
			delete(out, key)
			if bound, has := out[limit]; strict && has {
				out[key] = bound
				delete(out, limit)
			}
		}
	}
	if nullable, _ := v["nullable"].(bool); nullable {
		if kind, ok := out["type"].(string); ok {
			out["type"] = []any{kind, "null"}
			if list, ok := out["enum"].([]any); ok {
				out["enum"] = append(slices.Clone(list), nil)
			}
		}
	}
	return out
}

// profile returns a schema with the definitions that it refers to.
func (b *builder) profile(schema any) map[string]any {
	refs := map[string]bool{}
	converted, _ := convert(schema, refs).(map[string]any)
	out := maps.Clone(converted)
	if out == nil {
		out = map[string]any{}
	}
	defs := map[string]any{}
	for len(refs) > len(defs) {
		for _, name := range sortedKeys(refs) {
			if _, done := defs[name]; !done {
				defs[name] = map[string]any{}
				if schema, ok := convert(b.d.Components.Schemas[name], refs).(map[string]any); ok {
					defs[name] = schema
				}
			}
		}
	}
	if len(defs) > 0 {
		out["$defs"] = defs
	}
	return out
}

// maxDepth bounds the nesting of an example, and maxExample the schemas that it
// reads.
const (
	maxDepth   = 8
	maxExample = 10_000
)

// exampleFor is example within the bounds.
func (b *builder) exampleFor(schema any) any {
	b.budget = maxExample
	return b.example(schema, 0)
}

// example returns a value for a schema: its own example, or the smallest value
// that its simple keywords allow.
func (b *builder) example(schema any, depth int) any {
	s, ok := schema.(map[string]any)
	if b.budget--; !ok || depth > maxDepth || b.budget < 0 {
		return nil
	}
	if ref, ok := s["$ref"].(string); ok {
		name, _ := strings.CutPrefix(ref, schemaRef)
		return b.example(b.d.Components.Schemas[name], depth+1) // nil if the reference was left out
	}
	for _, key := range []string{"example", "default", "const"} {
		if v, ok := s[key]; ok {
			return v
		}
	}
	for _, key := range []string{"examples", "enum"} {
		if list, ok := s[key].([]any); ok && len(list) > 0 {
			return list[0]
		}
	}
	for _, key := range []string{"oneOf", "anyOf"} {
		if list, ok := s[key].([]any); ok && len(list) > 0 {
			return b.example(list[0], depth+1)
		}
	}
	if list, ok := s["allOf"].([]any); ok {
		merged := map[string]any{}
		for _, e := range list {
			if m, ok := b.example(e, depth+1).(map[string]any); ok {
				maps.Copy(merged, m)
			}
		}
		return merged
	}
	return b.exampleOf(s, depth)
}

func (b *builder) exampleOf(s map[string]any, depth int) any {
	switch kind := s["type"]; {
	case kind == "string":
		return exampleText(s)
	case kind == "integer" || kind == "number":
		if low, ok := s["minimum"]; ok {
			return low
		}
		return 1
	case kind == "boolean":
		return true
	case kind == "array":
		n, _ := s["minItems"].(int)
		if n == 0 {
			return []any{}
		}
		limit := 10
		if depth > 2 { // lists in lists multiply
			limit = 1
		}
		return slices.Repeat([]any{b.example(s["items"], depth+1)}, min(n, limit))
	case kind == "object" || s["properties"] != nil:
		out := map[string]any{}
		fields, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if name, ok := name.(string); ok {
				out[name] = b.example(fields[name], depth+1)
			}
		}
		return out
	}
	return nil
}

func exampleText(s map[string]any) string {
	switch s["format"] {
	case "date-time":
		return "2026-01-31T09:30:00Z"
	case "date":
		return "2026-01-31"
	case "uuid":
		return "3f2a0c1e-5b7d-4e8f-9a6b-1c2d3e4f5a6b"
	case "email":
		return "ada@example.com"
	case "uri", "url":
		return "https://example.com/"
	}
	text := "text"
	if n, ok := s["minLength"].(int); ok && n > len(text) {
		text += strings.Repeat("x", min(n, 1000)-len(text))
	}
	if n, ok := s["maxLength"].(int); ok && n < len(text) {
		text = text[:max(n, 0)]
	}
	return text
}
