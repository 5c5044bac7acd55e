package loader

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/connectors"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// compileStep compiles one step. It returns nil if n is not a step.
func (c *compiler) compileStep(d *spec.Decoder, n *yaml.Node, path string, s *scope) *processes.Step {
	kind := c.kindOf(d, n)
	if kind == nil {
		c.b.unknownSteps = true
		return nil
	}
	step := &processes.Step{Kind: kind.Kind, Path: path, Pos: c.pos(n), Fingerprint: fingerprint(n), Settings: kind.New()}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == kind.Kind {
			step.Pos = c.pos(n.Content[i])
		}
	}
	in := &compiler{b: c.b, context: inSteps, scope: s, step: step, kind: kind, node: n}
	var common language.Step
	sub := &spec.Decoder{File: d.File, Compiler: in, Report: d.Report}
	sub.Mapping(n, &spec.Keys{
		What: article(kind.Kind) + " step", Fields: kind.Fields, Target: step.Settings,
		Common: language.StepFields, CommonTarget: &common, Bare: kind.Kind, Later: laterKeys[kind.Kind],
		Elsewhere: in.settingOfCall,
	})
	step.Name, step.Into, step.When, step.Description = common.Name, common.Into, common.When, common.Description
	in.finish(sub)
	return step
}

func article(kind string) string {
	if strings.ContainsRune("aeiou", rune(kind[0])) {
		return "an `" + kind + "`"
	}
	return "a `" + kind + "`"
}

// kindOf returns the kind of a step, or nil after an error.
func (c *compiler) kindOf(d *spec.Decoder, n *yaml.Node) *processes.StepKind {
	if spec.ShapeOf(n) != spec.MapShape {
		hint := "write a step such as `- log: some text`"
		if _, ok := c.b.l.kinds[n.Value]; ok && n.Kind == yaml.ScalarNode {
			hint = "add a colon: `- " + n.Value + ":`"
		}
		d.Problem(n, spec.CodeWrongType, "a step must be a map, not "+spec.DescribeNode(n), hint)
		return nil
	}
	var found *processes.StepKind
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		k, ok := c.b.l.kinds[key.Value]
		if !ok || found != nil && hasField(found, key.Value) {
			continue
		}
		if found != nil && !hasField(k, found.Kind) {
			d.Problem(key, processes.CodeTwoSteps, "a step can have only one kind, and this one has `"+found.Kind+"` and `"+k.Kind+"`", "split it into two steps, each starting with `- `")
			return nil
		}
		found = k
	}
	if found == nil {
		c.noKind(d, n)
	}
	return found
}

func hasField(k *processes.StepKind, key string) bool {
	for _, f := range k.Fields {
		if f.Info().Key == key && key != k.Kind {
			return true
		}
	}
	return false
}

func (c *compiler) noKind(d *spec.Decoder, n *yaml.Node) {
	var known []string
	for i := range c.b.l.cat.Steps {
		known = append(known, c.b.l.cat.Steps[i].Kind)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; slices.Contains(laterSteps, key.Value) {
			d.NotAvailable(key, "the step `"+key.Value+":`")
			return
		}
	}
	msg := "this step has no key that selects its kind"
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if isField(language.StepFields, key.Value) {
			continue
		}
		if theirs := foreignStepOf(key.Value); theirs != nil {
			theirs.correct(d.Problem(key, processes.CodeUnknownStep, "unknown step `"+key.Value+"`: here it is `"+theirs.kind+"`", theirs.hint), key.Value, n.Content[i+1])
			return
		}
		if near := spec.Nearest(key.Value, known); near != "" {
			d.Problem(key, processes.CodeUnknownStep, "unknown step `"+cut(key.Value)+"`", "did you mean `"+near+"`?").Correct(key.Value, near)
			return
		}
		if i == 0 {
			msg = "unknown step `" + cut(key.Value) + "`"
		}
	}
	d.Problem(n, processes.CodeUnknownStep, msg, "use one of: "+strings.Join(known, ", "))
}

