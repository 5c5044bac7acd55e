package platform

import (
	"strings"

	"valence/cloud"
	"valence/cloud/platform/codec"
	"valence/internal/openapi"
)

// extensions holds the values that an environment sets for its deployments.
type extensions struct {
	environment string
	fields      []cloud.Extension
}

// Prefixes of field names, by their place in the public API's form: env.NAME is
// a property, secret.NAME an encrypted process property of the component
// "secret", connection.NAME.SETTING a field of a connection.
const (
	envPrefix        = "env."
	secretPrefix     = "secret."
	connectionPrefix = "connection."
	secretComponent  = "secret"
)

var extensionsObject = &object[extensions]{
	Name: "EnvironmentExtensions", ID: "id", Doc: "The values that an environment sets for its deployments: `env` as properties, `secret` as encrypted process properties, connection settings as connection fields. Secrets are write-only.",
	Properties: []property[extensions]{
		{Name: "id", Attr: true, Doc: "The environment.", Of: func(_ *call, x extensions) any { return x.environment }},
		{Name: "environmentId", Attr: true, Filter: true, Doc: "The environment.", Of: func(_ *call, x extensions) any { return x.environment }},
		{Name: "extensionGroupId", Filter: true, Hidden: true, Doc: "Integration packs do not exist here.", Of: func(*call, extensions) any { return "" }},
	},
	Rules: map[verb]cloud.Action{verbGet: "extension.read", verbBulk: "extension.read", verbQuery: "extension.read", verbUpdate: "extension.update"},
	Key:   func(x extensions) string { return x.environment },
	Get:   getExtensions,
	List: func(c *call) ([]extensions, error) {
		environments, err := c.service.Environments.List(c.ctx, c.who)
		var all []extensions
		for _, e := range environments {
			x, err := getExtensions(c, e.ID)
			if err != nil {
				return nil, err
			}
			all = append(all, x)
		}
		return all, err
	},
	Update: updateExtensions,
	Extra:  encodeExtensions,
	Also: doc{"partial": doc{"type": "boolean", "writeOnly": true, "description": "Keep the fields that the request does not name."},
		"properties":        openapi.Object(nil, doc{"property": openapi.Array(texts("name", "value"))}),
		"connections":       openapi.Object(nil, doc{"connection": openapi.Array(openapi.Object(nil, doc{"id": doc{"type": "string"}, "field": openapi.Array(texts("id", "value"))}))}),
		"processProperties": openapi.Object(nil, doc{"ProcessProperty": openapi.Array(openapi.Object(nil, doc{"id": doc{"const": secretComponent}, "ProcessPropertyValue": openapi.Array(texts("key", "value"))}))})},
}

func getExtensions(c *call, id string) (extensions, error) {
	fields, err := c.service.Environments.Extensions(c.ctx, c.who, id)
	if err == nil {
		var e cloud.Environment
		e, err = c.service.Environments.Get(c.ctx, c.who, id)
		id = e.ID // the request may have named the environment
	}
	return extensions{id, fields}, err
}

// encodeExtensions writes fields in the public API's form.
func encodeExtensions(_ *call, x extensions) []codec.Field {
	connections := map[string]*codec.Object{}
	fields := map[string][]*codec.Object{}
	var order, properties, secrets []*codec.Object
	for _, f := range x.fields {
		state := []codec.Field{
			{Name: "useDefault", Value: !f.Set, Attr: true}, {Name: "usesEncryption", Value: f.Secret, Attr: true},
			{Name: "encryptedValueSet", Value: f.Secret && f.Set, Attr: true}, {Name: "componentOverride", Value: f.Set, Attr: true},
		}
		value := codec.Field{Name: "value", Value: f.Value, Attr: true, Keep: f.Set && !f.Secret}
		switch {
		case strings.HasPrefix(f.Name, envPrefix):
			properties = append(properties, &codec.Object{Type: "Property", Fields: []codec.Field{
				{Name: "name", Value: strings.TrimPrefix(f.Name, envPrefix), Attr: true}, value}})
		case strings.HasPrefix(f.Name, secretPrefix):
			key := strings.TrimPrefix(f.Name, secretPrefix)
			secrets = append(secrets, &codec.Object{Type: "ProcessPropertyValue", Fields: append([]codec.Field{
				{Name: "key", Value: key, Attr: true}, {Name: "label", Value: key, Attr: true}}, state...)})
		case strings.HasPrefix(f.Name, connectionPrefix):
			name, setting, _ := strings.Cut(strings.TrimPrefix(f.Name, connectionPrefix), ".")
			if connections[name] == nil {
				connections[name] = &codec.Object{Type: "Connection"}
				connections[name].Fields = []codec.Field{{Name: "id", Value: name, Attr: true}, {Name: "name", Value: name, Attr: true}}
				order = append(order, connections[name])
			}
			fields[name] = append(fields[name], &codec.Object{Type: "Field", Fields: append([]codec.Field{{Name: "id", Value: setting, Attr: true}, value}, state...)})
		}
	}
	for name, o := range connections {
		o.Fields = append(o.Fields, codec.Field{Name: "field", Value: fields[name]})
	}
	var out []codec.Field
	group := func(name, kind, item string, members []*codec.Object) {
		if len(members) > 0 {
			out = append(out, codec.Field{Name: name, Value: &codec.Object{Type: kind, Fields: []codec.Field{{Name: item, Value: members}}}})
		}
	}
	group("connections", "Connections", "connection", order)
	group("properties", "Properties", "property", properties)
	if len(secrets) > 0 {
		group("processProperties", "OverrideProcessProperties", "ProcessProperty", []*codec.Object{{Type: "OverrideProcessProperty", Fields: []codec.Field{
			{Name: "id", Value: secretComponent, Attr: true}, {Name: "name", Value: secretComponent, Attr: true}, {Name: "ProcessPropertyValue", Value: secrets}}}})
	}
	return out
}

