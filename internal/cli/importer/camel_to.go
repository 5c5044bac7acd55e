package importer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// to translates a producer. dynamic is whether its URI has expressions.
func (x *camel) to(r *route, key *yaml.Node, part string, n *yaml.Node, dynamic bool) []*yaml.Node {
	u := x.endpoint(n)
	part += " " + u.shown()
	steps, err := x.producer(r, key, u, part, dynamic)
	if err != nil {
		return []*yaml.Node{x.todo(key, part, err.Error())}
	}
	o := x.object(n, part)
	if n.Kind == yaml.MappingNode {
		o.get("uri", "parameters")
		o.rest("id", "description", "uri", "parameters", "pattern", "note")
	}
	if comments := u.rest(x.reader); len(steps) > 0 {
		comment(steps[0], comments...)
	}
	r.body = true
	return steps
}

func (x *camel) producer(r *route, key *yaml.Node, u *endpoint, part string, dynamic bool) ([]*yaml.Node, error) {
	if u.err != nil {
		return nil, u.err
	}
	text := func(s string) (template, error) {
		if dynamic {
			return x.simple(r, s)
		}
		return x.placeholders(s), nil
	}
	call := func(connection, op string, with *yaml.Node) ([]*yaml.Node, error) {
		return []*yaml.Node{x.step(key, part, nil, "call", connection+"."+op, "with", with)}, nil
	}
	scheme := u.scheme
	if scheme == "kamelet" {
		name, _, _ := strings.Cut(u.path, "/")
		scheme = strings.TrimSuffix(strings.TrimSuffix(name, "-sink"), "-action")
		if scheme == "kafka" {
			u.path = u.get("topic")
		}
	}
	switch scheme {
	case "direct", "vm", "seda":
		return x.start(r, key, u, part, scheme == "seda")
	case "log":
		for name := range u.params {
			u.read[name] = true
		}
		return []*yaml.Node{x.step(key, part, nil, "log", "${raw}")}, nil
	case "mock", "stub", "dataset-test":
		x.left(key, part, "it is of a test")
		return nil, nil
	case "http", "https", "netty-http", "vertx-http", "undertow", "rest":
		return x.httpProducer(r, key, u, part, dynamic)
	case "kafka":
		topic, err := text(u.path)
		if err != nil || topic.empty() {
			return nil, orError(err, "the topic is missing")
		}
		connection, err := x.kafkaConnection(u)
		if err != nil {
			return nil, err
		}
		with := mapping("topic", topic)
		if v := r.vars["header kafka.KEY"]; v != "" {
			set(with, "key", "${string(vars."+v+")}")
		} else if k := u.get("key"); k != "" {
			t, err := text(k)
			if err != nil {
				return nil, err
			}
			set(with, "key", t)
		}
		return call(connection, "publish", with)
	case "activemq", "activemq6", "jms", "amqp", "sjms", "sjms2":
		address, kind := jmsDestination(u.path)
		t, err := text(address)
		if err != nil {
			return nil, err
		}
		return call(x.jms(u), "send", mapping("address", t, "kind", kind))
	case "spring-rabbitmq", "rabbitmq":
		with := mapping()
		if u.path != "" && u.path != "default" {
			set(with, "exchange", literal(u.path))
		}
		if k := u.get("routingKey"); k != "" {
			t, err := text(k)
			if err != nil {
				return nil, err
			}
			set(with, "routing_key", t)
		}
		return call(x.rabbit(u), "publish", with)
	case "paho-mqtt5", "paho", "mqtt5", "mqtt":
		topic, err := text(or(u.path, u.get("topic")))
		if err != nil {
			return nil, err
		}
		return call(x.mqttConnection(u), "publish", mapping("topic", topic))
	case "nats":
		subject, err := text(u.path)
		if err != nil {
			return nil, err
		}
		servers := x.placeholders(or(u.get("servers"), "{{nats.servers}}"))
		return call(x.connection("nats", "nats", mapping("url", natsURL(servers))), "publish", mapping("subject", subject, "core", true))
	case "file", "ftp", "ftps":
		name := or(u.get("fileName"), "${header.CamelFileName}")
		t, err := x.simple(r, name)
		if err != nil {
			return nil, fmt.Errorf("the name of the file: %w", err)
		}
		op := "write"
		if strings.EqualFold(u.get("fileExist"), "append") {
			op = "append"
		}
		if scheme == "file" {
			if u.path == "" || strings.Contains(u.path, "${") || strings.Contains(u.path, "{{") {
				return nil, errors.New("the folder is not fixed")
			}
			return call(x.folder(u.path), op, mapping("path", t))
		}
		connection, folder, err := x.fileServer(u)
		if err != nil {
			return nil, err
		}
		if folder != "." {
			t = append(template{{text: strings.Trim(folder, "/") + "/"}}, t...)
		}
		return call(connection, op, mapping("path", t))
	case "aws2-s3", "aws-s3":
		bucket, err := text(or(u.get("bucketNameOrArn"), u.path))
		if err != nil {
			return nil, err
		}
		name := or(u.get("keyName"), "${header.CamelAwsS3Key}")
		t, err := x.simple(r, name)
		if err != nil {
			return nil, fmt.Errorf("the key of the object: %w", err)
		}
		return call(x.s3(u), "put", mapping("bucket", bucket, "key", t))
	case "sql":
		return x.sqlProducer(r, key, u, part)
	}
	return nil, errUnknown
}

