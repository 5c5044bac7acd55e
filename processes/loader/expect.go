package loader

import (
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// expect compiles the expectations of a test; nil if there are none.
func (b *testBuilder) expect(n *yaml.Node) *processes.Expectation {
	if n == nil {
		return nil
	}
	var decl language.Expectation
	b.d.Mapping(n, &spec.Keys{What: "`expect:`", Fields: language.ExpectFields, Target: &decl})
	e := &processes.Expectation{Pos: b.c.pos(n), Status: decl.Status, ReplyStatus: decl.ReplyStatus, Log: decl.Log, LogSet: valueAt(n, "log") != nil, Exact: decl.Exact}
	if at := valueAt(n, "took"); at != nil {
		e.Took = b.took(at)
	}
	if at := valueAt(n, "reply"); at != nil {
		e.Reply = b.fixture(at)
	}
	if at := valueAt(n, "error"); b.isMap(at, "error") {
		e.Error = b.fixture(at)
	}
	calls := valueAt(n, "calls")
	e.CallsSet = calls != nil
	for _, c := range b.list(calls, "calls", "write `- erp.post: { body: … }` lines below it") {
		if call := b.expectedCall(c); call != nil {
			e.Calls = append(e.Calls, call)
		}
	}
	return e
}

// took parses a bound such as `< 15s`.
func (b *testBuilder) took(n *yaml.Node) *processes.TookBound {
	text := strings.TrimSpace(n.Value)
	bound := &processes.TookBound{Operator: "="}
	for _, op := range []string{"<=", ">=", "<", ">", "="} {
		if rest, ok := strings.CutPrefix(text, op); ok {
			bound.Operator, text = op, strings.TrimSpace(rest)
			break
		}
	}
	var err error
	if bound.Duration, err = spec.ParseDuration(text); err != nil {
		b.d.Problem(n, spec.CodeWrongValue, "`took: "+cut(n.Value)+"` is not a bound of a duration", "write an operator and a duration, such as `took: \"< 15s\"`")
		return nil
	}
	return bound
}

func (b *testBuilder) expectedCall(n *yaml.Node) *processes.ExpectedCall {
	key, value := b.single(n, "a call", "- erp.post: { body: { total: 59.9 } }")
	if key == nil || !b.called(key) {
		return nil
	}
	c := &processes.ExpectedCall{Of: key.Value, Pos: b.c.pos(key)}
	if value == nil {
		return c
	}
	var decl language.ExpectedCall
	b.d.Mapping(value, &spec.Keys{What: "a call", Fields: language.ExpectedCallFields, Target: &decl})
	c.Exact = decl.Exact
	if at := valueAt(value, "body"); at != nil {
		c.Body = b.fixture(at)
	}
	if at := valueAt(value, "with"); at != nil {
		c.With = b.fixture(at)
	}
	return c
}
