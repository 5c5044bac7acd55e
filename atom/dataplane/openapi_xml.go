package dataplane

import (
	"encoding/json"
	"strings"
)

// xmlBody returns the schema of an XML body from the profile of its data view,
// in which an attribute is @name and the text of an element with attributes is
// #text. It returns nil if OpenAPI cannot describe the XML.
func xmlBody(source []byte) doc {
	var view doc
	if json.Unmarshal(source, &view) != nil {
		return nil
	}
	properties, _ := view["properties"].(doc)
	if len(properties) != 1 {
		return nil // an XML document has one root element
	}
	for name, root := range properties {
		schema, ok := xmlElement(root)
		if !ok || schema["type"] == "array" {
			return nil
		}
		schema["xml"] = doc{"name": name}
		return schema
	}
	return nil
}

// xmlElement returns the schema of an element, and false if its profile uses
// more than types, properties, lists and the limits of values.
func xmlElement(profile any) (out doc, ok bool) {
	in, isObject := profile.(doc)
	if !isObject {
		return nil, false
	}
	out = doc{}
	for key, value := range in {
		switch key {
		case "type", "enum", "const", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
			"minLength", "maxLength", "minItems", "maxItems", "title", "description":
			out[key] = value
		case "additionalProperties":
			if _, isFlag := value.(bool); !isFlag {
				return nil, false
			}
			out[key] = value
		case "items":
			if out[key], ok = xmlElement(value); !ok {
				return nil, false
			}
		case "properties":
			if out[key], ok = xmlProperties(value); !ok {
				return nil, false
			}
		case "required":
			names, isList := value.([]any)
			if !isList {
				return nil, false
			}
			if out[key], ok = xmlNames(names); !ok {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	needElements(out)
	return out, true
}

// needElements sets the minimum length of the lists that must be there: XML has
// no empty list.
func needElements(element doc) {
	names, _ := element["required"].([]any)
	properties, _ := element["properties"].(doc)
	for _, n := range names {
		list, _ := properties[n.(string)].(doc)
		if list["type"] == "array" && list["minItems"] == nil {
			list["minItems"] = 1
		}
	}
}

func xmlProperties(value any) (out doc, ok bool) {
	in, isObject := value.(doc)
	if !isObject {
		return nil, false
	}
	out = doc{}
	for name, profile := range in {
		schema, ok := xmlElement(profile)
		if !ok {
			return nil, false
		}
		if attribute, is := strings.CutPrefix(name, "@"); is {
			schema["xml"], name = doc{"attribute": true}, attribute
		}
		if name == "#text" {
			continue // OpenAPI cannot describe the text of an element with attributes
		}
		if out[name] != nil {
			return nil, false // an attribute and an element have the same name
		}
		out[name] = schema
	}
	return out, true
}

func xmlNames(in []any) (out []any, ok bool) {
	for _, n := range in {
		name, isText := n.(string)
		if !isText || name == "#text" {
			return nil, false
		}
		out = append(out, strings.TrimPrefix(name, "@"))
	}
	return out, true
}