// updateExtensions sets fields. Fields that the request does not name are kept
// if partial is set, otherwise removed.
func updateExtensions(c *call, id string, in *codec.Node) (extensions, error) {
	partial, err := in.Bool("partial", false)
	if err != nil {
		return extensions{}, refuse(400, "%v", err)
	}
	fields, kept, err := readExtensions(in)
	if err != nil {
		return extensions{}, err
	}
	if !partial {
		named := map[string]bool{}
		for _, f := range fields {
			named[f.Name] = true
		}
		before, err := c.service.Environments.Extensions(c.ctx, c.who, id)
		if err != nil {
			return extensions{}, err
		}
		for _, f := range before {
			if f.Set && !named[f.Name] && !kept[f.Name] {
				fields = append(fields, cloud.Extension{Name: f.Name})
			}
		}
	}
	if err := c.service.Environments.SetExtensions(c.ctx, c.who, id, fields); err != nil {
		return extensions{}, err
	}
	return getExtensions(c, id)
}

// readExtensions reads the fields of a request. kept lists secrets named without
// a value, as clients send back the form they read.
func readExtensions(in *codec.Node) (fields []cloud.Extension, kept map[string]bool, err error) {
	kept = map[string]bool{}
	add := func(name string, n *codec.Node, secret bool) {
		standard, failed := n.Bool("useDefault", false)
		if failed != nil {
			err = refuse(400, "%s: %v", name, failed)
		}
		if hidden, _ := n.Bool("usesEncryption", false); hidden && !secret && n.String("value") != "" {
			err = refuse(400, "%s: only secrets are stored encrypted: set a value of the process property %q and let the setting read it as ${secret.NAME}", name, secretComponent)
		}
		value := n.String("value")
		switch {
		case standard:
			fields = append(fields, cloud.Extension{Name: name})
		case secret && value == "":
			kept[name] = true
		default:
			fields = append(fields, cloud.Extension{Name: name, Value: value, Set: n.Has("value")})
		}
	}
	for _, p := range in.Get("properties").All("property") {
		add(envPrefix+p.String("name"), p, false)
	}
	for _, connection := range in.Get("connections").All("connection") {
		name := connection.String("id")
		if name == "" {
			name = connection.String("name")
		}
		for _, f := range connection.All("field") {
			add(connectionPrefix+name+"."+f.String("id"), f, false)
		}
	}
	for _, p := range in.Get("processProperties").All("ProcessProperty") {
		if id := p.String("id"); id != secretComponent {
			return nil, nil, refuse(400, "no process property %q: secrets are values of the process property %q", id, secretComponent)
		}
		for _, v := range p.All("ProcessPropertyValue") {
			add(secretPrefix+v.String("key"), v, true)
		}
	}
	for _, other := range []string{"operations", "tradingPartners", "sharedCommunications", "crossReferences", "PGPCertificates"} {
		if n := in.Get(other); n.Empty() {
			continue
		}
		return nil, nil, refuse(400, "%s cannot be extended here: use connections, properties or the process property %q", other, secretComponent)
	}
	return fields, kept, err
}
