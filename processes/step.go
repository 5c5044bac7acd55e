package processes

import (
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"

	"valence/internal/fault"
	"valence/internal/spec"
)

// compileStep compiles one step; it gives nil if that is no step.
func (c *compiler) compileStep(d *spec.Decoder, n *yaml.Node, path string, s *scope) *Step {
	kind := c.kindOf(d, n)
	if kind == nil {
		return nil
	}
	step := &Step{Kind: kind.Kind, Path: path, Pos: c.pos(n), Fingerprint: fingerprint(n), Settings: kind.New()}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == kind.Kind {
			step.Pos = c.pos(n.Content[i])
		}
	}
	in := &compiler{b: c.b, place: inSteps, scope: s, step: step, kind: kind, node: n}
	var common stepDecl
	sub := &spec.Decoder{File: d.File, Compiler: in, Report: d.Report}
	sub.Mapping(n, &spec.Keys{
		What: article(kind.Kind) + " step", Fields: kind.Fields, Target: step.Settings,
		Common: stepFields, CommonTarget: &common, Bare: kind.Kind, Later: laterKeys[kind.Kind],
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

// kindOf finds the key that makes a mapping a step.
func (c *compiler) kindOf(d *spec.Decoder, n *yaml.Node) *StepKind {
	if spec.ShapeOf(n) != spec.MapShape {
		hint := "write `kind: …`, such as `- log: some text`"
		if _, ok := c.b.l.kinds[n.Value]; ok && n.Kind == yaml.ScalarNode {
			hint = "put a colon behind it: `- " + n.Value + ":`"
		}
		d.Problem(n, spec.CodeWrongType, "a step must be a mapping, not "+spec.DescribeNode(n), hint)
		return nil
	}
	var found *StepKind
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		k, ok := c.b.l.kinds[key.Value]
		if !ok || found != nil && hasField(found, key.Value) {
			continue
		}
		if found != nil && !hasField(k, found.Kind) {
			d.Problem(key, CodeTwoSteps, "a step does one thing, and this one has `"+found.Kind+"` and `"+k.Kind+"`", "make two steps of it: begin each with `- `")
			return nil
		}
		found = k
	}
	if found == nil {
		c.noKind(d, n)
	}
	return found
}

func hasField(k *StepKind, key string) bool {
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
		if key := n.Content[i]; contains(laterSteps, key.Value) {
			d.NotAvailable(key, "the step `"+key.Value+":`")
			return
		}
	}
	msg := "this is no step: it has no key that makes it one"
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if isField(stepFields, key.Value) {
			continue
		}
		if near := nearest(key.Value, known); near != "" {
			d.Problem(key, CodeUnknownStep, "there is no step `"+cut(key.Value)+"`", "did you mean `"+near+"`?")
			return
		}
		if i == 0 {
			msg = "there is no step `" + cut(key.Value) + "`"
		}
	}
	d.Problem(n, CodeUnknownStep, msg, "use one of: "+strings.Join(known, ", "))
}

// finish checks what is known once all of a step's keys are decoded.
func (c *compiler) finish(d *spec.Decoder) {
	s := c.step
	if s.Into != "" {
		if !c.kind.MakesDocument {
			d.Problem(valueAt(c.node, "into"), CodeNoEffect, article(s.Kind)+" step makes no document that `into:` could keep", "drop `into:`")
		}
		c.write(s.Into, valueAt(c.node, "into"))
	}
	if c.kind.Flow == Loop {
		if errors := valueAt(c.node, "errors"); errors != nil && hasField(c.kind, "errors") && spec.IsName(errors.Value) {
			c.write(errors.Value, errors)
		}
		if as := valueAt(c.node, "as"); as != nil && contains(special, as.Value) && as.Value != "item" {
			d.Problem(as, CodeDuplicateName, "`"+as.Value+"` means something already", "choose another name")
		}
	}
	c.suspends()
	if own := valueAt(c.node, s.Kind); c.kind.Flow == Throw && spec.ShapeOf(own) == spec.NullShape && (c.scope == nil || !c.scope.caught) {
		c.problem(s.Pos, CodeBareThrow, "a `throw:` without a message rethrows, and there is nothing to rethrow outside of a `catch`", "give it a message: `throw: what is wrong`")
	}
	if c.called != nil && c.called.Operation != nil && valueAt(c.node, "with") == nil && declaresWith(c.kind) {
		c.checkWith(d, &yaml.Node{Kind: yaml.MappingNode, Line: s.Pos.Line, Column: s.Pos.Col})
	}
	if c.kind.Check != nil && d.Fails() == 0 {
		c.kind.Check(s.Settings, &CheckContext{Project: c.b.l.project, Process: c.b.proc.Name, Step: s,
			Report: func(p *fault.Problem) { c.b.problems = append(c.b.problems, p) }})
	}
}

func declaresWith(k *StepKind) bool {
	for _, f := range k.Fields {
		if f.Info().Kind == spec.KindWith {
			return true
		}
	}
	return false
}

func (c *compiler) write(name string, n *yaml.Node) {
	c.b.writes = append(c.b.writes, use{name, c.pos(n), c.scope.apartOf()})
}

// operation reads connection.operation.
func (c *compiler) operation(d *spec.Decoder, f *spec.Info, n *yaml.Node) (Operation, bool) {
	if spec.HoldsExpression(n.Value) {
		d.Problem(n, spec.CodeNotFixed, "`"+f.Key+":` is fixed when the project is loaded, it cannot hold an expression", spec.Expects(f)+"; for one operation or another use `switch:`")
		return Operation{}, false
	}
	if spec.ShapeOf(n) != spec.TextShape {
		d.Problem(n, spec.CodeWrongType, "`"+f.Key+":` must be `connection.operation` as text, not "+spec.DescribeNode(n), spec.Expects(f))
		return Operation{}, false
	}
	connection, name, dotted := strings.Cut(n.Value, ".")
	if _, ok := c.b.l.named["connection"][connection]; !ok {
		c.b.l.unknown(d, n, "connection", connection)
		return Operation{}, false
	}
	conn := c.b.l.project.Connections[connection]
	if conn == nil || conn.Connector == nil {
		return Operation{}, false // its own problems are reported
	}
	var known []string
	for i := range conn.Connector.Operations {
		known = append(known, conn.Connector.Operations[i].Name)
	}
	if !dotted {
		d.Problem(n, CodeUnknownOperation, "`"+cut(n.Value)+"` names a connection and no operation", fmt.Sprintf("write `%s: %s.%s`; it has %s", f.Key, connection, first(known), strings.Join(known, ", ")))
		return Operation{}, false
	}
	op, ok := conn.Connector.Operation(name)
	if !ok {
		d.Problem(n, CodeUnknownOperation, "the connector "+conn.Connector.Name+" has no operation `"+cut(name)+"`", suggestion(name, known))
		return Operation{}, false
	}
	return Operation{Connection: connection, Connector: conn.Connector, Operation: op}, true
}

func first(list []string) string {
	if len(list) == 0 {
		return "…"
	}
	return list[0]
}
