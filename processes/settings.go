package processes

import (
	"fmt"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"valence/internal/authn"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// pick gives the mapping of those keys of n that keep wants.
func pick(n *yaml.Node, keep func(key string) bool) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if keep(n.Content[i].Value) {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return out
}

func isField(fields []spec.Field, key string) bool { return fieldOf(fields, key) != nil }

// evaluated compiles settings that hold expressions over env and secret.
func (l *loader) evaluated(c *component, n *yaml.Node) *expression.Template {
	b := &building{comp: c, l: l}
	t := (&compiler{b: b, place: inConnection}).compileTemplate(n, nil)
	l.problems = append(l.problems, b.problems...)
	l.project.needs = append(l.project.needs, b.needs...)
	return t
}

func (l *loader) connection(c *component) {
	var decl connectionDecl
	own := pick(c.root, func(k string) bool { return isField(connectionFields, k) })
	d := l.decoder(c, nil, nil)
	d.Mapping(own, &spec.Keys{What: "a connection", Fields: connectionFields, Target: &decl})
	conn := &Connection{Name: c.name(), Pos: c.pos(c.key), Hash: fingerprint(c.root)}
	if l.named["connection"][conn.Name] == c {
		l.project.Connections[conn.Name] = conn
	}
	if decl.Connector == "" {
		return
	}
	connector := l.cat.Connectors[decl.Connector]
	if connector == nil {
		d.Problem(valueAt(c.root, "connector"), CodeUnknownConnector, "there is no connector `"+cut(decl.Connector)+"`", suggestion(decl.Connector, l.cat.Connectors.Names()))
		return
	}
	conn.Connector = connector
	rest := pick(c.root, func(k string) bool { return !isField(connectionFields, k) })
	if settings, ok := l.checkSettings(c, conn, rest, false); ok && connector.Check != nil {
		for _, wrong := range connector.Check(settings) {
			l.report(nil, conn.Pos, CodeWrongSettings, "connection `"+conn.Name+"`: "+wrong, "see the settings of the connector "+connector.Name+" in the reference")
		}
	}
	conn.Settings = l.evaluated(c, rest)
}

// checkSettings holds the settings of a connection, or those that an
// environment puts in their place, against what its connector declares.
func (l *loader) checkSettings(c *component, conn *Connection, n *yaml.Node, partial bool) (any, bool) {
	what := "a connection of the connector " + conn.Connector.Name
	limits := l.decoder(c, nil, nil)
	limits.Dynamic, limits.Partial = true, partial
	var lim ConnectionLimits
	limits.Mapping(pick(n, func(k string) bool { return isField(limitFields, k) }), &spec.Keys{What: what, Fields: limitFields, Target: &lim})
	var known []string
	for _, f := range limitFields {
		known = append(known, f.Info().Key)
	}
	if !partial {
		known = append(known, "description")
	}
	var settings any
	if conn.Connector.NewSettings != nil {
		settings = conn.Connector.NewSettings()
	}
	d := l.decoder(c, nil, nil)
	d.Dynamic, d.Partial = true, partial
	d.Mapping(n, &spec.Keys{What: what, Fields: conn.Connector.Settings, Target: settings, Also: known})
	return settings, d.Fails()+limits.Fails() == 0
}

// Resolve evaluates a connection's settings, with those of override in place
// of its own where they are there, and those of fixed (or nil) in place of
// both, and decodes them. An error is a *fault.Problem at the connection.
func (c *Connection) Resolve(env *expression.Env, override *expression.Template, fixed *document.Object) (ConnectionLimits, any, error) {
	var limits ConnectionLimits
	wrong := func(err error) (ConnectionLimits, any, error) {
		return ConnectionLimits{}, nil, &fault.Problem{Pos: c.Pos, Code: CodeWrongSettings, Msg: "connection `" + c.Name + "`: " + err.Error(),
			Hint: "look at the values that its expressions have here"}
	}
	all, err := settingsOf(c.Settings, env)
	if err != nil {
		return wrong(err)
	}
	replaced, err := settingsOf(override, env)
	if err != nil {
		return wrong(err)
	}
	for i := range replaced.Len() {
		all.Set(replaced.At(i))
	}
	if fixed != nil {
		for i := range fixed.Len() {
			all.Set(fixed.At(i))
		}
	}
	own, common := &document.Object{}, &document.Object{}
	for i := range all.Len() {
		k, v := all.At(i)
		if isField(limitFields, k) {
			common.Set(k, v)
		} else {
			own.Set(k, v)
		}
	}
	if err := spec.Bind(limitFields, &limits, common); err != nil {
		return wrong(err)
	}
	var settings any
	if c.Connector.NewSettings != nil {
		settings = c.Connector.NewSettings()
	}
	if err := spec.Bind(c.Connector.Settings, settings, own); err != nil {
		return wrong(err)
	}
	return limits, settings, nil
}

// settingsOf evaluates a template that gives an object, and decodes all of it.
func settingsOf(t *expression.Template, env *expression.Env) (*document.Object, error) {
	if t == nil {
		return &document.Object{}, nil
	}
	v, err := t.Value(env)
	if err != nil {
		return nil, err
	}
	o, ok := decoded(v).(*document.Object)
	if !ok {
		return nil, fmt.Errorf("its settings are %s, not an object", document.TypeName(v))
	}
	return o, nil
}

func decoded(v any) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		out := &document.Object{}
		for i := range v.Len() {
			k, e := v.At(i)
			out.Set(k, decoded(e))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = decoded(e)
		}
		return out
	default:
		return v
	}
}

