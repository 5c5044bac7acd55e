package loader

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/profile"
	"valence/internal/spec"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/language"
)

// defaults decodes the project component.
func (l *loader) defaults(c *component) {
	if first := l.defaultsAt; first != nil {
		l.report(nil, c.pos(c.key), processes.CodeDuplicateName, "the project already has a `project:` at "+first.pos(first.key).String(), "remove one of them")
		return
	}
	l.defaultsAt = c
	var decl language.Project
	b := &processBuilder{comp: c, l: l}
	d := l.decoder(c, nil, &compiler{b: b, context: inConnection})
	d.Mapping(c.root, &spec.Keys{What: "a project", Fields: language.ProjectFields, Target: &decl})
	checkRedact(d, c.root, decl.Redact)
	into := &l.project.Defaults
	into.Name, into.OnFailure, into.Retry, into.Redact = decl.Name, decl.OnFailure, decl.Retry, decl.Redact
	if decl.Retention != nil {
		into.Retention = decl.Retention.Resolve()
	}
}

func (l *loader) profile(c *component) {
	var decl language.Profile
	d := l.decoder(c, nil, nil)
	d.Mapping(c.root, &spec.Keys{What: "a profile", Fields: language.ProfileFields, Target: &decl})
	p := &processes.Profile{Name: c.name(), Pos: c.pos(c.key)}
	if l.named["profile"][p.Name] == c {
		l.project.Profiles[p.Name] = p
	}
	schema, file := valueAt(c.root, "schema"), valueAt(c.root, "file")
	switch {
	case schema != nil && file != nil:
		d.Problem(file, processes.CodeNoEffect, "`schema:` and `file:` exclude each other", "remove one of them")
		return
	case schema == nil && file == nil:
		d.Problem(c.key, spec.CodeMissingKey, "a profile needs `schema:` or `file:`", "add `schema:` with a JSON Schema")
		return
	case d.Fails() > 0:
		return
	}
	var text []byte
	where := schema
	if schema != nil {
		text = appendJSON(nil, schema)
	} else if text, where = l.schemaFile(d, c, file, decl.File); text == nil {
		return
	}
	sum := digestOf(where)
	for _, n := range decl.Namespaces {
		sum = sha256.Sum256(append(sum[:], n.Name+"="+n.Value+"\n"...))
	}
	p.Hash = hex.EncodeToString(sum[:16])
	p.Shape, p.Source = xmlShape(text, decl.Namespaces), text
	var err error
	if p.Schema, err = profile.Compile(text, p.Name); err != nil {
		at, msg := c.pos(where), err.Error()
		var wrong *profile.CompileError
		if errors.As(err, &wrong) {
			msg = wrong.Msg
			if wrong.Pointer != "" {
				msg = wrong.Pointer + ": " + wrong.Msg
			}
			if n := pointed(where, wrong.Pointer); schema != nil {
				at = c.pos(n)
			} else {
				at = fault.Pos{File: path.Join(path.Dir(c.src.Name), decl.File), Line: n.Line, Col: n.Column}
			}
		}
		l.report(nil, at, processes.CodeBadSchema, "invalid schema of the profile `"+cut(p.Name)+"`: "+msg, "write a JSON Schema of draft 2020-12")
	}
}

// namedFile returns the content of a file that a component names.
func (l *loader) namedFile(d *spec.Decoder, c *component, at *yaml.Node, name string) ([]byte, bool) {
	full, ok := inside(c.src.Name, name)
	if !ok {
		d.Problem(at, processes.CodeBadFile, "`"+cut(name)+"` is outside of the project", "move the file into the folder of the project, and name it relative to this file")
		return nil, false
	}
	text, ok := l.files[full]
	if !ok {
		hint := "paths are relative to this file; the full path is " + full
		var known []string
		for f := range l.files {
			known = append(known, f)
		}
		if near := spec.Nearest(full, known); near != "" {
			hint = "did you mean `" + near + "`?"
		}
		d.Problem(at, processes.CodeBadFile, "the file `"+cut(name)+"` does not exist", hint)
		return nil, false
	}
	return text, true
}

// schemaFile returns the text and the YAML of a schema file, or nil after an error.
func (l *loader) schemaFile(d *spec.Decoder, c *component, at *yaml.Node, name string) ([]byte, *yaml.Node) {
	text, ok := l.namedFile(d, c, at, name)
	if !ok {
		return nil, nil
	}
	roots, failed := strictyaml.Parse(strings.TrimPrefix(string(text), "\ufeff"))
	if failed != nil || len(roots) != 1 {
		// It may still be JSON, whose problems have no positions.
		return text, &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: string(text), Line: 1, Column: 1}
	}
	return text, roots[0]
}

