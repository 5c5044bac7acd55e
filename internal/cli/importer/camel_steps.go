package importer

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// steps translates a list of steps.
func (x *camel) steps(r *route, list []*yaml.Node) []*yaml.Node {
	var out []*yaml.Node
	for _, n := range list {
		key, v := only(n)
		if n.Kind == yaml.ScalarNode { // a step without settings
			key, v = n, mapping()
		}
		if key == nil {
			out = append(out, x.todo(n, "step", "it has no kind"))
			continue
		}
		if x.budget--; x.budget < 0 {
			return append(out, x.todo(key, key.Value, "there are too many steps"))
		}
		steps, err := x.translateStep(r, key, v)
		if err != nil {
			steps = []*yaml.Node{x.todo(key, key.Value, err.Error())}
		}
		out = append(out, steps...)
	}
	return out
}

func (x *camel) translateStep(r *route, key, v *yaml.Node) ([]*yaml.Node, error) {
	part := key.Value
	o := x.object(v, part)
	one := func(step *yaml.Node, err error) ([]*yaml.Node, error) {
		if err != nil {
			return nil, err
		}
		comment(step, o.rest("id", "description", "disabled", "note")...)
		return []*yaml.Node{step}, nil
	}
	o.get("expression", "simple", "constant", "header", "exchangeProperty", "variable", "jsonpath", "jq", "csimple", "tokenize")
	switch part {
	case "to", "toD":
		return x.to(r, key, part, v, part == "toD"), nil
	case "wireTap":
		return x.wireTap(r, key, v)
	case "log":
		message := v.Value
		if v.Kind == yaml.MappingNode {
			message = o.text("message")
		}
		o.get("loggingLevel", "logName", "marker")
		t, err := x.simple(r, message)
		return one(x.step(key, part, nil, "log", or(t.String(), "${raw}")), err)
	case "setBody", "transform":
		body, err := x.document(r, v)
		if err != nil {
			return nil, err
		}
		r.body = true
		return one(x.step(key, part, nil, "map", body), nil)
	case "setHeader", "setProperty", "setVariable":
		return one(x.set(r, key, o, v, strings.ToLower(part[3:])))
	case "setHeaders", "setVariables":
		var out []*yaml.Node
		for _, n := range elements(o.get("headers", "variables")) {
			step, err := x.set(r, key, x.object(n, part), n, strings.TrimSuffix(strings.ToLower(part[3:]), "s"))
			if err != nil {
				return nil, err
			}
			out = append(out, step)
		}
		return out, nil
	case "removeHeader", "removeHeaders", "removeProperty", "removeProperties", "removeVariable", "convertBodyTo", "convertHeaderTo":
		x.left(key, part, "not needed: calls send only what their steps name")
		return nil, nil
	case "choice":
		return x.choice(r, key, o)
	case "filter":
		condition, err := x.conditionOf(r, v)
		if err != nil {
			return nil, err
		}
		return one(x.step(key, part, nil, "if", "${"+condition+"}", "then", x.atLeastOne(key, part, x.steps(r, elements(o.get("steps"))))), nil)
	case "validate":
		condition, err := x.conditionOf(r, v)
		if err != nil {
			return nil, err
		}
		throw := x.helper(key, part, "throw", "the message is not valid", "status", 400)
		return one(x.step(key, part, nil, "if", "${not ("+condition+")}", "then", []*yaml.Node{throw}), nil)
	case "split":
		return one(x.split(r, key, o, v))
	case "multicast":
		paths := mapping()
		for i, n := range elements(o.get("steps")) {
			set(paths, fmt.Sprintf("path_%d", i+1), x.atLeastOne(key, part, x.steps(r, []*yaml.Node{n})))
		}
		if len(paths.Content) == 0 {
			return nil, errors.New("it has no steps")
		}
		keys := []any{"branch", paths}
		if !o.flag("parallelProcessing") {
			keys = append(keys, "sequential", true)
		}
		if o.flag("stopOnException") {
			keys = append(keys, "on_error", "stop")
		}
		if _, ok := o.read["aggregationStrategy"]; !ok && child(o.node, "aggregationStrategy") != nil {
			return nil, errors.New("an aggregation strategy is code")
		}
		return one(x.step(key, part, []string{"TODO: " + x.place(key) + ": the document is now an object with the result of each path"}, keys...), nil)
	case "doTry":
		return one(x.doTry(r, key, o))
	case "circuitBreaker":
		steps := x.atLeastOne(key, part, x.steps(r, elements(o.get("steps"))))
		fallback := x.object(o.get("onFallback"), part+": onFallback")
		handlers := x.steps(r, elements(fallback.get("steps")))
		if len(handlers) == 0 {
			x.took(key, part, "its steps; each connection has a circuit breaker")
			o.rest()
			return steps, nil
		}
		return one(x.step(key, part, nil, "try", steps, "catch", mapping("handled", true, "steps", handlers)), nil)
	case "step", "pipeline", "transacted", "saga", "threads", "policy", "kamelet":
		if inner := elements(o.get("steps")); inner != nil && part != "kamelet" {
			x.took(key, part, "its steps")
			o.rest("id", "ref")
			return x.steps(r, inner), nil
		}
	case "loop":
		return one(x.loop(r, key, o, v))
	case "delay":
		t, err := x.expr(r, v)
		if err != nil {
			return nil, err
		}
		return one(x.step(key, part, nil, "sleep", t.String()+"ms"), nil)
	case "throwException", "rollback":
		message, err := x.simple(r, o.text("message"))
		o.get("exceptionType", "ref")
		return one(x.step(key, part, nil, "throw", or(message.String(), "rolled back")), err)
	case "stop":
		if r.http {
			return []*yaml.Node{x.reply(r, key, part), x.step(key, part, nil, "stop", "stopped by the route")}, nil
		}
		return one(x.step(key, part, nil, "stop", "stopped by the route"), nil)
	case "marshal", "unmarshal":
		return x.marshal(r, key, o)
	case "process", "bean", "script":
		return nil, errors.New("it is code")
	}
	return nil, errUnknown
}

