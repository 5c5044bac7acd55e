package importer

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// replies reports whether the output sends a synchronous response.
func (x *benthos) replies() bool {
	return x.contains(x.out, "sync_response", 0)
}

func (x *benthos) contains(n *yaml.Node, key string, depth int) bool {
	if n == nil || depth > 40 {
		return false
	}
	for i, e := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if e.Value == key {
				return true
			}
			if target := x.resources["output "+n.Content[i+1].Value]; e.Value == "resource" && target != nil && x.contains(target, key, depth+10) {
				return true
			}
			continue
		}
		if x.contains(e, key, depth+1) {
			return true
		}
	}
	return false
}

// output translates an output to steps.
func (x *benthos) output(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	key, o := x.component(n)
	if key == nil {
		return []*yaml.Node{x.todo(n, "output", "it has no kind")}
	}
	part := "output " + key.Value
	if x.budget--; x.budget < 0 || x.depth > 20 {
		return []*yaml.Node{x.todo(key, part, "there are too many outputs, or resources use themselves")}
	}
	before := x.processors(elements(child(n, "processors")), nil)
	steps, err := x.translateOutput(n, key, o, part)
	if err != nil {
		for i := 0; o.node != nil && o.node.Kind == yaml.MappingNode && i+1 < len(o.node.Content); i += 2 {
			o.read[o.node.Content[i].Value] = true
		}
		return append(before, x.todo(key, part, err.Error()))
	}
	comments := o.rest("max_in_flight", "batching", "batch_as_multipart", "parallel", "client_id", "max_retries", "backoff", "ack_replicas", "static_headers", "compression")
	if len(steps) > 0 {
		comment(steps[0], comments...)
	}
	return append(before, steps...)
}

func (x *benthos) translateOutput(n, key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	one := func(step *yaml.Node) ([]*yaml.Node, error) { return []*yaml.Node{step}, nil }
	call := func(connection, op string, with *yaml.Node) ([]*yaml.Node, error) {
		keys := []any{"call", connection + "." + op}
		if len(with.Content) > 0 {
			keys = append(keys, "with", with)
		}
		return one(x.step(key, part, nil, keys...))
	}
	switch key.Value {
	case "sync_response":
		if n == x.out {
			return one(x.reply(key, part))
		}
		return one(x.step(key, part, nil, "set", mapping("response", "${doc}"))) // sent at the end
	case "http_client":
		step, err := x.http(key, o, part, "POST")
		if err != nil {
			return nil, err
		}
		return one(step)
	case "stdout":
		o.get("codec")
		return one(x.step(key, part, nil, "log", "${raw}"))
	case "drop":
		x.left(key, part, "the process ends here")
		return nil, nil
	case "reject":
		message, err := x.b.interpolate(child(n, "reject").Value, false)
		if err != nil {
			return nil, err
		}
		return one(x.step(key, part, nil, "throw", message))
	case "kafka", "kafka_franz", "redpanda":
		topic, err := x.template(o, "topic")
		if err != nil || topic.empty() {
			return nil, orError(err, "the topic is missing")
		}
		messageKey, err := x.template(o, "key")
		if err != nil {
			return nil, err
		}
		connection, err := x.kafka(o)
		if err != nil {
			return nil, err
		}
		o.get("idempotent_write")
		with := mapping("topic", topic)
		if !messageKey.empty() {
			set(with, "key", messageKey)
		}
		return call(connection, "publish", with)
	case "amqp_0_9":
		connection, err := x.amqp(o)
		if err != nil {
			return nil, err
		}
		with := mapping()
		for _, name := range [][2]string{{"exchange", "exchange"}, {"key", "routing_key"}} {
			t, err := x.template(o, name[0])
			if err != nil {
				return nil, err
			}
			if !t.empty() {
				set(with, name[1], t)
			}
		}
		o.get("persistent", "mandatory", "immediate")
		return call(connection, "publish", with)
	case "nats", "nats_jetstream":
		subject, err := x.template(o, "subject")
		if err != nil {
			return nil, err
		}
		connection, err := x.nats(o)
		if err != nil {
			return nil, err
		}
		with := mapping("subject", subject)
		if key.Value == "nats" {
			set(with, "core", true)
		}
		return call(connection, "publish", with)
	case "mqtt":
		topic, err := x.template(o, "topic")
		if err != nil {
			return nil, err
		}
		connection, err := x.mqtt(o)
		if err != nil {
			return nil, err
		}
		return call(connection, "publish", mapping("topic", topic))
	case "file":
		return x.fileOutput(key, o, part)
	case "aws_s3":
		bucket, err := x.template(o, "bucket")
		if err != nil {
			return nil, err
		}
		path, err := x.template(o, "path")
		if err != nil {
			return nil, err
		}
		if path.empty() {
			path = template{{"uuid()", true}, {text: ".json"}}
		}
		return call(x.s3(o), "put", mapping("bucket", bucket, "key", path))
	case "sql_raw", "sql_insert":
		return x.sqlProcessor(key, o, part)
	case "resource":
		label := child(n, key.Value).Value
		target := x.resources["output "+label]
		if target == nil {
			return nil, fmt.Errorf("there is no resource %s", shorten(label, 40))
		}
		x.took(key, part+" "+label, "the steps of the resource")
		x.depth++
		defer func() { x.depth-- }()
		return x.output(target), nil
	case "retry", "drop_on":
		inner := o.get("output")
		o.get("max_retries", "backoff", "error", "back_pressure")
		steps := x.atLeastOne(key, part, x.output(inner))
		if key.Value == "retry" {
			x.took(key, part, "the steps of its output; calls are retried by the retry policy")
			return steps, nil
		}
		return one(x.step(key, part, nil, "try", steps, "catch", mapping("handled", true, "steps", []*yaml.Node{x.helper(key, part, "log", "dropped: ${error.message}")})))
	case "fallback", "try":
		return x.fallback(key, elements(o.node), part)
	case "broker":
		return x.brokerOutput(key, o, part)
	case "switch":
		return x.switchOutput(key, o, part)
	}
	return nil, errUnknown
}

