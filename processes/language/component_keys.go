package language

import (
	"time"

	"valence/internal/authn"
	"valence/internal/spec"
	"valence/processes"
)

// AuthSettings is the target of decoding the settings of an auth, which are only checked.
type AuthSettings map[string]any

// SchemeFields returns the fields of a scheme.
func SchemeFields(s *authn.Scheme) []spec.Field {
	var fields []spec.Field
	for _, set := range s.Settings {
		switch {
		case set.Map:
			fields = append(fields, require(spec.Any(set.Name, func(*AuthSettings) *any { return new(any) }, set.Doc).Type("map"), set.Required))
		case set.List:
			list := spec.Strings(set.Name, func(*AuthSettings) *[]string { return new([]string) }, set.Doc)
			if set.Secret {
				list.Eg("${secret.NAME}")
			}
			fields = append(fields, require(list, set.Required))
		case set.Duration:
			fields = append(fields, require(spec.Duration(set.Name, func(*AuthSettings) *time.Duration { return new(time.Duration) }, set.Doc).Max(set.Longest()), set.Required))
		case set.Enum != nil:
			fields = append(fields, require(spec.Enum(set.Name, func(*AuthSettings) *string { return new(string) }, set.Doc, set.Enum...), set.Required))
		default:
			text := spec.String(set.Name, func(*AuthSettings) *string { return new(string) }, set.Doc)
			if set.Secret {
				text.Eg("${secret.NAME}")
			}
			fields = append(fields, require(text, set.Required))
		}
	}
	return fields
}

func require[V any](f *spec.Value[AuthSettings, V], required bool) spec.Field {
	if required {
		return f.Required()
	}
	return f
}

// Connection holds the settings of a connection.
type Connection struct {
	Connector, Description string
	Idempotent             string
}

// ConnectionFields declares the keys of a connection.
var ConnectionFields = []spec.Field{
	spec.String("connection", func(c *Connection) *string { return new(string) }, "Name of the connection.").Eg("shop").Required(),
	spec.String("connector", func(c *Connection) *string { return &c.Connector }, "Name of the connector.").Eg("http").Required(),
	idempotentField(func(c *Connection) *string { return &c.Idempotent }),
	descriptionField(func(c *Connection) *string { return &c.Description }),
}

func idempotentField[T any](ptr func(*T) *string) spec.Field {
	return spec.Enum("idempotent", ptr, "What the system does with a call that it receives twice, after a crash or a retry: `key` recognizes the `Idempotency-Key`, "+
		"with `natural` a repeated call changes nothing, and `no` has the effect twice. The `with:` of a call may contain the key too, for this call. Undeclared means `no`.",
		string(processes.ByKey), string(processes.ByNature), string(processes.NotIdempotent)).Eg("key")
}

// CallOptions holds the settings that every `with:` may contain besides those
// of the operation.
type CallOptions struct{ Idempotent string }

// CallOptionFields declares the keys of CallOptions.
var CallOptionFields = []spec.Field{idempotentField(func(o *CallOptions) *string { return &o.Idempotent })}

// Auth holds the settings of an auth.
type Auth struct{ Scheme, Description string }

// AuthFields declares the keys of an auth.
var AuthFields = []spec.Field{
	spec.String("auth", func(a *Auth) *string { return new(string) }, "Name of the auth.").Eg("order").Required(),
	spec.Enum("scheme", func(a *Auth) *string { return &a.Scheme }, "Authentication scheme.", "none", "api_key", "basic", "bearer", "jwt", "hmac", "mtls", "wss").Eg("api_key").Required(),
	descriptionField(func(a *Auth) *string { return &a.Description }),
}

// Profile holds the settings of a profile.
type Profile struct {
	Description, File string
	Schema            any
	Namespaces        []spec.KV
}

// ProfileFields declares the keys of a profile.
var ProfileFields = []spec.Field{
	spec.String("profile", func(p *Profile) *string { return new(string) }, "Name of the profile.").Eg("order").Required(),
	descriptionField(func(p *Profile) *string { return &p.Description }),
	spec.Any("schema", func(p *Profile) *any { return &p.Schema }, "The JSON Schema.").Type("map"),
	spec.String("file", func(p *Profile) *string { return &p.File }, "Path of a file with the JSON Schema, relative to this file.").Eg("schemas/order.json"),
	spec.StringMap("namespaces", func(p *Profile) *[]spec.KV { return &p.Namespaces }, "XML: namespace URIs by the prefix that the schema uses, as in `o:order`. Other prefixes are removed. Data with these prefixes can be written as XML."),
}

// Environment holds the settings of an environment.
type Environment struct {
	Description          string
	Values               []spec.KV
	Secrets, Connections any
}

// Secret holds the settings of a secret.
type Secret struct{ processes.SecretSource }

// EnvironmentFields declares the keys of an environment.
var EnvironmentFields = []spec.Field{
	spec.String("environment", func(e *Environment) *string { return new(string) }, "Name of the environment.").Eg("order").Required(),
	descriptionField(func(e *Environment) *string { return &e.Description }),
	spec.StringMap("values", func(e *Environment) *[]spec.KV { return &e.Values }, "Values that expressions read as `env.NAME`."),
	spec.Any("secrets", func(e *Environment) *any { return &e.Secrets }, "Sources of the values that expressions read as `secret.NAME`: `{ file: PATH }` or `{ variable: NAME }`, never the value itself.").Type("map of secrets"),
	spec.Any("connections", func(e *Environment) *any { return &e.Connections }, "Settings that override those of connections, by name of the connection.").Type("map of maps"),
}

// SecretFields declares the keys of a secret.
var SecretFields = []spec.Field{
	spec.String("file", func(s *Secret) *string { return &s.File }, "Path of a file that contains only the secret, relative to the folder of the project."),
	spec.String("variable", func(s *Secret) *string { return &s.Variable }, "Name of an environment variable of the atom with the secret."),
}

// Project holds the settings of the project.
type Project struct {
	Name, Description string
	OnFailure         string
	Retry             *processes.Retry
	Retention         *Retention
	Redact            []string
}

// ProjectFields declares the keys of the project.
var ProjectFields = []spec.Field{
	spec.String("project", func(p *Project) *string { return &p.Name }, "Name of the project.").Eg("shop-to-erp").Required(),
	descriptionField(func(p *Project) *string { return &p.Description }),
	spec.Ref("on_failure", func(p *Project) *string { return &p.OnFailure }, "process", "Process to start for each execution that fails or expires, committed together with the failure. Its document holds `execution`, `process`, `status`, `fingerprint`, `error`, `track`, `received_at`, `ended_at` and `correlation_id`; `error` holds `code`, `message`, `step`, `status` and `position`. Its own failures, and those of processes that it starts, do not start it again.").Eg("tell-someone"),
	spec.Retry("retry", func(p *Project) **processes.Retry { return &p.Retry }, "[Retry policy](#retry-policy) of all calls. Defaults to 6 attempts with `10s..10m`, or 1 attempt in synchronous executions."),
	retentionField(func(p *Project) **Retention { return &p.Retention }),
	redactField(func(p *Project) *[]string { return &p.Redact }),
}
