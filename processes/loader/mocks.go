package loader

import (
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/connectors"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// mockNames are the names that the expressions of a mock read.
var mockNames = map[string]expression.Type{"body": expression.TypeUnknown, "with": expression.TypeObject}

func (b *testBuilder) mock(key, value *yaml.Node) *processes.Mock {
	if !b.called(key) {
		return nil
	}
	m := &processes.Mock{Of: key.Value, Pos: b.c.pos(key)}
	if spec.ShapeOf(value) != spec.ListShape {
		m.Answers = []*processes.MockAnswer{b.answer(value)}
		return m
	}
	if len(value.Content) == 0 {
		b.d.Problem(value, spec.CodeWrongValue, "the mock `"+cut(key.Value)+"` has no answers", "write at least one, such as `- { reply: {} }`")
	}
	for _, n := range value.Content {
		m.Answers = append(m.Answers, b.answer(n))
	}
	return m
}

// called checks that a name is a step of the target or an operation.
func (b *testBuilder) called(n *yaml.Node) bool {
	connection, operation, dotted := strings.Cut(n.Value, ".")
	if !dotted {
		if b.steps[n.Value] || b.target == nil {
			return true
		}
		b.d.Problem(n, spec.CodeWrongValue, "the process has no step with the name `"+cut(n.Value)+"`",
			"write `connection.operation`, or the `name:` of a step that calls"+others(slices.Sorted(maps.Keys(b.steps))))
		return false
	}
	if _, ok := b.l.named["connection"][connection]; !ok {
		b.l.unknown(b.d, n, "connection", connection)
		return false
	}
	conn := b.l.project.Connections[connection]
	if conn == nil || conn.Connector == nil {
		return true // reported at the connection
	}
	if _, ok := connectors.FindOperation(conn.Operations, operation); ok {
		return true
	}
	b.d.Problem(n, processes.CodeUnknownOperation, operationsOf(conn)+" has no operation `"+cut(operation)+"`", spec.Suggestion(operation, operationNames(conn))).
		Correct(operation, spec.Nearest(operation, operationNames(conn)))
	return false
}

func others(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": " + strings.Join(names, ", ")
}

func (b *testBuilder) answer(n *yaml.Node) *processes.MockAnswer {
	var decl language.Answer
	b.d.Mapping(n, &spec.Keys{What: "an answer", Fields: language.AnswerFields, Target: &decl})
	a := &processes.MockAnswer{Pos: b.c.pos(n), Status: decl.Status, Headers: named(decl.Headers), After: decl.After}
	if at := valueAt(n, "when"); at != nil {
		a.When = b.condition(at)
	}
	reply, fail := valueAt(n, "reply"), valueAt(n, "fail")
	switch {
	case fail != nil && (reply != nil || decl.Status != 0):
		b.d.Problem(fail, processes.CodeNoEffect, "`fail:` and `reply:` or `status:` exclude each other", "remove one of them; a failing status is `status: 503`")
	case fail != nil:
		a.Fail = b.failure(fail)
	case reply != nil:
		if _, isFile := fileOf(reply); !isFile && holdsExpression(reply) {
			a.Compute = b.template(reply)
		} else {
			a.Reply = b.fixture(reply)
		}
	}
	return a
}

// holdsExpression reports whether a string in a value is an expression.
func holdsExpression(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode {
		return spec.HoldsExpression(n.Value)
	}
	return slices.ContainsFunc(n.Content, holdsExpression)
}

func (b *testBuilder) scope() *expression.Scope {
	return &expression.Scope{Names: mockNames, Library: b.l.lib}
}

func (b *testBuilder) condition(n *yaml.Node) *expression.Expr {
	e, problems := expression.Compile(node(b.c.src, n, nil), b.scope())
	if b.l.problems = append(b.l.problems, problems...); problems.HasErrors() {
		return nil
	}
	if t := e.Type(); t != expression.TypeBoolean && t != expression.TypeUnknown {
		b.d.Problem(n, spec.CodeWrongType, "`when:` must be true or false, but this expression returns "+t.String(), "compare a value, such as `${body.total > 0}`")
		return nil
	}
	return e
}

func (b *testBuilder) template(n *yaml.Node) *expression.Template {
	t, problems := expression.CompileTemplate(node(b.c.src, n, nil), b.scope())
	if b.l.problems = append(b.l.problems, problems...); problems.HasErrors() {
		return nil
	}
	return t
}

func (b *testBuilder) failure(n *yaml.Node) *processes.MockFailure {
	if spec.ShapeOf(n) == spec.TextShape {
		return &processes.MockFailure{Code: n.Value, Retryable: fault.Retryable(n.Value)}
	}
	if spec.ShapeOf(n) == spec.NumberShape {
		b.d.Problem(n, spec.CodeWrongType, "`fail:` is the code of a failure, not a status", "write `status: "+cut(n.Value)+"` in place of it")
		return nil
	}
	var decl language.Failure
	b.d.Mapping(n, &spec.Keys{What: "`fail:`", Fields: language.FailureFields, Target: &decl})
	f := processes.MockFailure(decl)
	if valueAt(n, "retryable") == nil {
		f.Retryable = fault.Retryable(f.Code) || f.Code == fault.CodeStatus && connectors.RetryableStatus(f.Status)
	}
	return &f
}
