package processes

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
)

// defaults decodes the project component.
func (l *loader) defaults(c *component) {
	if first := l.defaultsAt; first != nil {
		l.report(nil, c.pos(c.key), CodeDuplicateName, "there is another `project:` at "+first.pos(first.key).String(), "keep one of them")
		return
	}
	l.defaultsAt = c
	var decl projectDecl
	b := &building{comp: c, l: l}
	d := l.decoder(c, nil, &compiler{b: b, place: inConnection})
	d.Mapping(c.root, &spec.Keys{What: "a project", Fields: projectFields, Target: &decl})
	checkRedact(d, c.root, decl.Redact)
	into := &l.project.Defaults
	into.Name, into.OnFailure, into.Retry, into.Redact = decl.Name, decl.OnFailure, decl.Retry, decl.Redact
	if decl.Retention != nil {
		into.Retention = decl.Retention.resolve()
	}
}

func (l *loader) profile(c *component) {
	var decl profileDecl
	d := l.decoder(c, nil, nil)
	d.Mapping(c.root, &spec.Keys{What: "a profile", Fields: profileFields, Target: &decl})
	p := &Profile{Name: c.name(), Pos: c.pos(c.key)}
	if l.named["profile"][p.Name] == c {
		l.project.Profiles[p.Name] = p
	}
	schema, file := valueAt(c.root, "schema"), valueAt(c.root, "file")
	switch {
	case schema != nil && file != nil:
		d.Problem(file, CodeNoEffect, "`schema:` and `file:` exclude each other", "keep one of them")
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
		l.report(nil, at, CodeBadSchema, "the schema of the profile `"+cut(p.Name)+"` cannot be used: "+msg, "write JSON Schema, draft 2020-12")
	}
}

// schemaFile reads a schema that is a file of the project.
func (l *loader) schemaFile(d *spec.Decoder, c *component, at *yaml.Node, name string) ([]byte, *yaml.Node) {
	full, ok := inside(c.src.Name, name)
	if !ok {
		d.Problem(at, CodeBadFile, "`"+cut(name)+"` is outside of the project", "put the file into the project's folder, and name it relative to this file")
		return nil, nil
	}
	text, ok := l.files[full]
	if !ok {
		hint := "the path is relative to this file: " + full
		var known []string
		for f := range l.files {
			known = append(known, f)
		}
		if near := nearest(full, known); near != "" {
			hint = "did you mean `" + near + "`?"
		}
		d.Problem(at, CodeBadFile, "there is no file `"+cut(name)+"`", hint)
		return nil, nil
	}
	roots, failed := strictyaml.Parse(strings.TrimPrefix(string(text), "\ufeff"))
	if failed != nil || len(roots) != 1 {
		// It may still be JSON; without positions.
		return text, &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: string(text), Line: 1, Column: 1}
	}
	return text, roots[0]
}

// inside gives the path of a file that another one names, and whether it can
// be one of the project.
func inside(from, name string) (string, bool) {
	if name == "" || path.IsAbs(name) || strings.ContainsAny(name, "\\\x00") || len(name) > 1 && name[1] == ':' {
		return "", false
	}
	full := path.Join(path.Dir(from), name)
	return full, strings.HasPrefix(from, "..") || full != ".." && !strings.HasPrefix(full, "../")
}

// pointed finds the value that a JSON pointer (RFC 6901) leads to, as far as it leads.
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

// appendJSON writes a YAML value as JSON text.
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
	var decl environmentDecl
	d := l.decoder(c, nil, nil)
	d.Mapping(c.root, &spec.Keys{What: "an environment", Fields: environmentFields, Target: &decl})
	e := &Environment{Name: c.name(), Pos: c.pos(c.key), Values: map[string]string{}, Secrets: map[string]SecretSource{}, Connections: map[string]*expression.Template{}}
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
			d.Problem(v, spec.CodeWrongType, "the secret `"+k.Value+"` must be `{ file: PATH }` or `{ variable: NAME }`, never the value itself", "write where the value is")
			return
		}
		var s secretDecl
		sub := l.decoder(c, nil, nil)
		sub.Mapping(v, &spec.Keys{What: "a secret", Fields: secretFields, Target: &s})
		if sub.Fails() == 0 && (s.File == "") == (s.Variable == "") {
			d.Problem(v, spec.CodeWrongValue, "the secret `"+k.Value+"` needs one of `file:` and `variable:`", "write where the value is")
		}
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
			d.Problem(v, spec.CodeWrongType, "`"+k.Value+":` must be a mapping, not "+spec.DescribeNode(v), "write the settings that are different here, such as `"+k.Value+": { concurrency: 2 }`")
			return
		}
		if at := valueAt(v, "connector"); at != nil {
			d.Problem(at, CodeNoEffect, "an environment cannot change the connector of a connection", "drop `connector:`")
			return
		}
		l.checkSettings(c, conn, v, true)
		e.Connections[k.Value] = l.evaluated(c, v)
	})
}

// each goes through the mapping under a key, or reports that it is none.
func (l *loader) each(d *spec.Decoder, c *component, key string, f func(k, v *yaml.Node)) {
	n := valueAt(c.root, key)
	if n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		if key != "values" { // decoding has said so
			d.Problem(n, spec.CodeWrongType, "`"+key+":` must be a mapping, not "+spec.DescribeNode(n), "write `name: …` lines below it")
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
	d.Problem(k, spec.CodeBadName, "`"+cut(k.Value)+"` cannot be the name of a value of the environment", "use letters, digits and `_`, such as `SHOP_URL`")
	return false
}
