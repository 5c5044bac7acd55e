package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/authn"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// pick returns a map with the keys of n for which keep returns true.
func pick(n *yaml.Node, keep func(key string) bool) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if keep(n.Content[i].Value) {
			out.Content = append(out.Content, n.Content[i], n.Content[i+1])
		}
	}
	return out
}

func isField(fields []spec.Field, key string) bool { return spec.Find(fields, key) != nil }

// evaluated compiles settings with expressions over env and secret. It also
// returns a digest of the functions and tables that they use.
func (l *loader) evaluated(c *component, n *yaml.Node) (*expression.Template, []byte) {
	b := &processBuilder{comp: c, l: l}
	t := (&compiler{b: b, context: inConnection}).compileTemplate(n, nil)
	l.problems = append(l.problems, b.problems...)
	l.project.Needs = append(l.project.Needs, b.needs...)
	return t, b.used()
}

func (l *loader) connection(c *component) {
	var decl language.Connection
	own := pick(c.root, func(k string) bool { return isField(language.ConnectionFields, k) })
	d := l.decoder(c, nil, nil)
	d.Mapping(own, &spec.Keys{What: "a connection", Fields: language.ConnectionFields, Target: &decl})
	conn := &processes.Connection{Name: c.name(), Pos: c.pos(c.key), Hash: fingerprint(c.root), Folder: c.base}
	conn.Idempotent = processes.Idempotency(decl.Idempotent)
	if l.named["connection"][conn.Name] == c {
		l.project.Connections[conn.Name] = conn
	}
	if decl.Connector == "" {
		return
	}
	connector := l.cat.Connectors[decl.Connector]
	if connector == nil {
		if slices.Contains(l.cat.ConnectorNames(), decl.Connector) {
			d.NotAvailable(valueAt(c.root, "connector"), "the connector `"+decl.Connector+"`", l.cat.Connectors.Names()...)
			return
		}
		d.Problem(valueAt(c.root, "connector"), processes.CodeUnknownConnector, "unknown connector `"+cut(decl.Connector)+"`", spec.Suggestion(decl.Connector, l.cat.Connectors.Names())).
			Correct(decl.Connector, spec.Nearest(decl.Connector, l.cat.Connectors.Names()))
		return
	}
	conn.Connector = connector
	rest := pick(c.root, func(k string) bool { return !isField(language.ConnectionFields, k) })
	settings, ok := l.checkSettings(c, conn, rest, false)
	if ok && connector.Check != nil {
		for _, wrong := range connector.Check(settings) {
			l.report(nil, conn.Pos, processes.CodeWrongSettings, "connection `"+conn.Name+"`: "+wrong, "see the settings of the connector "+connector.Name+" in the reference")
		}
	}
	l.describe(c, conn, settings)
	l.plainSecrets(c, connector.Settings, rest)
	var used []byte
	if conn.Settings, used = l.evaluated(c, rest); len(used) > 0 {
		sum := sha256.Sum256(append([]byte(conn.Hash), used...))
		conn.Hash = hex.EncodeToString(sum[:16])
	}
	if digest, ok := l.uses["connection "+conn.Name]; ok {
		sum := sha256.Sum256([]byte(conn.Hash + digest))
		conn.Hash = hex.EncodeToString(sum[:16])
	}
}

