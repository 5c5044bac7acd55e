// Package openapi builds OpenAPI 3.1 documents.
package openapi

import (
	"encoding/json"
	"strings"
)

// Doc is a JSON object of a document.
type Doc = map[string]any

// SchemaPath is the prefix of references to schemas.
const SchemaPath = "#/components/schemas/"

const responsePath = "#/components/responses/"

// Schema returns a reference to a schema among the components.
func Schema(name string) Doc { return Doc{"$ref": SchemaPath + name} }

// Response returns a reference to a response among the components.
func Response(name string) Doc { return Doc{"$ref": responsePath + name} }

// Array returns the schema of an array.
func Array(items Doc) Doc { return Doc{"type": "array", "items": items} }

// Object returns the schema of an object.
func Object(required []string, properties Doc) Doc {
	out := Doc{"type": "object", "properties": properties}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// ComponentKey replaces the characters that OpenAPI does not allow in component
// names.
func ComponentKey(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '.'
	}, name)
}

// Encode returns a document as JSON with a trailing newline, indented unless
// indent is "". It sets the version of OpenAPI, and panics if a part cannot be
// encoded.
func Encode(document Doc, indent string) []byte {
	document["openapi"] = "3.1.0"
	var text []byte
	var err error
	if indent == "" {
		text, err = json.Marshal(document)
	} else {
		text, err = json.MarshalIndent(document, "", indent)
	}
	if err != nil {
		panic("openapi: encode the document: " + err.Error())
	}
	return append(text, '\n')
}