// set translates an assignment of a header, property or variable.
func (x *camel) set(r *route, key *yaml.Node, o *object, v *yaml.Node, kind string) (*yaml.Node, error) {
	name := o.text("name")
	if name == "" {
		return nil, errors.New("the name is missing")
	}
	t, err := x.expr(r, v)
	if err != nil {
		return nil, err
	}
	o.get("id")
	if kind == "header" {
		if name == "CamelHttpMethod" {
			r.method = t.String()
		} else if strings.HasPrefix(name, "CamelHttp") && name != "CamelHttpResponseCode" {
			return nil, fmt.Errorf("the header %s has no counterpart; write it into the call", name)
		} else if name == "CamelHttpResponseCode" && !r.http {
			return nil, errors.New("set `status:` of the reply in the process with the listener")
		}
		r.headers = append(r.headers, name)
	}
	if kind == "header" && isSecretName(name) && len(t) == 1 && !t[0].expr {
		return nil, errors.New("the header is a credential; write it into the connection, from a secret")
	}
	return x.step(key, key.Value+" "+name, nil, "set", mapping(r.variable(kind, name), t)), nil
}

// conditionOf translates the condition of a step.
func (x *camel) conditionOf(r *route, n *yaml.Node) (string, error) {
	language, s, ok := expressionNode(n)
	switch {
	case !ok:
		return "", errors.New("the condition is missing")
	case language == "simple" || language == "csimple":
		return x.predicate(r, s)
	case language == "constant":
		return strings.ToLower(s), nil
	}
	t, err := x.expr(r, n)
	if err != nil {
		return "", err
	}
	return "((" + t.expression() + " ?? false) == true)", nil
}

func (x *camel) choice(r *route, key *yaml.Node, o *object) ([]*yaml.Node, error) {
	var before []*yaml.Node
	var choices []choice
	for _, n := range elements(o.get("when")) {
		w := x.object(n, "choice: when")
		w.get("expression", "simple", "constant", "id", "jsonpath", "jq", "header", "exchangeProperty", "variable", "description")
		condition, err := x.conditionOf(r, n)
		if err != nil {
			condition = "false"
			_, s, _ := expressionNode(n)
			before = append(before, x.todo(n, "choice: when "+s, err.Error()))
		}
		choices = append(choices, choice{condition, x.steps(r, elements(w.get("steps")))})
		w.rest()
	}
	otherwise := x.object(o.get("otherwise"), "choice: otherwise")
	steps := x.steps(r, elements(otherwise.get("steps")))
	otherwise.get("id")
	otherwise.rest()
	if len(choices) == 0 {
		return append(before, steps...), nil
	}
	return append(before, x.choose(key, "choice", o.rest("id", "precondition", "description"), choices, steps)), nil
}

