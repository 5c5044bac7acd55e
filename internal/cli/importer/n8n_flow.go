package importer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// branches translates the outputs of a node with conditions, and the node at
// which they meet.
func (x *n8n) branches(n *n8nNode, w *walk, conditions []string, before []*yaml.Node, fallback int) []*yaml.Node {
	var starts []*n8nNode
	for i := range n.outputs {
		if i < len(conditions) || i == fallback {
			starts = append(starts, n.outputs[i]...)
		}
	}
	join := x.join(starts, w)
	if join != nil && w.stop[join] {
		join = nil
	}
	path := func(output int) []*yaml.Node {
		steps := x.after(n, output, w.with(n, join))
		if join == nil || ends(steps) {
			return steps
		}
		reached := false
		if output < len(n.outputs) {
			for _, t := range n.outputs[output] {
				reached = reached || reach(t, w.path)[join]
			}
		}
		if !reached {
			steps = append(steps, x.finish(n, n.kind, w)...)
		}
		return steps
	}
	var choices []choice
	for i, c := range conditions {
		choices = append(choices, choice{c, path(i)})
	}
	var otherwise []*yaml.Node
	if fallback >= 0 {
		otherwise = path(fallback)
	} else if join != nil {
		otherwise = x.finish(n, n.kind, w)
	}
	for i := range choices {
		choices[i].steps = x.nonEmpty(n, n.kind, choices[i].steps)
	}
	step := x.choose(n.at, n.kind, nil, choices, otherwise)
	x.report.move(x.place(n.at), x.where(n))
	x.origins[step] = origin{x.where(n), n.kind}
	steps := append(before, step)
	if join != nil {
		if join.kind == "merge" { // one of the paths arrives, and passes
			join.visited, join.cause = true, n
			x.report.add(Part{Place: x.where(join), Part: "merge", Status: TakenOver, As: "the steps after the paths"})
			return append(steps, x.after(join, 0, w.with(join))...)
		}
		steps = append(steps, x.chain(n, join, w)...)
	}
	return steps
}

func (x *n8n) ifNode(n *n8nNode, o *object, w *walk) []*yaml.Node {
	condition, err := x.conditions(n, o)
	var before []*yaml.Node
	if err != nil {
		condition = "false"
		before = append(before, x.todoAt(x.where(n), "if: condition", err.Error()))
	}
	o.get("options")
	return x.branches(n, w, []string{condition}, before, 1)
}

func (x *n8n) filterNode(n *n8nNode, o *object, w *walk) []*yaml.Node {
	condition, err := x.conditions(n, o)
	if err != nil {
		return append([]*yaml.Node{x.todoAt(x.where(n), "filter", err.Error())}, x.after(n, 0, w)...)
	}
	o.get("options")
	step := x.stepAt(x.where(n), "filter", nil, "if", "${not ("+condition+")}", "then", x.finish(n, "filter", w))
	return append([]*yaml.Node{step}, x.after(n, 0, w)...)
}

func (x *n8n) switchNode(n *n8nNode, o *object, w *walk) []*yaml.Node {
	var conditions []string
	var before []*yaml.Node
	fallback := -1
	add := func(condition string, err error) {
		if err != nil {
			condition = "false"
			before = append(before, x.todoAt(x.where(n), fmt.Sprintf("switch: condition %d", len(conditions)+1), err.Error()))
		}
		conditions = append(conditions, condition)
	}
	rules := o.get("rules")
	for _, v := range elements(child(rules, "values")) {
		add(x.conditions(n, x.object(v, "switch")))
	}
	subject := o.get("value1")
	for _, v := range elements(child(rules, "rules")) {
		left, err := x.value(n, subject)
		if err != nil {
			add("", err)
			continue
		}
		rule := x.object(v, "switch")
		right, err := x.value(n, rule.get("value2"))
		if err != nil {
			add("", err)
			continue
		}
		add(x.compare(left, or(rule.text("operation"), "equal"), right, or(o.text("dataType"), "string")))
	}
	if len(conditions) == 0 {
		return append(before, x.todoAt(x.where(n), "switch", "its output is an expression"))
	}
	options := x.object(o.get("options"), "switch")
	if options.text("fallbackOutput") == "extra" {
		fallback = len(conditions)
	}
	if f, err := strconv.Atoi(o.text("fallbackOutput")); err == nil && f >= len(conditions) {
		fallback = f
	}
	return x.branches(n, w, conditions, before, fallback)
}

