package loader

import (
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/convert"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// tests compiles the tests of the project, after its processes.
func (l *loader) tests() {
	for _, c := range l.components {
		if c.kind != "test" || c.root == nil {
			continue
		}
		if t := l.test(c); l.named["test"][t.Name] == c {
			l.project.Tests = append(l.project.Tests, t)
		}
		c.root = nil
	}
}

// testBuilder compiles one test.
type testBuilder struct {
	l *loader
	c *component
	d *spec.Decoder
	// target is the builder of the process to run; nil if it does not exist.
	target *processBuilder
	steps  map[string]bool // names of the steps that the target may run
}

func (l *loader) test(c *component) *processes.Test {
	var decl language.Test
	p := &processBuilder{comp: c, l: l, proc: &processes.Process{}}
	d := l.decoder(c, nil, &compiler{b: p, context: inProcess})
	d.Mapping(c.root, &spec.Keys{What: "a test", Fields: language.TestFields, Target: &decl})
	l.problems = append(l.problems, p.problems...)
	b := &testBuilder{l: l, c: c, d: d, target: l.byName[decl.Target], steps: map[string]bool{}}
	b.name(decl.Target, map[string]bool{})
	t := &processes.Test{Name: c.name(), Description: decl.Description, Pos: c.pos(c.key), Target: decl.Target}
	t.TestSetup = b.setup(c.root, &decl.Setup)
	t.Expect = b.expect(valueAt(c.root, "expect"))
	for _, n := range b.list(valueAt(c.root, "cases"), "cases", "write `- name: …` lines below it") {
		t.Cases = append(t.Cases, b.testCase(n, t.Cases))
	}
	return t
}

// name collects the names of the steps of a process and of those that it starts.
func (b *testBuilder) name(process string, seen map[string]bool) {
	builder := b.l.byName[process]
	if builder == nil || seen[process] {
		return
	}
	seen[process] = true
	b.nameSteps(builder.proc.Steps)
	for _, call := range builder.proc.Calls {
		b.name(call.Process, seen)
	}
	b.name(b.l.project.Defaults.OnFailure, seen)
}

func (b *testBuilder) nameSteps(block processes.Block) {
	for _, s := range block {
		if s.Name != "" {
			b.steps[s.Name] = true
		}
		for _, list := range s.Lists {
			b.nameSteps(list.Steps)
		}
	}
}

func (b *testBuilder) testCase(n *yaml.Node, before []*processes.TestCase) *processes.TestCase {
	var decl language.TestCase
	b.d.Mapping(n, &spec.Keys{What: "a case", Fields: language.CaseFields, Target: &decl})
	if slices.ContainsFunc(before, func(c *processes.TestCase) bool { return c.Name == decl.Name && c.Name != "" }) {
		b.d.Problem(n, processes.CodeDuplicateName, "the test has two cases `"+cut(decl.Name)+"`", "rename one of them")
	}
	return &processes.TestCase{Name: decl.Name, Pos: b.c.pos(n), TestSetup: b.setup(n, &decl.Setup), Expect: b.expect(valueAt(n, "expect"))}
}

// setup compiles the keys that a test and its cases share.
func (b *testBuilder) setup(n *yaml.Node, decl *language.TestSetup) processes.TestSetup {
	s := processes.TestSetup{Env: textMap(decl.Env), Secrets: textMap(decl.Secret)}
	if at := valueAt(n, "input"); at != nil {
		s.Input = b.fixture(at)
	}
	s.Request = b.request(n, decl.Request)
	s.Props, s.State = b.object(n, "props"), b.object(n, "state")
	if at := valueAt(n, "mocks"); b.isMap(at, "mocks") {
		for i := 0; i+1 < len(at.Content); i += 2 {
			if m := b.mock(at.Content[i], at.Content[i+1]); m != nil {
				s.Mocks = append(s.Mocks, m)
			}
		}
	}
	for _, e := range b.list(valueAt(n, "signals"), "signals", "write `- verdict: { after: 5h }` lines below it") {
		if sig := b.signal(e); sig != nil {
			s.Signals = append(s.Signals, sig)
		}
	}
	return s
}

func textMap(list []spec.KV) map[string]string {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		m[kv.Name] = kv.Value
	}
	return m
}