func (x *camel) split(r *route, key *yaml.Node, o *object, v *yaml.Node) (*yaml.Node, error) {
	t, err := x.expr(r, v)
	if err != nil {
		return nil, err
	}
	if len(t) != 1 || !t[0].expr {
		return nil, errors.New("it does not split a value of the message")
	}
	if child(o.node, "aggregationStrategy") != nil {
		return nil, errors.New("an aggregation strategy is code")
	}
	keys := []any{"for_each", "${" + t[0].text + "}"}
	if o.flag("parallelProcessing") {
		keys = append(keys, "parallel", 8)
	}
	o.get("streaming", "delimiter", "shareUnitOfWork", "stopOnException")
	keys = append(keys, "steps", x.atLeastOne(key, "split", x.steps(r, elements(o.get("steps")))))
	return x.step(key, "split", nil, keys...), nil
}

func (x *camel) loop(r *route, key *yaml.Node, o *object, v *yaml.Node) (*yaml.Node, error) {
	if o.flag("doWhile") {
		return nil, errors.New("a loop with a condition has no counterpart with the same limit; use `repeat:`")
	}
	t, err := x.expr(r, v)
	if err != nil {
		return nil, err
	}
	o.get("copy")
	steps := x.atLeastOne(key, "loop", x.steps(r, elements(o.get("steps"))))
	return x.step(key, "loop", nil, "for_each", "${1..int("+t.expression()+")}", "steps", steps), nil
}

func (x *camel) doTry(r *route, key *yaml.Node, o *object) (*yaml.Node, error) {
	keys := []any{"try", x.atLeastOne(key, "doTry", x.steps(r, elements(o.get("steps"))))}
	catches := elements(o.get("doCatch"))
	var handlers []*yaml.Node
	for i, n := range catches {
		c := x.object(n, "doCatch")
		types := c.get("exception")
		if w := c.get("onWhen"); w != nil || i > 0 || specific(types) {
			handlers = append(handlers, x.todo(n, "doCatch", "failures have codes, not classes; set `codes:` of `catch:`"))
		}
		handlers = append(handlers, x.steps(r, elements(c.get("steps")))...)
		c.rest("id", "description")
	}
	if len(catches) > 0 {
		keys = append(keys, "catch", mapping("handled", true, "steps", x.atLeastOne(key, "doCatch", handlers)))
	}
	if f := x.object(o.get("doFinally"), "doFinally"); f.node != nil {
		keys = append(keys, "finally", x.atLeastOne(key, "doFinally", x.steps(r, elements(f.get("steps")))))
		f.rest("id")
	}
	if len(keys) == 2 {
		keys = append(keys, "finally", x.atLeastOne(key, "doTry", nil))
	}
	return x.step(key, "doTry", nil, keys...), nil
}

// specific reports whether classes of exceptions are not the most general ones.
func specific(types *yaml.Node) bool {
	for _, t := range elements(types) {
		switch t.Value {
		case "java.lang.Exception", "java.lang.Throwable", "Exception":
			return false
		}
	}
	return types != nil
}

// marshal translates a data format. JSON is data already.
func (x *camel) marshal(_ *route, key *yaml.Node, o *object) ([]*yaml.Node, error) {
	kind, settings := only(o.node, "id", "description")
	if kind == nil {
		return nil, errors.New("the data format is missing")
	}
	part := key.Value + " " + kind.Value
	if settings != nil && settings.Kind == yaml.MappingNode {
		x.object(settings, part).rest("id", "library", "prettyPrint", "unmarshalType", "unmarshalTypeName", "useList")
	}
	switch kind.Value {
	case "json":
		x.left(key, part, "not needed: JSON is data and text at once")
		return nil, nil
	case "jacksonXml", "jaxb", "xml":
		if key.Value == "marshal" {
			return []*yaml.Node{x.step(key, part, nil, "convert", mapping("to", "xml", "root", "document"))}, nil
		}
		return []*yaml.Node{x.step(key, part, nil, "convert", mapping("from", "xml", "to", "json"))}, nil
	case "csv", "bindy":
		if kind.Value == "csv" && key.Value == "marshal" {
			return []*yaml.Node{x.step(key, part, nil, "convert", mapping("to", "csv"))}, nil
		} else if kind.Value == "csv" {
			return []*yaml.Node{x.step(key, part, nil, "convert", mapping("from", "csv", "to", "json"))}, nil
		}
	case "base64":
		if key.Value == "marshal" {
			return []*yaml.Node{x.step(key, part, nil, "map", "${base64(raw)}")}, nil
		}
		return []*yaml.Node{x.step(key, part, nil, "map", "${unbase64(raw)}")}, nil
	}
	return nil, fmt.Errorf("the data format %s has no counterpart", shorten(kind.Value, 30))
}
