package language

import (
	"encoding/json"

	"valence/internal/authn"
	"valence/internal/spec"
	"valence/processes"
)

// Schema returns the JSON Schema (draft-07) of the language, for editors. It
// checks each document by the kind of its first key and rejects unknown keys, but
// finds fewer problems than lint.
func Schema(cat *processes.Catalog) []byte {
	definitions := spec.JSON{
		"retry":       spec.ObjectSchema(false, "", RetryFields),
		"steps":       spec.JSON{"type": "array", "items": spec.JSON{"$ref": "#/definitions/step"}},
		"step":        stepSchema(cat),
		"process":     processSchema(cat),
		"connection":  connectionSchema(cat),
		"auth":        authSchema(),
		"profile":     spec.ObjectSchema(false, "", ProfileFields),
		"environment": environmentSchema(),
		"project":     spec.ObjectSchema(false, "", ProjectFields),
		"function":    spec.ObjectSchema(false, "", FunctionFields),
		"table":       spec.ObjectSchema(false, "", TableFields),
		"test":        testSchema(),
	}
	for i := range cat.Steps {
		k := &cat.Steps[i]
		s := spec.ObjectSchema(false, k.Kind, k.Fields, StepFields)
		s["description"] = k.Doc
		definitions["step_"+k.Kind] = s
	}
	// A process may have the key profile, and an environment connections. The
	// order of the conditions stands for the first key of the document.
	var kinds []branch
	for _, name := range []string{"process", "connection", "environment", "project", "auth", "profile", "function", "table", "test"} {
		kinds = append(kinds, branch{spec.JSON{"required": []string{name}}, spec.JSON{"$ref": "#/definitions/" + name}})
		definitions[name].(spec.JSON)["description"] = kindDoc(name)
	}
	firstKeys := spec.JSON{}
	for _, name := range KindNames() {
		firstKeys[name] = spec.JSON{"description": kindDoc(name)}
	}
	root := choose(kinds, spec.JSON{"properties": firstKeys, "additionalProperties": false, "minProperties": 1})
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "A component of a Valence project"
	root["type"] = "object"
	root["definitions"] = definitions
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // depends only on declarations
	}
	return append(out, '\n')
}

func kindDoc(name string) string { return Kinds[name].Doc }

// branch is the if and then of a schema.
type branch struct{ when, then spec.JSON }

// choose returns a schema that applies the first branch whose condition is true.
func choose(branches []branch, otherwise spec.JSON) spec.JSON {
	if len(branches) == 0 {
		return otherwise
	}
	return spec.JSON{"if": branches[0].when, "then": branches[0].then, "else": choose(branches[1:], otherwise)}
}

func stepSchema(cat *processes.Catalog) spec.JSON {
	var branches []branch
	known := spec.JSON{}
	for i := range cat.Steps {
		k := &cat.Steps[i]
		branches = append(branches, branch{spec.JSON{"required": []string{k.Kind}}, spec.JSON{"$ref": "#/definitions/step_" + k.Kind}})
		known[k.Kind] = spec.JSON{"description": k.Doc}
	}
	for _, f := range StepFields {
		known[f.Info().Key] = spec.JSON{"description": f.Info().Doc}
	}
	s := choose(branches, spec.JSON{"properties": known, "additionalProperties": false, "minProperties": 1})
	s["type"] = "object"
	return s
}

// is returns the condition that a key has a value.
func is(key, value string) spec.JSON {
	return spec.JSON{"required": []string{key}, "properties": spec.JSON{key: spec.JSON{"const": value}}}
}

func connectionSchema(cat *processes.Catalog) spec.JSON {
	var branches []branch
	for _, name := range cat.Connectors.Names() {
		s := spec.ObjectSchema(true, "", processes.LimitFields, cat.Connectors[name].Settings)
		with(s, ConnectionFields)
		branches = append(branches, branch{is("connector", name), s})
	}
	base := spec.ObjectSchema(true, "", ConnectionFields)
	base["properties"].(spec.JSON)["connector"] = spec.JSON{"enum": cat.Connectors.Names(), "description": "Name of the connector."}
	base["additionalProperties"] = true
	return choose(branches, base)
}

// with adds fields whose values cannot be expressions.
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
	var branches []branch
	for _, scheme := range authn.Schemes() {
		s := spec.ObjectSchema(true, "", SchemeFields(&scheme))
		with(s, AuthFields)
		branches = append(branches, branch{is("scheme", scheme.Name), s})
	}
	base := spec.ObjectSchema(false, "", AuthFields)
	base["additionalProperties"] = true
	return choose(branches, base)
}

func environmentSchema() spec.JSON {
	s := spec.ObjectSchema(false, "", EnvironmentFields)
	properties := s["properties"].(spec.JSON)
	properties["secrets"] = spec.JSON{"type": "object", "additionalProperties": spec.ObjectSchema(false, "", SecretFields), "description": spec.Find(EnvironmentFields, "secrets").Doc}
	properties["connections"] = spec.JSON{"type": "object", "additionalProperties": spec.JSON{"type": "object"}, "description": spec.Find(EnvironmentFields, "connections").Doc}
	return s
}

// processSchema returns the schema of a process. It allows the subscription keys
// of all connectors; lint checks their combination.
func processSchema(cat *processes.Catalog) spec.JSON {
	s := spec.ObjectSchema(false, "", ProcessFields)
	properties := spec.ObjectSchema(false, "", SubscribeFields)["properties"].(spec.JSON)
	for _, name := range cat.Connectors.Names() {
		if sub := cat.Connectors[name].Subscription; sub != nil {
			for key, value := range spec.ObjectSchema(true, "", sub.With)["properties"].(spec.JSON) {
				properties[key] = value
			}
		}
	}
	s["properties"].(spec.JSON)["subscribe"] = spec.JSON{"type": "object", "properties": properties, "required": []string{"connection"}, "additionalProperties": false,
		"description": spec.Find(ProcessFields, "subscribe").Doc}
	return s
}