func named(list []spec.KV) []processes.NamedText {
	out := make([]processes.NamedText, len(list))
	for i, kv := range list {
		out[i] = processes.NamedText(kv)
	}
	return out
}

// list returns the elements of a list; none if n is nil or no list.
func (b *testBuilder) list(n *yaml.Node, key, hint string) []*yaml.Node {
	if n == nil {
		return nil
	}
	if spec.ShapeOf(n) != spec.ListShape {
		b.d.Problem(n, spec.CodeWrongType, "`"+key+":` must be a list, not "+spec.DescribeNode(n), hint)
		return nil
	}
	return n.Content
}

// isMap reports whether n is a map, and otherwise reports a problem unless n is nil.
func (b *testBuilder) isMap(n *yaml.Node, key string) bool {
	if n != nil && spec.ShapeOf(n) != spec.MapShape {
		b.d.Problem(n, spec.CodeWrongType, "`"+key+":` must be a map, not "+spec.DescribeNode(n), "write indented `key: value` lines below it")
		return false
	}
	return n != nil
}

// object returns the map below a key as JSON; nil if there is none.
func (b *testBuilder) object(n *yaml.Node, key string) []byte {
	if at := valueAt(n, key); b.isMap(at, key) {
		return appendJSON(nil, at)
	}
	return nil
}

// fileOf returns the path in `{ file: PATH }`.
func fileOf(n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 || n.Content[0].Value != "file" || spec.ShapeOf(n.Content[1]) != spec.TextShape {
		return nil, false
	}
	return n.Content[1], true
}

// fixture returns a value, or the content of the file that it names.
func (b *testBuilder) fixture(n *yaml.Node) *processes.Fixture {
	f := &processes.Fixture{Pos: b.c.pos(n)}
	at, isFile := fileOf(n)
	if !isFile {
		f.Content = appendJSON(nil, n)
		return f
	}
	f.File = at.Value
	content, ok := b.l.namedFile(b.d, b.c, at, at.Value)
	if !ok {
		return f
	}
	f.Content = content
	if strings.HasSuffix(at.Value, ".json") {
		if err := convert.CheckJSON(content); err != nil {
			b.d.Problem(at, processes.CodeBadFile, "the file `"+cut(at.Value)+"` is not JSON: "+err.Error(), "correct it; a file with another format needs another ending, such as .xml")
		}
	}
	return f
}

// single returns the key and the value of a map with one key. A string is a
// key without a value.
func (b *testBuilder) single(n *yaml.Node, what, example string) (key, value *yaml.Node) {
	switch spec.ShapeOf(n) {
	case spec.TextShape:
		return n, nil
	case spec.MapShape:
		if len(n.Content) == 2 {
			if key, value = n.Content[0], n.Content[1]; spec.ShapeOf(value) == spec.NullShape {
				value = nil
			}
			return key, value
		}
	}
	b.d.Problem(n, spec.CodeWrongType, what+" is a name, or a map with one name, not "+spec.DescribeNode(n), "write `"+example+"`; its settings are a map of their own")
	return nil, nil
}

func (b *testBuilder) signal(n *yaml.Node) *processes.TestSignal {
	key, value := b.single(n, "a signal", "- verdict: { after: 5h }")
	if key == nil {
		return nil
	}
	s := &processes.TestSignal{Wait: key.Value, Pos: b.c.pos(key), By: processes.ByCallback}
	if b.target != nil && !b.waits(s.Wait) {
		b.d.Problem(key, processes.CodeUnknownWait, "the process has no `wait: "+cut(s.Wait)+"`", "write the name of a `wait:` of the process or of one that it starts")
	}
	if value == nil {
		return s
	}
	var decl language.Signal
	b.d.Mapping(value, &spec.Keys{What: "a signal", Fields: language.SignalFields, Target: &decl})
	s.After, s.By = decl.After, decl.By
	if at := valueAt(value, "body"); at != nil {
		s.Body = b.fixture(at)
	}
	return s
}

// waits reports whether a process of the project has a wait with this name.
func (b *testBuilder) waits(name string) bool {
	for _, p := range b.l.processes {
		if _, ok := p.proc.Waits[name]; ok {
			return true
		}
	}
	return false
}