// start translates a call of another route.
func (x *camel) start(r *route, key *yaml.Node, u *endpoint, part string, handoff bool) ([]*yaml.Node, error) {
	name := u.scheme + ":" + u.path
	process := x.direct[name]
	if process == "" {
		return nil, fmt.Errorf("the file has no route from %s", shorten(name, 60))
	}
	keys := []any{"process", process}
	props := mapping()
	for _, h := range x.reads(name, map[string]bool{}) {
		if e, err := r.header(h); err == nil && child(props, h) == nil && identifier.MatchString(h) {
			set(props, h, "${"+e+"}")
		}
	}
	if len(props.Content) > 0 {
		keys = append(keys, "props", props)
	}
	if handoff {
		keys = append(keys, "mode", "handoff")
	}
	return []*yaml.Node{x.step(key, part, nil, keys...)}, nil
}

// wireTap starts another route without waiting.
func (x *camel) wireTap(r *route, key, n *yaml.Node) ([]*yaml.Node, error) {
	u := x.endpoint(n)
	part := "wireTap " + u.shown()
	if u.scheme == "direct" || u.scheme == "seda" {
		return x.start(r, key, u, part, true)
	}
	steps, err := x.producer(r, key, u, part, true)
	if err != nil {
		return nil, err
	}
	paths := mapping("tap", x.atLeastOne(key, part, steps))
	keep := x.helper(key, part, "set", mapping(r.variable("property", "tapped"), "${doc}"))
	back := x.helper(key, part, "map", "${vars."+r.variable("property", "tapped")+"}")
	return []*yaml.Node{keep, x.helper(key, part, "branch", paths), back}, nil
}

var sqlParameter = regexp.MustCompile(`:#(?:\$\{[^{}]*\}|[A-Za-z_][A-Za-z0-9_]*)`)

// httpProducer translates a call over HTTP.
func (x *camel) httpProducer(r *route, key *yaml.Node, u *endpoint, part string, dynamic bool) ([]*yaml.Node, error) {
	if u.scheme == "rest" || u.scheme == "kamelet" {
		address := u.get("url")
		if address == "" {
			return nil, errors.New("the address of the API is set elsewhere")
		}
		u.scheme, u.path = "", address
	}
	address := u.path
	if !strings.Contains(address, "://") {
		address = or(u.scheme, "https") + "://" + strings.TrimPrefix(address, "//")
	}
	before, query, _ := cutOutside(address, '?')
	var t template
	var err error
	if t, err = x.simple(r, before); err != nil {
		return nil, err
	}
	q := request{at: key, part: part, url: t, method: r.method}
	for _, pair := range strings.Split(query, "&") {
		name, v, _ := strings.Cut(pair, "=")
		if name == "" {
			continue
		}
		switch name {
		case "httpMethod", "bridgeEndpoint", "throwExceptionOnFailure", "connectTimeout", "socketTimeout", "copyHeaders", "authMethod", "authUsername", "authPassword", "connectionClose":
			u.params[name] = unescape(v)
			continue
		}
		value, err := x.simple(r, unescape(v))
		if err != nil {
			return nil, err
		}
		q.query = append(q.query, named{unescape(name), value})
	}
	if m := u.get("httpMethod", "method"); m != "" {
		q.method = m
	}
	if u.get("throwExceptionOnFailure") == "false" {
		q.accept = []string{"2xx", "3xx", "4xx", "5xx"}
	}
	if user := u.get("authUsername"); user != "" {
		q.auth = mapping("scheme", "basic", "user", x.placeholders(user), "password", or(x.login(u, "authPassword"), x.secret("HTTP_PASSWORD", "the password of "+user)))
	}
	u.get("bridgeEndpoint", "copyHeaders")
	u.get("authMethod")
	u.get("connectionClose")
	if q.method == "" {
		q.method = "GET"
		if r.body {
			q.method = "POST"
		}
	}
	if strings.Contains(q.method, "$") || strings.Contains(q.method, "{") {
		return nil, errors.New("the method depends on the message")
	}
	for _, h := range r.headers {
		if v := r.vars["header "+h]; !strings.HasPrefix(h, "Camel") && !slices.ContainsFunc(q.headers, func(n named) bool { return n.name == h }) {
			q.headers = append(q.headers, named{h, template{{"string(vars." + v + ")", true}}})
		}
	}
	step, err := x.call(q)
	if err != nil {
		return nil, err
	}
	return []*yaml.Node{step}, nil
}

// sqlProducer translates a statement, whose placeholders are `:#name`.
func (x *camel) sqlProducer(r *route, key *yaml.Node, u *endpoint, part string) ([]*yaml.Node, error) {
	statement := or(u.path, u.get("query"))
	u.get("query")
	var args []string
	var failed error
	statement = sqlParameter.ReplaceAllStringFunc(statement, func(s string) string {
		inner := strings.TrimPrefix(s, ":#")
		if name, ok := strings.CutPrefix(inner, "${"); ok {
			v, err := x.function(r, strings.TrimSuffix(name, "}"))
			if err != nil && failed == nil {
				failed = err
			}
			args = append(args, v.text)
		} else if e, err := r.header(inner); err == nil && r.vars["header "+inner] != "" {
			args = append(args, e)
		} else {
			args = append(args, member(value{text: "doc"}, inner).text)
		}
		return "?"
	})
	if failed != nil {
		return nil, failed
	}
	if strings.Contains(statement, "#") && !strings.Contains(statement, "'") {
		for strings.Contains(statement, "#") && len(args) < 50 {
			args = append(args, fmt.Sprintf("doc?.[%d]", len(args)))
			statement = strings.Replace(statement, "#", "?", 1)
		}
	}
	bound, err := bind(statement, args)
	if err != nil {
		return nil, err
	}
	op := "exec"
	if reads(bound) {
		op = "query"
	}
	return []*yaml.Node{x.step(key, part, nil, "call", x.dataSource(u)+"."+op, "with", mapping("sql", bound))}, nil
}