// checkSettings checks the settings of a connection against the declaration of
// its connector. partial settings are the overrides of an environment.
func (l *loader) checkSettings(c *component, conn *processes.Connection, n *yaml.Node, partial bool) (any, bool) {
	what := "a connection of the connector " + conn.Connector.Name
	limits := l.decoder(c, nil, nil)
	limits.Dynamic, limits.Partial = true, partial
	var lim processes.ConnectionLimits
	limits.Mapping(pick(n, func(k string) bool { return isField(processes.LimitFields, k) }), &spec.Keys{What: what, Fields: processes.LimitFields, Target: &lim})
	var known []string
	for _, f := range processes.LimitFields {
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

func (l *loader) auth(c *component) {
	var decl language.Auth
	own := pick(c.root, func(k string) bool { return isField(language.AuthFields, k) })
	d := l.decoder(c, nil, nil)
	d.Mapping(own, &spec.Keys{What: "an auth", Fields: language.AuthFields, Target: &decl})
	a := &processes.Auth{Name: c.name(), Scheme: decl.Scheme, Pos: c.pos(c.key)}
	if l.named["auth"][a.Name] == c {
		l.project.Auths[a.Name] = a
	}
	scheme := processes.AuthScheme(decl.Scheme)
	if scheme == nil {
		return
	}
	rest := pick(c.root, func(k string) bool { return !isField(language.AuthFields, k) })
	check := l.decoder(c, nil, nil)
	check.Dynamic = true
	check.Mapping(rest, &spec.Keys{What: "an auth with the scheme " + scheme.Name, Fields: language.SchemeFields(scheme), Target: &language.AuthSettings{}, Also: []string{"description"}})
	l.together(c, scheme.Name, rest)
	for _, set := range scheme.Settings {
		if v := valueAt(rest, set.Name); v != nil && set.Secret && !readsSecret(v) {
			l.problems = append(l.problems, &fault.Problem{Pos: c.pos(v), Severity: fault.Warning, Code: processes.CodePlainSecret, Secret: true,
				Msg: "the value of `" + set.Name + ":` is readable in the file", Hint: "write `" + set.Name + ": ${secret.NAME}`, and declare the secret in the environment"})
		}
	}
	a.Settings, _ = l.evaluated(c, rest)
}

// credential matches names of headers that carry credentials.
var credential = regexp.MustCompile(`(?i)authorization|api-?key|token|secret|password`)

// withPassword matches a URL with a password.
var withPassword = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://[^/@:]*:[^/@]+@`)

// plainSecrets warns of secrets in the settings of a connection that are
// readable in the file.
func (l *loader) plainSecrets(c *component, fields []spec.Field, n *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		info := spec.Find(fields, key)
		switch {
		case info == nil:
		case info.Kind == spec.KindObject:
			l.plainSecrets(c, info.Fields, v)
		case info.Kind == spec.KindStringMap && v.Kind == yaml.MappingNode:
			for j := 0; j+1 < len(v.Content); j += 2 {
				if credential.MatchString(v.Content[j].Value) && !readsSecret(v.Content[j+1]) {
					l.plainSecret(c, v.Content[j].Value, v.Content[j+1])
				}
			}
		case info.Secret && !readsSecret(v), withPassword.MatchString(v.Value) && !spec.HoldsExpression(v.Value):
			l.plainSecret(c, key, v)
		}
	}
}

func (l *loader) plainSecret(c *component, key string, v *yaml.Node) {
	hint := "write `" + cut(key) + ": ${secret.NAME}`, and declare the secret in the environment"
	if withPassword.MatchString(v.Value) {
		settings := "`user:` and `password: ${secret.NAME}`"
		if n := valueAt(c.root, "connector"); n != nil && n.Value == "http" {
			settings = "`auth: { scheme: basic, user: …, password: \"${secret.NAME}\" }`"
		}
		hint = "remove the user and the password from `" + cut(key) + ":`, write " + settings + ", and declare the secret in the environment"
	}
	l.problems = append(l.problems, &fault.Problem{Pos: c.pos(v), Severity: fault.Warning, Code: processes.CodePlainSecret, Secret: true,
		Msg: "the value of `" + cut(key) + ":` is readable in the file", Hint: hint})
}

// exclusive lists pairs of settings of which a scheme requires exactly one.
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
		l.report(nil, c.pos(second), processes.CodeWrongSettings, "`"+pair[0]+":` and `"+pair[1]+":` exclude each other", "remove one of them")
	}
	if scheme == "hmac" && first != nil {
		for _, key := range []string{"algorithm", "encoding", "prefix", "timestamp", "id", "signed"} {
			if v := valueAt(n, key); v != nil {
				l.report(nil, c.pos(v), processes.CodeWrongSettings, "`"+key+":` is not allowed with `preset:`", "remove it, or remove `preset:`")
			}
		}
	}
	if v := valueAt(n, "signed"); scheme == "hmac" && first == nil && v != nil && spec.ShapeOf(v) == spec.TextShape {
		for _, msg := range authn.SignedProblems(v.Value, valueAt(n, "timestamp") != nil, valueAt(n, "id") != nil) {
			l.report(nil, c.pos(v), processes.CodeWrongSettings, "`signed:` "+msg, "")
		}
	}
}

// readsSecret reports whether a value reveals no secret: all of its strings are
// expressions or public keys.
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