// finish checks a step after all of its keys have been decoded.
func (c *compiler) finish(d *spec.Decoder) {
	s := c.step
	if s.Into != "" {
		if !c.kind.MakesDocument {
			d.Problem(valueAt(c.node, "into"), processes.CodeNoEffect, "`into:` has no effect: "+article(s.Kind)+" step produces no document", "remove `into:`")
		}
		c.write(s.Into, valueAt(c.node, "into"))
	}
	if c.kind.Flow == processes.Loop {
		if errors := valueAt(c.node, "errors"); errors != nil && hasField(c.kind, "errors") && spec.IsName(errors.Value) {
			c.write(errors.Value, errors)
		}
		if as := valueAt(c.node, "as"); as != nil && slices.Contains(special, as.Value) && as.Value != "item" {
			d.Problem(as, processes.CodeDuplicateName, "the name `"+as.Value+"` is reserved", "choose another name")
		}
	}
	c.suspends()
	c.failureCodes()
	c.hiddenErrors()
	if own := valueAt(c.node, s.Kind); c.kind.Flow == processes.Throw && spec.ShapeOf(own) == spec.NullShape && (c.scope == nil || !c.scope.caught) {
		c.problem(s.Pos, processes.CodeBareThrow, "a `throw:` without a message is allowed only in `catch`", "add a message: `throw: …`")
	}
	if c.called != nil && c.called.Operation != nil && valueAt(c.node, "with") == nil && declaresWith(c.kind) {
		c.checkWith(d, &yaml.Node{Kind: yaml.MappingNode, Line: s.Pos.Line, Column: s.Pos.Col})
	}
	if c.kind.Check != nil && d.Fails() == 0 {
		c.kind.Check(s.Settings, &processes.CheckContext{Project: c.b.l.project, Process: c.b.proc.Name, Step: s,
			Report: func(p *fault.Problem) { c.b.problems = append(c.b.problems, p) }})
	}
}

// settingOfCall returns a hint for a key of the step that is a setting of the
// operation, or "".
func (c *compiler) settingOfCall(key string) string {
	if c.called == nil || c.called.Operation == nil || !declaresWith(c.kind) || !isField(c.called.Operation.With, key) {
		return ""
	}
	return "move it below `with:`, such as `with: { " + key + ": … }`"
}

func declaresWith(k *processes.StepKind) bool {
	for _, f := range k.Fields {
		if f.Info().Kind == spec.KindWith {
			return true
		}
	}
	return false
}

func (c *compiler) write(name string, n *yaml.Node) {
	c.b.writes = append(c.b.writes, varUse{name, c.pos(n), c.scope.varScopeOf()})
}

// operation resolves `connection.operation`.
func (c *compiler) operation(d *spec.Decoder, f *spec.Info, n *yaml.Node) (processes.Operation, bool) {
	if spec.HoldsExpression(n.Value) {
		d.Problem(n, spec.CodeNotFixed, "`"+f.Key+":` cannot be an expression: it is needed when the project is loaded", spec.Expects(f)+"; to choose between operations, use `switch:`")
		return processes.Operation{}, false
	}
	if spec.ShapeOf(n) != spec.TextShape {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be `connection.operation`, not "+spec.DescribeNode(n), spec.Expects(f))
		return processes.Operation{}, false
	}
	if scheme, rest, isURL := strings.Cut(n.Value, "://"); isURL {
		host, path, _ := strings.Cut(rest, "/")
		d.Problem(n, spec.CodeWrongValue, "`"+f.Key+":` must be `connection.operation`, not a URL",
			"declare a connection with `url: "+cut(scheme+"://"+host)+"`, and call one of its operations, such as `"+f.Key+": name.get` with `with: { path: /"+cut(path)+" }`")
		return processes.Operation{}, false
	}
	connection, name, dotted := strings.Cut(n.Value, ".")
	if _, ok := c.b.l.named["connection"][connection]; !ok {
		c.b.l.unknown(d, n, "connection", connection)
		return processes.Operation{}, false
	}
	conn := c.b.l.project.Connections[connection]
	if conn == nil || conn.Connector == nil {
		return processes.Operation{}, false // already reported
	}
	known := operationNames(conn)
	if !dotted {
		d.Problem(n, processes.CodeUnknownOperation, "`"+cut(n.Value)+"` names a connection, but no operation", fmt.Sprintf("write `%s: %s.%s`; operations: %s", f.Key, connection, first(known), strings.Join(known, ", ")))
		return processes.Operation{}, false
	}
	c.b.useDescription(conn)
	op, ok := connectors.FindOperation(conn.Operations, name)
	if !ok && conn.Connector.Describe != nil && len(known) == 0 {
		return processes.Operation{}, false // already reported
	}
	if !ok {
		d.Problem(n, processes.CodeUnknownOperation, operationsOf(conn)+" has no operation `"+cut(name)+"`", spec.Suggestion(name, known)).Correct(name, spec.Nearest(name, known))
		return processes.Operation{}, false
	}
	return processes.Operation{Connection: connection, Connector: conn.Connector, Operation: op}, true
}

// operationsOf names the owner of the operations of a connection.
func operationsOf(conn *processes.Connection) string {
	if conn.Connector.Describe != nil {
		return "the connection " + conn.Name
	}
	return "the connector " + conn.Connector.Name
}

func first(list []string) string {
	if len(list) == 0 {
		return "…"
	}
	return list[0]
}

// laterSteps lists steps that this version does not support.
var laterSteps = []string{}

// laterKeys lists keys of steps that this version does not support.
var laterKeys = map[string][]string{}