// inside returns the path of a file named by another one, and whether it can be
// inside the project.
func inside(from, name string) (string, bool) {
	if name == "" || path.IsAbs(name) || strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':' {
		return "", false
	}
	full := path.Join(path.Dir(from), name)
	return full, strings.HasPrefix(from, "..") || full != ".." && !strings.HasPrefix(full, "../")
}

// pointed returns the value at a JSON pointer (RFC 6901), or the innermost
// existing value on the way to it.
func pointed(n *yaml.Node, pointer string) *yaml.Node {
	for _, part := range strings.Split(pointer, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		var next *yaml.Node
		if n.Kind == yaml.SequenceNode {
			if i, err := strconv.Atoi(part); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
			}
		} else {
			next = valueAt(n, part)
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// appendJSON appends a YAML value as JSON.
func appendJSON(dst []byte, n *yaml.Node) []byte {
	switch spec.ShapeOf(n) {
	case spec.MapShape:
		dst = append(dst, '{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(document.AppendString(dst, n.Content[i].Value), ':')
			dst = appendJSON(dst, n.Content[i+1])
		}
		return append(dst, '}')
	case spec.ListShape:
		dst = append(dst, '[')
		for i, e := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, e)
		}
		return append(dst, ']')
	case spec.NullShape:
		return append(dst, "null"...)
	case spec.TextShape:
		return document.AppendString(dst, n.Value)
	}
	return append(dst, n.Value...)
}

func (l *loader) environment(c *component) {
	var decl language.Environment
	d := l.decoder(c, nil, nil)
	d.Mapping(c.root, &spec.Keys{What: "an environment", Fields: language.EnvironmentFields, Target: &decl})
	e := &processes.Environment{Name: c.name(), Pos: c.pos(c.key), Values: map[string]string{}, Secrets: map[string]processes.SecretSource{}, Connections: map[string]*expression.Template{}}
	if l.named["environment"][e.Name] == c {
		l.project.Environments[e.Name] = e
	}
	for _, v := range decl.Values {
		e.Values[v.Name] = v.Value
	}
	l.each(d, c, "values", func(k, _ *yaml.Node) { variable(d, k) })
	l.each(d, c, "secrets", func(k, v *yaml.Node) {
		if !variable(d, k) {
			return
		}
		if v.Kind != yaml.MappingNode {
			d.Problem(v, spec.CodeWrongType, "the secret `"+k.Value+"` must be `{ file: PATH }` or `{ variable: NAME }`, not the value itself", "write the source of the value").Secret = true
			return
		}
		var s language.Secret
		sub := l.decoder(c, nil, nil)
		sub.Mapping(v, &spec.Keys{What: "a secret", Fields: language.SecretFields, Target: &s})
		if sub.Fails() == 0 && (s.File == "") == (s.Variable == "") {
			d.Problem(v, spec.CodeWrongValue, "the secret `"+k.Value+"` needs exactly one of `file:` and `variable:`", "write the source of the value")
		}
		s.File = spec.ResolvePath(c.base, s.File)
		e.Secrets[k.Value] = s.SecretSource
	})
	l.each(d, c, "connections", func(k, v *yaml.Node) {
		if _, ok := l.named["connection"][k.Value]; !ok {
			l.unknown(d, k, "connection", k.Value)
			return
		}
		conn := l.project.Connections[k.Value]
		if conn == nil || conn.Connector == nil {
			return
		}
		if v.Kind != yaml.MappingNode {
			d.Problem(v, spec.CodeWrongType, "`"+k.Value+":` must be a map, not "+spec.DescribeNode(v), "write the settings to override, such as `"+k.Value+": { concurrency: 2 }`")
			return
		}
		if at := valueAt(v, "connector"); at != nil {
			d.Problem(at, processes.CodeNoEffect, "an environment cannot change the connector of a connection", "remove `connector:`")
			return
		}
		l.checkSettings(c, conn, v, true)
		e.Connections[k.Value], _ = l.evaluated(c, v)
	})
}

// each calls f for each entry of the map below a key. It reports values that are
// not maps.
func (l *loader) each(d *spec.Decoder, c *component, key string, f func(k, v *yaml.Node)) {
	n := valueAt(c.root, key)
	if n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		if key != "values" { // decoding has reported it
			d.Problem(n, spec.CodeWrongType, "`"+key+":` must be a map, not "+spec.DescribeNode(n), "write indented `name: …` lines below it")
		}
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i], n.Content[i+1])
	}
}

func variable(d *spec.Decoder, k *yaml.Node) bool {
	if isVariable(k.Value) {
		return true
	}
	d.Problem(k, spec.CodeBadName, "`"+cut(k.Value)+"` is not a valid name of an environment value", "use letters, digits and `_`, such as `SHOP_URL`")
	return false
}
