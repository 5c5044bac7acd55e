package loader

import (
	"net/url"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// request compiles the `request:` of a test. It reports a request that the
// listener of the target would never receive.
func (b *testBuilder) request(n *yaml.Node, r *language.TestRequest) *processes.TestRequest {
	if r == nil {
		return nil
	}
	at := valueAt(n, "request")
	switch t := b.target; {
	case t == nil || t.comp.bad || t.problems.HasErrors():
	case t.proc.Listen == nil:
		b.d.Problem(keyAt(n, "request"), processes.CodeNoEffect, "`request:` has no effect: the process `"+t.proc.Name+"` has no `listen:`",
			"remove it; a document is `input:`, and properties are `props:`")
	default:
		b.requestMethod(valueAt(at, "method"), t.proc.Listen)
		b.requestCaptures(at, r, t.proc.Listen.Path)
		b.requestOperation(valueAt(at, "operation"), t.proc.Listen)
	}
	return &processes.TestRequest{Method: r.Method, Path: r.Path, User: r.User, Operation: r.Operation, Params: named(r.Params), Query: named(r.Query), Headers: named(r.Headers)}
}

func (b *testBuilder) requestMethod(at *yaml.Node, l *processes.Listen) {
	if at == nil || len(l.Methods) == 0 || slices.Contains(l.Methods, at.Value) {
		return
	}
	p := b.d.Problem(at, spec.CodeWrongValue, "the process `"+b.target.proc.Name+"` does not accept the method `"+cut(at.Value)+"`", "use one of: "+strings.Join(l.Methods, ", "))
	p.Correct(at.Value, l.Methods[0])
}

// requestOperation checks the operation of a SOAP request.
func (b *testBuilder) requestOperation(at *yaml.Node, l *processes.Listen) {
	switch {
	case at == nil:
	case l.Service == nil:
		b.d.Problem(at, processes.CodeNoEffect, "`operation:` has no effect: the listener of the process `"+b.target.proc.Name+"` is no SOAP service", "remove it")
	case l.Service.Operation(at.Value) == nil:
		known := l.Service.OperationNames()
		b.d.Problem(at, processes.CodeUnknownOperation, "the service has no operation `"+cut(at.Value)+"`", spec.Suggestion(at.Value, known)).Correct(at.Value, spec.Nearest(at.Value, known))
	}
}

// requestCaptures checks the path of a request, or the captures that it sets in
// place of a path.
func (b *testBuilder) requestCaptures(n *yaml.Node, r *language.TestRequest, pattern string) {
	params := valueAt(n, "params")
	if at := valueAt(n, "path"); at != nil {
		path, _, _ := strings.Cut(r.Path, "?")
		if !pathMatches(pattern, path) {
			b.d.Problem(at, spec.CodeWrongValue, "the path `"+cut(path)+"` does not match `"+cut(pattern)+"`, the path of the process `"+b.target.proc.Name+"`",
				"write `path: "+examplePath(pattern)+"`")
		}
		if params != nil {
			b.d.Problem(keyAt(n, "params"), processes.CodeNoEffect, "`params:` has no effect with `path:`", "remove it; the path has the captures")
		}
		return
	}
	known := b.target.captures
	for _, kv := range r.Params {
		if !slices.Contains(known, kv.Name) {
			p := b.d.Problem(keyAt(params, kv.Name), spec.CodeUnknownKey, "the path `"+cut(pattern)+"` has no capture `"+cut(kv.Name)+"`", spec.Suggestion(kv.Name, known))
			p.Correct(kv.Name, spec.Nearest(kv.Name, known))
			return
		}
	}
	for _, name := range known {
		if valueAt(params, name) == nil {
			b.d.Problem(n, spec.CodeMissingKey, "the request has no `"+name+"`, which the path `"+cut(pattern)+"` captures", "add `path: "+examplePath(pattern)+"`")
			return
		}
	}
}

func captureName(segment string) (string, bool) {
	name, ok := strings.CutPrefix(segment, "{")
	return strings.TrimSuffix(name, "}"), ok
}

// pathMatches reports whether a listener with a path receives requests for
// another. A slash at the end makes no difference.
func pathMatches(pattern, path string) bool {
	want, got := strings.Split(strings.TrimRight(pattern, "/"), "/"), strings.Split(strings.TrimRight(path, "/"), "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if _, ok := captureName(want[i]); ok && got[i] != "" {
			continue
		}
		if unescaped(want[i]) != unescaped(got[i]) {
			return false
		}
	}
	return true
}

func unescaped(segment string) string {
	if s, err := url.PathUnescape(segment); err == nil {
		return s
	}
	return segment
}

// examplePath returns a path that matches a pattern.
func examplePath(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, s := range parts {
		if _, ok := captureName(s); ok {
			parts[i] = "1"
		}
	}
	return strings.Join(parts, "/")
}
