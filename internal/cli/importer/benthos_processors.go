package importer

import (
	"errors"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// processors translates a list of processors. tail, if there is one, returns the
// steps after them, once for each message.
func (x *benthos) processors(list []*yaml.Node, tail func() []*yaml.Node) []*yaml.Node {
	var steps []*yaml.Node
	for i, n := range list {
		key, o := x.component(n)
		if key == nil {
			steps = append(steps, x.todo(n, "processor", "it has no kind"))
			continue
		}
		part := "processor " + key.Value
		if tail != nil && (key.Value == "unarchive" && o.text("format") == "json_array" || key.Value == "split" && o.node != nil) {
			for range list[i+1:] {
				x.budget--
			}
			in := "${doc}"
			step := x.step(key, part, o.rest(), "for_each", in)
			set(step, "steps", x.atLeastOne(key, part, x.processors(list[i+1:], tail)))
			return append(steps, step)
		}
		if key.Value == "catch" {
			steps = x.catch(key, o, steps)
			continue
		}
		steps = append(steps, x.processor(n, key, o)...)
	}
	if tail != nil {
		steps = append(steps, tail()...)
	}
	return steps
}

// catch wraps the steps before it.
func (x *benthos) catch(key *yaml.Node, o *object, before []*yaml.Node) []*yaml.Node {
	handlers := x.processors(elements(o.node), nil)
	if len(before) == 0 {
		x.left(key, "processor catch", "no step comes before it")
		return nil
	}
	return []*yaml.Node{x.step(key, "processor catch", nil,
		"try", before,
		"catch", mapping("handled", true, "steps", x.atLeastOne(key, "processor catch", handlers)))}
}

// processor translates one processor.
func (x *benthos) processor(n, key *yaml.Node, o *object) []*yaml.Node {
	part := "processor " + key.Value
	if x.budget--; x.budget < 0 || x.depth > 20 {
		return []*yaml.Node{x.todo(key, part, "there are too many processors, or resources use themselves")}
	}
	steps, err := x.translateProcessor(n, key, o, part)
	if err != nil {
		return []*yaml.Node{x.todo(key, part, err.Error())}
	}
	if comments := o.rest("parallel", "max_in_flight"); len(comments) > 0 && len(steps) > 0 {
		comment(steps[0], comments...)
	}
	return steps
}

var errUnknown = errors.New("no counterpart")

func (x *benthos) translateProcessor(n, key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	one := func(step *yaml.Node) ([]*yaml.Node, error) { return []*yaml.Node{step}, nil }
	switch key.Value {
	case "mapping", "bloblang", "mutation":
		steps, err := x.b.mapping(key, part, child(n, key.Value).Value, key.Value == "mutation", "doc")
		if err == nil {
			x.took(key, part, "steps "+kinds(steps))
		}
		return steps, err
	case "log":
		message, err := x.template(o, "message")
		if err != nil {
			return nil, err
		}
		o.get("level")
		return one(x.step(key, part, nil, "log", or(message.String(), "${raw}")))
	case "http":
		step, err := x.http(key, o, part, "POST")
		if err != nil {
			return nil, err
		}
		return one(step)
	case "try", "for_each":
		x.took(key, part, "steps in their order")
		return x.processors(elements(o.node), nil), nil
	case "parallel", "processors", "retry":
		list := o.get("processors")
		if key.Value == "processors" {
			list = o.node
		}
		o.get("cap", "backoff", "parallel", "max_retries", "max_elapsed_time")
		x.took(key, part, "steps in their order; calls are retried by the retry policy")
		return x.processors(elements(list), nil), nil
	case "switch":
		return x.switchProcessor(key, o, part)
	case "branch":
		return x.branchProcessor(key, o, part)
	case "resource":
		label := child(n, key.Value).Value
		target := x.resources["processor "+label]
		if target == nil {
			return nil, fmt.Errorf("there is no resource %s", shorten(label, 40))
		}
		x.took(key, part+" "+label, "the steps of the resource")
		x.depth++
		defer func() { x.depth-- }()
		return x.processors([]*yaml.Node{target}, nil), nil
	case "sleep":
		d, err := x.template(o, "duration")
		if err != nil {
			return nil, err
		}
		return one(x.step(key, part, nil, "sleep", d))
	case "sql_raw", "sql_select", "sql_insert":
		return x.sqlProcessor(key, o, part)
	case "xml":
		o.get("operator", "cast")
		return one(x.step(key, part, nil, "convert", mapping("from", "xml", "to", "json")))
	case "noop":
		x.left(key, part, "not needed")
		return nil, nil
	case "metric", "rate_limit":
		x.left(key, part, "the atom has its own metrics; a connection has a `rate:`")
		for i := 0; o.node != nil && i+1 < len(o.node.Content); i += 2 {
			o.read[o.node.Content[i].Value] = true
		}
		return nil, nil
	}
	for i := 0; o.node != nil && o.node.Kind == yaml.MappingNode && i+1 < len(o.node.Content); i += 2 {
		o.read[o.node.Content[i].Value] = true // all of it is reported at once
	}
	return nil, errUnknown
}

// kinds returns the names of steps.
func kinds(steps []*yaml.Node) string {
	var names []string
	for _, s := range steps {
		names = append(names, s.Content[0].Value)
	}
	if len(names) == 0 {
		return "none: nothing changes"
	}
	return strings.Join(names, ", ")
}

// choice is a condition with its steps.
type choice struct {
	condition string
	steps     []*yaml.Node
}

// choose returns the step that runs the first choice whose condition is true.
// Few are a chain of `if`, many a `switch` over their numbers.
func (r *reader) choose(at *yaml.Node, part string, comments []string, choices []choice, otherwise []*yaml.Node) *yaml.Node {
	for i := range choices {
		choices[i].steps = r.atLeastOne(at, part, choices[i].steps)
	}
	if len(choices) <= 3 {
		var step *yaml.Node
		for i := len(choices) - 1; i >= 0; i-- {
			keys := []any{"if", "${" + choices[i].condition + "}", "then", choices[i].steps}
			if len(otherwise) > 0 {
				keys = append(keys, "else", otherwise)
			}
			if i == 0 {
				step = r.step(at, part, comments, keys...)
			} else {
				step = r.helper(at, part, keys...)
			}
			otherwise = []*yaml.Node{step}
		}
		return step
	}
	var condition strings.Builder
	cases := mapping()
	for i, c := range choices {
		name := fmt.Sprintf("case %d", i+1)
		condition.WriteString(c.condition + " ? " + quote(name) + " : (")
		set(cases, name, c.steps)
	}
	condition.WriteString(`"none"` + strings.Repeat(")", len(choices)))
	keys := []any{"switch", "${" + condition.String() + "}", "cases", cases}
	if len(otherwise) > 0 {
		keys = append(keys, "default", otherwise)
	}
	return r.step(at, part, comments, keys...)
}

func (x *benthos) switchProcessor(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	var before []*yaml.Node
	var choices []choice
	var otherwise []*yaml.Node
	for i, e := range elements(o.node) {
		c := x.object(e, part)
		check := c.get("check")
		steps := x.processors(elements(c.get("processors")), nil)
		if c.flag("fallthrough") {
			before = append(before, x.todo(e, part+": fallthrough", "a case ends"))
		}
		c.rest()
		if check == nil || check.Value == "" {
			otherwise = steps
			if i < len(o.node.Content)-1 {
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

// branchProcessor translates a branch, which works on a copy of the document
// and adds its result to it.
func (x *benthos) branchProcessor(key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	x.originals++
	original := "original"
	if x.originals > 1 {
		original = fmt.Sprintf("original_%d", x.originals)
	}
	step := x.helper(key, part, "set", mapping(original, "${doc}"))
	steps := []*yaml.Node{step}
	if m := o.get("request_map"); m != nil {
		request, err := x.b.mapping(m, part+": request_map", m.Value, false, "doc")
		if err != nil || hasStop(request) {
			return nil, fmt.Errorf("request_map: %v", orDefault(err, "a request that is deleted is not translated"))
		}
		steps = append(steps, request...)
	}
	var result []*yaml.Node
	list := elements(o.get("processors"))
	if m := o.get("result_map"); m != nil {
		var err error
		if result, err = x.b.mapping(m, part+": result_map", m.Value, true, "vars."+original); err != nil {
			return nil, fmt.Errorf("result_map: %w", err)
		}
	}
	if len(result) == 0 || result[len(result)-1].Content[0].Value != "map" {
		result = append(result, x.helper(key, part, "map", "${vars."+original+"}"))
	}
	x.took(key, part, "steps that set a variable and add the result to it")
	return append(append(steps, x.processors(list, nil)...), result...), nil
}

func orDefault(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}

func hasStop(steps []*yaml.Node) bool {
	for _, s := range steps {
		for i := 0; i+1 < len(s.Content); i += 2 {
			if s.Content[i].Value == "stop" || s.Content[i+1].Kind == yaml.SequenceNode && hasStop(s.Content[i+1].Content) {
				return true
			}
		}
	}
	return false
}

// http translates an HTTP call.
func (x *benthos) http(key *yaml.Node, o *object, part, method string) (*yaml.Node, error) {
	address, err := x.template(o, "url")
	if err != nil {
		return nil, err
	}
	q := request{at: key, part: part, url: address, method: or(o.text("verb"), method), timeout: duration(o.text("timeout"))}
	headers := o.get("headers")
	for i := 0; headers != nil && i+1 < len(headers.Content); i += 2 {
		name := headers.Content[i].Value
		v, err := x.b.interpolate(headers.Content[i+1].Value, isSecretName(name))
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", shorten(name, 40), err)
		}
		q.headers = append(q.headers, named{name, v})
	}
	q.auth = x.httpCredentials(o, address)
	if retries := o.text("retries"); retries != "" {
		n := 0
		if _, err := fmt.Sscanf(retries, "%d", &n); err == nil && n >= 0 && n < 1000 {
			q.attempts = n + 1
		}
	}
	for _, status := range elements(o.get("successful_on")) {
		q.accept = append(q.accept, status.Value)
	}
	if len(q.accept) > 0 {
		q.accept = append(q.accept, "2xx")
	}
	if t := x.object(o.get("tls"), part+": tls"); t.node != nil {
		q.comments = append(q.comments, x.tls(t)...)
	}
	o.get("retry_period", "max_retry_backoff", "backoff_on", "drop_on", "propagate_response", "batch_as_multipart", "dump_request_log_level", "parallel")
	return x.call(q)
}

// httpCredentials returns the credentials of an HTTP call.
func (x *benthos) httpCredentials(o *object, address template) *yaml.Node {
	host := or(hostName(address.String()), "http")
	if a := x.object(o.get("basic_auth"), o.part+": basic_auth"); a.flag("enabled") {
		user, _ := x.plain(a, "username")
		return mapping("scheme", "basic", "user", user, "password", x.credential(a, host+"_PASSWORD", "password"))
	}
	if a := x.object(o.get("oauth2"), o.part+": oauth2"); a.flag("enabled") {
		tokens, _ := x.plain(a, "token_url")
		client, _ := x.plain(a, "client_key")
		auth := mapping("scheme", "oauth2", "token_url", tokens, "client_id", client, "client_secret", x.credential(a, host+"_CLIENT_SECRET", "client_secret"))
		var scopes []string
		for _, s := range elements(a.get("scopes")) {
			scopes = append(scopes, s.Value)
		}
		if len(scopes) > 0 {
			set(auth, "scopes", texts(scopes))
		}
		a.rest()
		return auth
	}
	for _, key := range []string{"oauth", "jwt"} {
		if n := o.get(key); n != nil && x.object(n, key).flag("enabled") {
			x.left(n, o.part+": "+key, "the credentials must be set by hand")
		}
	}
	return nil
}

// tls reports the TLS settings, which name files of another machine.
func (x *benthos) tls(t *object) (comments []string) {
	if !t.flag("enabled") {
		return nil
	}
	return t.rest()
}

// duration returns a duration as the language writes it, or "".
func duration(s string) string {
	s = strings.TrimSpace(s)
	for _, unit := range []string{"ms", "s", "m", "h"} {
		if n, ok := strings.CutSuffix(s, unit); ok && n != "" && len(n) < 10 && strings.Trim(n, "0123456789") == "" && strings.Trim(n, "0") != "" {
			return n + unit
		}
	}
	return ""
}
