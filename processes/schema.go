package processes

import (
	"encoding/json"

	"valence/internal/authn"
	"valence/internal/spec"
)

// Schema gives the JSON Schema (draft-07) of the language, for editors: each
// document of a file is checked by the kind that its first key says, and a key
// that there is not is marked. It says less than lint does.
func Schema(cat *Catalog) []byte {
	definitions := spec.JSON{
		"retry":       spec.ObjectSchema(false, "", retryFields),
		"steps":       spec.JSON{"type": "array", "items": spec.JSON{"$ref": "#/definitions/step"}},
		"step":        stepSchema(cat),
		"process":     processSchema(cat),
		"connection":  connectionSchema(cat),
		"auth":        authSchema(),
		"profile":     spec.ObjectSchema(false, "", profileFields),
		"environment": environmentSchema(),
		"project":     spec.ObjectSchema(false, "", projectFields),
	}
	for i := range cat.Steps {
		k := &cat.Steps[i]
		s := spec.ObjectSchema(false, k.Kind, k.Fields, stepFields)
		s["description"] = k.Doc
		definitions["step_"+k.Kind] = s
	}
	// A process may have the key profile, an environment connections: the
	// order decides as the first key would.
	var kinds []way
	for _, name := range []string{"process", "connection", "environment", "project", "auth", "profile"} {
		kinds = append(kinds, way{spec.JSON{"required": []string{name}}, spec.JSON{"$ref": "#/definitions/" + name}})
		definitions[name].(spec.JSON)["description"] = kindDoc(name)
	}
	firstKeys := spec.JSON{}
	for _, name := range kindNames() {
		firstKeys[name] = spec.JSON{"description": kindDoc(name)}
	}
	root := choose(kinds, spec.JSON{"properties": firstKeys, "additionalProperties": false, "minProperties": 1})
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "A component of a Valence project"
	root["type"] = "object"
	root["definitions"] = definitions
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of declarations, never of files
	}
	return append(out, '\n')
}

func kindDoc(name string) string { return kinds[name].doc }

// way is one way of an if and then.
type way struct{ when, then spec.JSON }

// choose takes the first way whose condition holds.
func choose(ways []way, otherwise spec.JSON) spec.JSON {
	if len(ways) == 0 {
		return otherwise
	}
	return spec.JSON{"if": ways[0].when, "then": ways[0].then, "else": choose(ways[1:], otherwise)}
}

func stepSchema(cat *Catalog) spec.JSON {
	var ways []way
	known := spec.JSON{}
	for i := range cat.Steps {
		k := &cat.Steps[i]
		ways = append(ways, way{spec.JSON{"required": []string{k.Kind}}, spec.JSON{"$ref": "#/definitions/step_" + k.Kind}})
		known[k.Kind] = spec.JSON{"description": k.Doc}
	}
	for _, f := range stepFields {
		known[f.Info().Key] = spec.JSON{"description": f.Info().Doc}
	}
	s := choose(ways, spec.JSON{"properties": known, "additionalProperties": false, "minProperties": 1})
	s["type"] = "object"
	return s
}

// is holds where a key has a value.
func is(key, value string) spec.JSON {
	return spec.JSON{"required": []string{key}, "properties": spec.JSON{key: spec.JSON{"const": value}}}
}

func connectionSchema(cat *Catalog) spec.JSON {
	var ways []way
	for _, name := range cat.Connectors.Names() {
		s := spec.ObjectSchema(true, "", limitFields, cat.Connectors[name].Settings)
		with(s, connectionFields)
		ways = append(ways, way{is("connector", name), s})
	}
	base := spec.ObjectSchema(true, "", connectionFields)
	base["properties"].(spec.JSON)["connector"] = spec.JSON{"enum": cat.Connectors.Names(), "description": "Which connector."}
	base["additionalProperties"] = true
	return choose(ways, base)
}

// with adds fields that cannot be expressions.
func with(s spec.JSON, fields []spec.Field) {
	fixed := spec.ObjectSchema(false, "", fields)
	for key, value := range fixed["properties"].(spec.JSON) {
		s["properties"].(spec.JSON)[key] = value
	}
	required, _ := s["required"].([]string)
	more, _ := fixed["required"].([]string)
	s["required"] = append(append([]string(nil), more...), required...)
}

func authSchema() spec.JSON {
	var ways []way
	for _, scheme := range authn.Schemes() {
		s := spec.ObjectSchema(true, "", schemeFields(&scheme))
		with(s, authFields)
		ways = append(ways, way{is("scheme", scheme.Name), s})
	}
	base := spec.ObjectSchema(false, "", authFields)
	base["additionalProperties"] = true
	return choose(ways, base)
}

func environmentSchema() spec.JSON {
	s := spec.ObjectSchema(false, "", environmentFields)
	properties := s["properties"].(spec.JSON)
	properties["secrets"] = spec.JSON{"type": "object", "additionalProperties": spec.ObjectSchema(false, "", secretFields), "description": fieldOf(environmentFields, "secrets").Doc}
	properties["connections"] = spec.JSON{"type": "object", "additionalProperties": spec.JSON{"type": "object"}, "description": fieldOf(environmentFields, "connections").Doc}
	return s
}

// processSchema lets a subscription have the keys of every connector that can
// listen; which of them go together is for lint.
func processSchema(cat *Catalog) spec.JSON {
	s := spec.ObjectSchema(false, "", processFields)
	properties := spec.ObjectSchema(false, "", subscribeFields)["properties"].(spec.JSON)
	for _, name := range cat.Connectors.Names() {
		if sub := cat.Connectors[name].Subscription; sub != nil {
			for key, value := range spec.ObjectSchema(true, "", sub.With)["properties"].(spec.JSON) {
				properties[key] = value
			}
		}
	}
	s["properties"].(spec.JSON)["subscribe"] = spec.JSON{"type": "object", "properties": properties, "required": []string{"connection"}, "additionalProperties": false,
		"description": fieldOf(processFields, "subscribe").Doc}
	return s
}