// proof is what the settings of an auth decode into, for checking alone.
type proof map[string]any

// schemeFields declares the settings of a scheme.
func schemeFields(s *authn.Scheme) []spec.Field {
	var fields []spec.Field
	for _, set := range s.Settings {
		switch {
		case set.Map:
			fields = append(fields, require(spec.Any(set.Name, func(*proof) *any { return new(any) }, set.Doc), set.Required))
		case set.List:
			list := spec.Strings(set.Name, func(*proof) *[]string { return new([]string) }, set.Doc)
			if set.Secret {
				list.Eg("${secret.NAME}")
			}
			fields = append(fields, require(list, set.Required))
		case set.Duration:
			fields = append(fields, require(spec.Duration(set.Name, func(*proof) *time.Duration { return new(time.Duration) }, set.Doc).Max(24*time.Hour), set.Required))
		case set.Enum != nil:
			fields = append(fields, require(spec.Enum(set.Name, func(*proof) *string { return new(string) }, set.Doc, set.Enum...), set.Required))
		default:
			fields = append(fields, require(spec.String(set.Name, func(*proof) *string { return new(string) }, set.Doc), set.Required))
		}
	}
	return fields
}

func require[V any](f *spec.Value[proof, V], required bool) spec.Field {
	if required {
		return f.Required()
	}
	return f
}

func schemeOf(name string) *authn.Scheme {
	for _, s := range authn.Schemes() {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

func (l *loader) auth(c *component) {
	var decl authDecl
	own := pick(c.root, func(k string) bool { return isField(authFields, k) })
	d := l.decoder(c, nil, nil)
	d.Mapping(own, &spec.Keys{What: "an auth", Fields: authFields, Target: &decl})
	a := &Auth{Name: c.name(), Scheme: decl.Scheme, Pos: c.pos(c.key)}
	if l.named["auth"][a.Name] == c {
		l.project.Auths[a.Name] = a
	}
	scheme := schemeOf(decl.Scheme)
	if scheme == nil {
		return
	}
	rest := pick(c.root, func(k string) bool { return !isField(authFields, k) })
	check := l.decoder(c, nil, nil)
	check.Dynamic = true
	check.Mapping(rest, &spec.Keys{What: "an auth with the scheme " + scheme.Name, Fields: schemeFields(scheme), Target: &proof{}, Also: []string{"description"}})
	l.together(c, scheme.Name, rest)
	for _, set := range scheme.Settings {
		if v := valueAt(rest, set.Name); v != nil && set.Secret && !readsSecret(v) {
			l.problems = append(l.problems, &fault.Problem{Pos: c.pos(v), Severity: fault.Warning, Code: CodePlainSecret,
				Msg: "`" + set.Name + ":` stands in the file for everybody who can read it", Hint: "write `" + set.Name + ": ${secret.NAME}`, and keep the value in the environment"})
		}
	}
	a.Settings = l.evaluated(c, rest)
}

// exclusive are settings of a scheme of which there must be exactly one.
var exclusive = map[string][2]string{"api_key": {"header", "query"}, "jwt": {"jwks", "key"}, "hmac": {"preset", "header"}}

func (l *loader) together(c *component, scheme string, n *yaml.Node) {
	pair, ok := exclusive[scheme]
	if !ok {
		return
	}
	first, second := valueAt(n, pair[0]), valueAt(n, pair[1])
	switch {
	case first == nil && second == nil:
		l.report(nil, c.pos(c.key), spec.CodeMissingKey, "an auth with the scheme "+scheme+" needs `"+pair[0]+":` or `"+pair[1]+":`", "add one of them")
	case first != nil && second != nil:
		l.report(nil, c.pos(second), CodeWrongSettings, "`"+pair[0]+":` and `"+pair[1]+":` exclude each other", "keep one of them")
	}
	if scheme == "hmac" && first != nil {
		for _, key := range []string{"algorithm", "encoding", "timestamp"} {
			if v := valueAt(n, key); v != nil {
				l.report(nil, c.pos(v), CodeWrongSettings, "`"+key+":` is what the preset decides", "drop it, or drop `preset:`")
			}
		}
	}
}

// readsSecret reports whether every text of a value is an expression, or the
// value is no text at all.
func readsSecret(n *yaml.Node) bool {
	if n.Kind == yaml.SequenceNode {
		for _, e := range n.Content {
			if !readsSecret(e) {
				return false
			}
		}
		return true
	}
	return n.Kind != yaml.ScalarNode || spec.HoldsExpression(n.Value) || strings.Contains(n.Value, "-----BEGIN PUBLIC") || strings.Contains(n.Value, "-----BEGIN CERTIFICATE")
}

// Resolve evaluates the settings for authn.New. An error is a *fault.Problem
// at the auth.
func (a *Auth) Resolve(env *expression.Env) (map[string]any, error) {
	o, err := settingsOf(a.Settings, env)
	if err == nil {
		out, _ := document.Plain(o).(map[string]any)
		for _, set := range schemeOf(a.Scheme).Settings {
			if text, ok := out[set.Name].(string); ok && set.Duration {
				if out[set.Name], err = spec.ParseDuration(text); err != nil {
					err = fmt.Errorf("`%s:` is not a duration", set.Name)
					break
				}
			}
		}
		if err == nil {
			return out, nil
		}
	}
	return nil, &fault.Problem{Pos: a.Pos, Code: CodeWrongSettings, Msg: "auth `" + a.Name + "`: " + err.Error(), Hint: "look at the values that its expressions have here"}
}