func orError(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// reply translates a synchronous response.
func (x *benthos) reply(key *yaml.Node, part string) *yaml.Node {
	keys := []any{"reply", "${doc}"}
	if key != x.out.Content[0] {
		keys[1] = `${vars.response ?? ""}`
	}
	var comments []string
	if x.response != nil {
		if t, err := x.template(x.response, "status"); err == nil && !t.empty() && t.String() != "200" {
			if len(t) == 1 && t[0].expr {
				keys = append(keys, "status", "${number("+t[0].text+")}")
			} else {
				var status int
				if _, err := fmt.Sscanf(t.String(), "%d", &status); err == nil {
					keys = append(keys, "status", status)
				}
			}
		}
		headers := mapping()
		h := x.response.get("headers")
		for i := 0; h != nil && i+1 < len(h.Content); i += 2 {
			if t, err := x.b.interpolate(h.Content[i+1].Value, false); err == nil && !strings.EqualFold(h.Content[i].Value, "content-type") {
				set(headers, h.Content[i].Value, t)
			} else {
				comments = append(comments, x.left(h.Content[i], "sync_response: header "+h.Content[i].Value, orDefault(err, "it follows from the format")))
			}
		}
		if len(headers.Content) > 0 {
			keys = append(keys, "headers", headers)
		}
		comments = append(comments, x.response.rest()...)
	}
	return x.step(key, part, comments, keys...)
}

// fileOutput appends to a file, or writes one for each message.
func (x *benthos) fileOutput(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	t, err := x.template(o, "path")
	if err != nil || t.empty() || t[0].expr {
		return nil, orError(err, "the path does not begin with a folder")
	}
	folder, name := ".", t[0].text
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		folder, name = or(name[:i], "/"), name[i+1:]
	}
	t = append(template{{text: name}}, t[1:]...)
	if name == "" {
		t = t[1:]
	}
	op := "append"
	if strings.Contains(o.text("codec"), "all-bytes") {
		op = "write"
	}
	return []*yaml.Node{x.step(key, part, nil, "call", x.folder(folder)+"."+op, "with", mapping("path", t))}, nil
}

// fallback tries outputs until one succeeds.
func (x *benthos) fallback(key *yaml.Node, outputs []*yaml.Node, part string) ([]*yaml.Node, error) {
	if len(outputs) == 0 || len(outputs) > 10 {
		return nil, errors.New("there are no outputs, or more than 10")
	}
	steps := x.atLeastOne(key, part, x.output(outputs[len(outputs)-1]))
	for i := len(outputs) - 2; i >= 0; i-- {
		first := x.atLeastOne(key, part, x.output(outputs[i]))
		keys := []any{"try", first, "catch", mapping("handled", true, "steps", steps)}
		if i == 0 {
			steps = []*yaml.Node{x.step(key, part, nil, keys...)}
		} else {
			steps = []*yaml.Node{x.helper(key, part, keys...)}
		}
	}
	return steps, nil
}

// brokerOutput sends each message to several outputs.
func (x *benthos) brokerOutput(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	outputs := elements(o.get("outputs"))
	pattern := or(o.text("pattern"), "fan_out")
	if !strings.HasPrefix(pattern, "fan_out") {
		return nil, fmt.Errorf("the pattern %s has no counterpart", shorten(pattern, 30))
	}
	o.get("copies")
	if len(outputs) == 1 {
		x.took(key, part, "the steps of its output")
		return x.output(outputs[0]), nil
	}
	if len(outputs) == 0 {
		return nil, errors.New("there are no outputs")
	}
	paths := mapping()
	var before []*yaml.Node
	for i, n := range outputs {
		if x.contains(n, "sync_response", 0) { // a path cannot set the variables of the process
			before = append(before, x.output(n)...)
			continue
		}
		name := fmt.Sprintf("output_%d", i+1)
		if label := child(n, "label"); label != nil && label.Value != "" && child(paths, variable(label.Value)) == nil {
			name = variable(label.Value)
		}
		set(paths, name, x.atLeastOne(n, part, x.output(n)))
	}
	if len(paths.Content) == 0 {
		return before, nil
	}
	keys := []any{"branch", paths}
	if strings.Contains(pattern, "sequential") {
		keys = append(keys, "sequential", true)
	}
	return append(before, x.step(key, part, nil, keys...)), nil
}

// switchOutput sends each message to the output of the first case that is true.
func (x *benthos) switchOutput(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	var before []*yaml.Node
	var choices []choice
	var otherwise []*yaml.Node
	cases := elements(o.get("cases"))
	o.get("retry_until_success", "strict_mode")
	for i, e := range cases {
		c := x.object(e, part)
		steps := x.output(c.get("output"))
		if c.flag("continue") {
			before = append(before, x.todo(e, part+": continue", "a message goes to one case only"))
		}
		check := c.get("check")
		c.rest()
		if check == nil || check.Value == "" {
			otherwise = steps
			if i < len(cases)-1 {
				x.left(e, part, "cases after one without a check")
			}
			break
		}
		condition, todo := x.condition(check, part+" check")
		if todo != nil {
			before = append(before, todo)
		}
		choices = append(choices, choice{condition, steps})
	}
	if len(choices) == 0 {
		x.took(key, part, "the steps of its only case")
		return append(before, otherwise...), nil
	}
	return append(before, x.choose(key, part, nil, choices, otherwise)), nil
}