// loopNode translates Loop Over Items.
func (x *n8n) loopNode(n *n8nNode, w *walk) []*yaml.Node {
	loop, done := 0, 1
	if n.version >= 3 {
		loop, done = 1, 0
	}
	inner := w.with(n, n)
	inner.loop = true
	delete(inner.path, n)
	steps := x.nonEmpty(n, n.kind, x.after(n, loop, inner))
	step := x.stepAt(x.where(n), n.kind, nil, "for_each", "${list(doc)}", "steps", steps)
	return append([]*yaml.Node{step}, x.after(n, done, w)...)
}

// conditions translates the conditions of a node.
func (x *n8n) conditions(n *n8nNode, o *object) (string, error) {
	c := o.get("conditions")
	combinator := " && "
	var parts []string
	if list := child(c, "conditions"); list != nil {
		if v := child(c, "combinator"); v != nil && v.Value == "or" {
			combinator = " || "
		}
		for _, e := range elements(list) {
			operator := child(e, "operator")
			operation, kind := child(operator, "operation"), child(operator, "type")
			if operation == nil || kind == nil {
				return "", errors.New("a condition has no operator")
			}
			part, err := x.condition(n, child(e, "leftValue"), operation.Value, child(e, "rightValue"), kind.Value)
			if err != nil {
				return "", err
			}
			parts = append(parts, part)
		}
	} else {
		if v := o.text("combineOperation"); v == "any" {
			combinator = " || "
		}
		for _, kind := range []string{"string", "number", "boolean", "dateTime"} {
			for _, e := range elements(child(c, kind)) {
				operation := map[string]string{"string": "equal", "number": "smaller", "boolean": "equal"}[kind]
				if v := child(e, "operation"); v != nil {
					operation = v.Value
				}
				part, err := x.condition(n, child(e, "value1"), operation, child(e, "value2"), kind)
				if err != nil {
					return "", err
				}
				parts = append(parts, part)
			}
		}
	}
	if len(parts) == 0 || len(parts) > 100 {
		return "", errors.New("it has no conditions, or more than 100")
	}
	return strings.Join(parts, combinator), nil
}

func (x *n8n) condition(n *n8nNode, left *yaml.Node, operation string, right *yaml.Node, kind string) (string, error) {
	l, err := x.value(n, left)
	if err != nil {
		return "", err
	}
	r, err := x.value(n, right)
	if err != nil {
		return "", err
	}
	return x.compare(l, operation, r, kind)
}

// compare translates an operator.
func (x *n8n) compare(l value, operation string, r value, kind string) (string, error) {
	left, right := l.text, r.text
	if kind == "string" {
		if !l.str {
			left = "string(" + left + " ?? \"\")"
		}
		if !r.str && operation != "exists" && right != "nil" {
			right = "string(" + right + " ?? \"\")"
		}
	}
	if kind == "number" && r.str {
		right = "number(" + right + ")"
	}
	if kind == "boolean" && right == "nil" {
		right = "true"
	}
	switch operation {
	case "equals", "equal":
		return "(" + left + " == " + right + ")", nil
	case "notEquals", "notEqual":
		return "(" + left + " != " + right + ")", nil
	case "contains":
		if kind == "array" {
			return "(" + right + " in (" + left + " ?? []))", nil
		}
		return "(" + left + " contains " + right + ")", nil
	case "notContains":
		if kind != "array" {
			return "(not (" + left + " contains " + right + "))", nil
		}
	case "startsWith", "endsWith":
		return "(" + left + " " + operation + " " + right + ")", nil
	case "notStartsWith", "notEndsWith":
		return "(not (" + left + " " + map[string]string{"notStartsWith": "startsWith", "notEndsWith": "endsWith"}[operation] + " " + right + "))", nil
	case "regex":
		return "(" + left + " matches " + right + ")", nil
	case "gt", "larger", "after":
		return "(" + left + " > " + right + ")", nil
	case "gte", "largerEqual", "afterOrEquals":
		return "(" + left + " >= " + right + ")", nil
	case "lt", "smaller", "before":
		return "(" + left + " < " + right + ")", nil
	case "lte", "smallerEqual", "beforeOrEquals":
		return "(" + left + " <= " + right + ")", nil
	case "true", "false":
		return "((" + l.text + " ?? false) == " + operation + ")", nil
	case "exists":
		return "(" + l.text + " != nil)", nil
	case "notExists":
		return "(" + l.text + " == nil)", nil
	case "empty", "isEmpty":
		return "(len(" + l.text + " ?? \"\") == 0)", nil
	case "notEmpty", "isNotEmpty":
		return "(len(" + l.text + " ?? \"\") > 0)", nil
	case "lengthGt":
		return "(len(" + l.text + ") > " + right + ")", nil
	case "lengthLt":
		return "(len(" + l.text + ") < " + right + ")", nil
	}
	return "", fmt.Errorf("the operator `%s` is not translated", shorten(operation, 30))
}
