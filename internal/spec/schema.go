package spec

import "encoding/json"

// JSON is a JSON Schema (draft-07), for package encoding/json.
type JSON = map[string]any

// Patterns of values that are written as strings.
const (
	patternName      = "^[a-z][a-z0-9_]*$"
	patternComponent = "^[a-z][a-z0-9-]*$"
	patternDuration  = `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+$`
	patternSize      = "^[0-9]+(B|kB|KB|KiB|MB|MiB|GB|GiB|TB|TiB)$"
	patternRate      = "^[1-9][0-9]*/(s|m|h)$"
	patternDynamic   = `\$\{`
)

// ObjectSchema returns the schema of a map with the given fields and no others.
// With dynamic its values may be expressions. The key bare may have no value.
func ObjectSchema(dynamic bool, bare string, groups ...[]Field) JSON {
	properties, required := JSON{}, []string{}
	for _, fields := range groups {
		for _, f := range fields {
			info := f.Info()
			if info.Kind == KindLater {
				continue
			}
			s := FieldSchema(info, dynamic)
			if info.Key == bare && f.empty() {
				s = nullable(s)
			}
			properties[info.Key] = s
			if info.Required {
				required = append(required, info.Key)
			}
		}
	}
	out := JSON{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// FieldSchema returns the schema of one field. It refers to the definitions
// steps and retry.
func FieldSchema(info *Info, dynamic bool) JSON {
	s := valueSchema(info, dynamic)
	if dynamic && info.Kind != KindAny && info.Kind != KindSQL && info.Kind != KindEach && info.Kind != KindString && info.Kind != KindPath && info.Kind != KindFile && info.Kind != KindStrings && info.Kind != KindStringMap {
		s = JSON{"anyOf": []any{s, JSON{"type": "string", "pattern": patternDynamic}}}
	}
	doc := info.Doc
	if info.Spoken {
		doc += " Default: " + info.Default + "."
	} else if info.Default != "" {
		doc += " Default: `" + info.Default + "`."
	}
	if _, ref := s["$ref"]; ref { // draft-07 ignores the siblings of $ref
		s = JSON{"allOf": []any{s}}
	}
	s["description"] = doc
	return s
}

func nullable(s JSON) JSON {
	return JSON{"anyOf": []any{s, JSON{"type": "null"}}, "description": s["description"]}
}

// enumValues returns the allowed values, as numbers, too, if YAML reads them so.
func enumValues(list []string) (all []any) {
	for _, v := range list {
		if all = append(all, v); IsNumber(v) {
			all = append(all, json.Number(v))
		}
	}
	return all
}

func valueSchema(info *Info, dynamic bool) JSON {
	text := JSON{"type": "string"}
	scalar := JSON{"type": []string{"string", "number", "boolean"}}
	switch info.Kind {
	case KindString, KindEnum:
		if info.Enum != nil && dynamic {
			return JSON{"anyOf": []any{JSON{"enum": enumValues(info.Enum)}, JSON{"type": "string", "pattern": patternDynamic}}}
		}
		if info.Enum != nil {
			return JSON{"enum": enumValues(info.Enum)}
		}
		return text
	case KindInt:
		s := JSON{"type": "integer"}
		bound(s, "minimum", info.Min)
		bound(s, "maximum", info.Max)
		return s
	case KindBool:
		return JSON{"type": "boolean"}
	case KindDuration:
		return JSON{"type": "string", "pattern": patternDuration}
	case KindSize:
		return JSON{"type": "string", "pattern": patternSize}
	case KindRate:
		return JSON{"type": "string", "pattern": patternRate}
	case KindName:
		return JSON{"type": "string", "pattern": patternName}
	case KindRef:
		return JSON{"type": "string", "pattern": patternComponent}
	case KindStrings, KindDurations:
		item := JSON{"type": []string{"string", "number"}}
		if info.Kind == KindDurations {
			item = JSON{"type": "string", "pattern": patternDuration}
		}
		if info.Enum != nil {
			item = JSON{"enum": info.Enum}
		}
		return JSON{"anyOf": []any{item, JSON{"type": "array", "items": item}}}
	case KindStringMap:
		scalar["type"] = []string{"string", "number", "boolean", "array"}
		s := JSON{"type": "object", "additionalProperties": scalar}
		if dynamic {
			return JSON{"anyOf": []any{s, JSON{"type": "string", "pattern": patternDynamic}}}
		}
		return s
	case KindSQL, KindEach:
		return text
	case KindObjects:
		return JSON{"type": "array", "items": ObjectSchema(dynamic, "", info.Fields)}
	case KindObject:
		s := ObjectSchema(dynamic, "", info.Fields)
		for _, f := range info.Fields {
			if i := f.Info(); i.Key == info.Short {
				return JSON{"anyOf": []any{valueSchema(i, dynamic), s}}
			}
		}
		return s
	}
	return compiledSchema(info, text, scalar)
}

func compiledSchema(info *Info, text, scalar JSON) JSON {
	switch info.Kind {
	case KindExpr:
		switch info.Want {
		case Boolean:
			return JSON{"type": []string{"string", "boolean"}}
		case Number:
			return JSON{"type": []string{"string", "number"}}
		case List:
			return text
		}
		return scalar
	case KindExprs:
		return JSON{"type": "object", "additionalProperties": scalar, "propertyNames": JSON{"pattern": patternName}}
	case KindTemplate:
		if info.Names {
			return JSON{"type": "object", "propertyNames": JSON{"pattern": patternName}}
		}
	case KindSteps:
		return JSON{"$ref": "#/definitions/steps"}
	case KindPaths:
		s := JSON{"type": "object", "additionalProperties": JSON{"$ref": "#/definitions/steps"}}
		if !info.AnyNames {
			s["propertyNames"] = JSON{"pattern": patternName}
		}
		return s
	case KindOperation:
		return JSON{"type": "string", "pattern": `^[a-z][a-z0-9-]*\..+$`}
	case KindWith:
		return JSON{"type": []string{"object", "string"}}
	case KindRetry:
		return JSON{"$ref": "#/definitions/retry"}
	case KindAccept:
		status := JSON{"anyOf": []any{JSON{"type": "integer", "minimum": 100, "maximum": 599}, JSON{"type": "string", "pattern": "^[1-5](xx|[0-9][0-9])$"}}}
		return JSON{"anyOf": []any{status, JSON{"type": "array", "items": status, "minItems": 1}}}
	case KindPath, KindFile:
		return text
	}
	return JSON{}
}

func bound(s JSON, key, value string) {
	if value != "" {
		s[key] = number(value)
	}
}

// number is the text of a JSON number.
type number string

// MarshalJSON returns the text.
func (n number) MarshalJSON() ([]byte, error) { return []byte(n), nil }
