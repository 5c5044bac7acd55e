package importer

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"gopkg.in/yaml.v3"
)

// input translates an input to the trigger of a process. body returns the steps
// after the processors of the input.
func (x *benthos) input(p *process, n *yaml.Node, body func(before []*yaml.Node) []*yaml.Node) {
	x.inputWithin(p, n, nil, body)
}

func (x *benthos) inputWithin(p *process, n *yaml.Node, outer []*yaml.Node, body func([]*yaml.Node) []*yaml.Node) {
	before := append(append([]*yaml.Node{}, elements(child(n, "processors"))...), outer...)
	key, o := x.component(n)
	if n == nil || key == nil {
		p.steps = x.atLeastOne(n, "input", body(before))
		return
	}
	part := "input " + key.Value
	if x.budget--; x.budget < 0 || x.depth > 20 {
		p.steps = []*yaml.Node{x.todo(key, part, "there are too many inputs, or resources use themselves")}
		return
	}
	switch key.Value {
	case "broker":
		x.brokerInput(p, key, o, before, body)
		return
	case "resource":
		label := child(n, "resource").Value
		if target := x.resources["input "+label]; target != nil {
			x.took(key, part+" "+label, "the trigger of the resource")
			x.depth++
			x.inputWithin(p, target, before, body)
			x.depth--
			return
		}
	}
	p.trigger = origin{x.place(key), part}
	first, err := x.trigger(p, key, o, part)
	if err != nil {
		p.comments = append(p.comments, x.failTrigger(key, part, err))
		for i := 0; o.node != nil && o.node.Kind == yaml.MappingNode && i+1 < len(o.node.Content); i += 2 {
			o.read[o.node.Content[i].Value] = true
		}
	} else {
		p.comments = append(p.comments, o.rest("auto_replay_nacks", "batching", "batch_policy", "checkpoint_limit", "max_in_flight", "client_id", "codec", "scanner", "commit_period", "rate_limit", "limit")...)
	}
	p.steps = x.atLeastOne(key, part, append(first, body(before)...))
}

// failTrigger reports a trigger without a counterpart, and returns the comment
// about it.
func (r *reader) failTrigger(at *yaml.Node, part string, err error) string {
	r.report.add(Part{Place: r.place(at), Part: part, Status: Todo, Why: err.Error() + "; the process has no trigger"})
	return "TODO: " + r.place(at) + ": " + part + ": " + err.Error() + "; the process has no trigger"
}

// brokerInput translates several inputs: each has a process that starts the one
// with the steps.
func (x *benthos) brokerInput(p *process, key *yaml.Node, o *object, outer []*yaml.Node, body func([]*yaml.Node) []*yaml.Node) {
	inputs := elements(o.get("inputs"))
	p.comments = append(p.comments, o.rest("batching", "copies")...)
	if len(inputs) == 1 {
		x.inputWithin(p, inputs[0], outer, body)
		return
	}
	x.took(key, "input broker", "a process for each input, which starts "+p.name)
	for _, n := range inputs {
		sub := x.process(p.name + "-input")
		sub.description = "Receives the messages of " + p.name
		x.inputWithin(sub, n, outer, func(before []*yaml.Node) []*yaml.Node {
			return append(x.processors(before, nil), x.helper(key, "input broker", "process", p.name))
		})
	}
	x.metadata(nil, "")
	p.steps = x.atLeastOne(key, "input broker", body(nil))
}

// metadata sets how metadata of the input are read: names are properties, and
// others are in headers.
func (x *benthos) metadata(names map[string]string, headers string) {
	x.b.meta = func(name string) (string, error) {
		if e, ok := names[name]; ok {
			return e, nil
		}
		if headers == "" {
			return "", fmt.Errorf("the metadata `%s` have no counterpart", shorten(name, 40))
		}
		return member(value{text: headers}, name).text, nil
	}
}

// trigger adds the trigger of an input, and returns the steps that create its
// document.
func (x *benthos) trigger(p *process, key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	subscribe := func(connection string, keysAndValues ...any) {
		s := mapping("connection", connection)
		s.Content = append(s.Content, mapping(keysAndValues...).Content...)
		p.add("subscribe", s)
		x.took(key, part, "subscription of "+p.name)
	}
	switch key.Value {
	case "http_server":
		return nil, x.httpServer(p, key, o, part)
	case "generate":
		return x.generate(p, key, o, part)
	case "kafka", "kafka_franz", "redpanda":
		topic, err := x.plain(o, "topics", "topic")
		if err != nil || topic.empty() {
			return nil, fmt.Errorf("the topic is not a single name")
		}
		group := o.text("consumer_group")
		if group == "" {
			group = x.group
		}
		g, err := x.b.interpolate(group, false)
		if err != nil {
			return nil, err
		}
		from := "latest"
		if o.text("start_from_oldest") != "false" && o.text("start_offset") != "latest" {
			from = "earliest"
		}
		x.metadata(map[string]string{"kafka_key": "props.key", "kafka_topic": "props.topic", "kafka_partition": "props.partition", "kafka_offset": "props.offset", "kafka_timestamp_unix": "unix(props.timestamp)"}, "props.headers")
		connection, err := x.kafka(o)
		if err != nil {
			return nil, err
		}
		subscribe(connection, "topic", topic, "group", g, "from", from)
		return nil, nil
	case "amqp_0_9":
		connection, err := x.amqp(o)
		if err != nil {
			return nil, err
		}
		queue, err := x.plain(o, "queue")
		if err != nil {
			return nil, err
		}
		names := map[string]string{}
		for _, n := range []string{"exchange", "routing_key", "redelivered", "content_type", "correlation_id", "reply_to", "message_id", "priority", "timestamp", "type", "app_id"} {
			names["amqp_"+n] = "props." + n
		}
		x.metadata(names, "props.headers")
		subscribe(connection, "queue", queue)
		return nil, nil
	case "nats_jetstream", "nats":
		subject, err := x.plain(o, "subject")
		if err != nil {
			return nil, err
		}
		connection, err := x.nats(o)
		if err != nil {
			return nil, err
		}
		x.metadata(map[string]string{"nats_subject": "props.subject"}, "props.headers")
		if key.Value == "nats" {
			o.get("queue")
			subscribe(connection, "subject", subject, "consumer", or(o.text("queue"), x.group), "core", true)
			return nil, nil
		}
		stream, err := x.plain(o, "stream")
		if err != nil || stream.empty() {
			return nil, errors.New("the stream is not named")
		}
		keys := []any{"stream", stream, "consumer", or(o.text("durable", "queue"), x.group)}
		if !subject.empty() {
			keys = append(keys, "subject", subject)
		}
		subscribe(connection, keys...)
		return nil, nil
	case "mqtt":
		topic, err := x.plain(o, "topics")
		if err != nil {
			return nil, err
		}
		connection, err := x.mqtt(o)
		if err != nil {
			return nil, err
		}
		x.metadata(map[string]string{"mqtt_topic": "props.topic", "mqtt_qos": "props.qos", "mqtt_retained": "props.retain"}, "props.headers")
		subscribe(connection, "topic", topic)
		return nil, nil
	case "file":
		return nil, x.fileInput(p, key, o, part)
	case "aws_s3":
		bucket, err := x.plain(o, "bucket")
		if err != nil {
			return nil, err
		}
		keys := []any{"bucket", bucket}
		if prefix := o.text("prefix"); prefix != "" {
			keys = append(keys, "prefix", literal(prefix))
		}
		x.metadata(map[string]string{"s3_key": "props.key"}, "")
		o.get("delete_objects")
		if child(o.node, "sqs") != nil {
			return nil, errors.New("objects are announced by a queue of SQS")
		}
		subscribe(x.s3(o), append(keys, "delete", o.flag("delete_objects"))...)
		return nil, nil
	}
	return nil, errUnknown
}

// httpServer translates a listener.
func (x *benthos) httpServer(p *process, key *yaml.Node, o *object, part string) error {
	path := or(o.text("path"), "/post")
	if strings.Contains(path, "${") {
		return errors.New("the path depends on the environment")
	}
	listen := mapping("path", literal(path))
	if verbs := elements(o.get("allowed_verbs")); len(verbs) > 0 {
		var list []string
		for _, v := range verbs {
			list = append(list, v.Value)
		}
		set(listen, "method", texts(list))
	}
	response := o.get("sync_response")
	if x.b.replies = x.replies(); x.b.replies {
		set(listen, "output", "json")
		if d := duration(o.text("timeout")); d != "" {
			set(listen, "timeout", d)
		}
	}
	set(listen, "auth", x.callers())
	p.add("listen", listen)
	x.took(key, part, "listener of "+p.name)
	p.comments = append(p.comments,
		x.leftAt(x.place(key), part+": authentication", "it is unknown who may call; callers send the key in X-Api-Key"),
		x.leftAt(x.place(key), part+": format", "bodies must be JSON; change `input:` for others"))
	if response != nil {
		x.response = x.object(response, part+": sync_response")
	}
	o.get("timeout")
	x.b.meta = func(name string) (string, error) {
		switch name {
		case "http_server_request_path":
			return "request.path", nil
		case "http_server_verb":
			return "request.method", nil
		case "http_server_user_agent":
			return `request.headers["User-Agent"]`, nil
		case "http_status_code":
			return "response.status", nil
		}
		return "(request.query?.[" + quote(name) + "] ?? request.headers[" + quote(name) + "])", nil
	}
	for _, k := range []string{"address", "ws_path", "ws_welcome_message", "ws_rate_limit_message", "cert_file", "key_file", "cors"} {
		if n := o.get(k); n != nil {
			p.comments = append(p.comments, x.left(n, part+": "+k, "the atom has its own settings for this, or none"))
		}
	}
	return nil
}

// generate translates a schedule.
func (x *benthos) generate(p *process, key *yaml.Node, o *object, part string) ([]*yaml.Node, error) {
	x.metadata(nil, "")
	interval := o.text("interval")
	cron, zone, err := schedule(or(interval, "1s"))
	if err == nil {
		s := mapping("cron", cron)
		if zone != "" {
			set(s, "timezone", zone)
		}
		p.add("schedule", s)
		x.took(key, part, "schedule of "+p.name)
	}
	if n := o.get("count"); n != nil && n.Value != "0" {
		p.comments = append(p.comments, x.left(n, part+": count "+n.Value, "a schedule does not end"))
	}
	o.get("batch_size")
	var steps []*yaml.Node
	if m := o.get("mapping"); m != nil {
		var failed error
		if steps, failed = x.b.mapping(m, part+": mapping", m.Value, false, "doc"); failed != nil {
			steps = []*yaml.Node{x.todo(m, part+": mapping", failed.Error())}
		} else {
			x.took(m, part+": mapping", "steps "+kinds(steps))
		}
	}
	if err != nil {
		p.comments = append(p.comments, x.failTrigger(key, part, err))
	}
	return steps, nil
}

// fileInput watches a folder.
func (x *benthos) fileInput(p *process, key *yaml.Node, o *object, part string) error {
	path, err := x.plain(o, "paths", "path")
	if err != nil || len(path) != 1 || path[0].expr {
		return errors.New("the path is not a single file or pattern")
	}
	folder, pattern := ".", path[0].text
	if i := strings.LastIndexByte(pattern, '/'); i >= 0 {
		folder, pattern = or(pattern[:i], "/"), pattern[i+1:]
	}
	if strings.ContainsAny(folder, "*?[") || pattern == "" {
		return errors.New("the pattern is one of folders")
	}
	x.metadata(map[string]string{"path": "props.path", "mod_time": "props.modified"}, "")
	p.add("subscribe", mapping("connection", x.folder(folder), "pattern", literal(pattern), "archive", "done"))
	x.took(key, part, "subscription of "+p.name)
	p.comments = append(p.comments, x.left(key, part+": content", "a whole file is one document, by its extension; it is then moved to the folder done"))
	return nil
}

// files returns the connection of a folder.
func (r *reader) folder(folder string) string {
	return r.connection("files-"+folder, "file", mapping("root", literal(folder)))
}

// address splits the login from a URL.
func (x *benthos) address(o *object, name string, keys ...string) (address template, user, password string, err error) {
	first, _, _ := strings.Cut(o.text(keys...), ",")
	t, err := x.b.interpolate(first, false)
	if err != nil || t.empty() || !t.fixed() {
		return nil, "", "", errors.New("the address is missing, or not fixed")
	}
	if len(t) == 1 && !t[0].expr {
		u, err := url.Parse(t[0].text)
		if err != nil || u.Host == "" {
			return nil, "", "", errors.New("the address is not a URL")
		}
		if u.User != nil {
			user = u.User.Username()
			if _, ok := u.User.Password(); ok {
				password = x.secret(name+"_PASSWORD", "the password in the URL of "+u.Host)
			}
			u.User = nil
			t = template{{text: u.String()}}
		}
	}
	return t, user, password, nil
}

func login(settings *yaml.Node, user, password string) *yaml.Node {
	if user != "" {
		set(settings, "user", literal(user))
	}
	if password != "" {
		set(settings, "password", password)
	}
	return settings
}

func (x *benthos) kafka(o *object) (string, error) {
	list := o.get("addresses", "seed_brokers")
	brokers := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	sources := elements(list)
	if list != nil && list.Kind == yaml.ScalarNode {
		sources = []*yaml.Node{list}
	}
	for _, n := range sources {
		t, err := x.b.interpolate(n.Value, false)
		if err != nil || !t.fixed() || t.empty() {
			return "", errors.New("a broker is not fixed")
		}
		brokers.Content = append(brokers.Content, text(t.String()))
	}
	if len(brokers.Content) == 0 {
		return "", errors.New("no broker is named")
	}
	settings := mapping("brokers", brokers)
	sasl := o.get("sasl")
	if sasl != nil && sasl.Kind == yaml.SequenceNode && len(sasl.Content) > 0 {
		sasl = sasl.Content[0]
	}
	if s := x.object(sasl, o.part+": sasl"); s.node != nil {
		mechanism := strings.ToUpper(s.text("mechanism"))
		user, _ := x.plain(s, "user", "username")
		switch mechanism {
		case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
			set(settings, "sasl", mapping("mechanism", mechanism, "user", user, "password", x.credential(s, "KAFKA_PASSWORD", "password")))
		case "", "NONE":
		default:
			comment(settings, x.left(s.node, o.part+": sasl "+mechanism, "no counterpart"))
		}
		s.rest()
	}
	if t := x.object(o.get("tls"), o.part+": tls"); t.flag("enabled") {
		set(settings, "tls", mapping())
		comment(settings, t.rest()...)
	}
	return x.connection("kafka", "kafka", settings), nil
}

func (x *benthos) amqp(o *object) (string, error) {
	address, user, password, err := x.address(o, "AMQP", "urls", "url")
	if err != nil {
		return "", err
	}
	settings := login(mapping("url", address), user, password)
	if t := x.object(o.get("tls"), o.part+": tls"); t.flag("enabled") {
		comment(settings, t.rest()...)
	}
	return x.connection("amqp", "amqp", settings), nil
}

func (x *benthos) nats(o *object) (string, error) {
	address, _, password, err := x.address(o, "NATS", "urls", "url")
	if err != nil {
		return "", err
	}
	settings := mapping("url", address)
	if password != "" {
		comment(settings, x.left(o.node, o.part+": login", "write user and password into the URL, from secrets"))
	}
	return x.connection("nats", "nats", settings), nil
}

func (x *benthos) mqtt(o *object) (string, error) {
	address, user, password, err := x.address(o, "MQTT", "urls")
	if err != nil {
		return "", err
	}
	if len(address) == 1 && !address[0].expr {
		address[0].text = strings.NewReplacer("tcp://", "mqtt://", "ssl://", "mqtts://", "tls://", "mqtts://").Replace(address[0].text)
	}
	settings := mapping("url", address, "client_id", or(o.text("client_id"), x.group))
	if u := o.text("user"); u != "" {
		user = u
	}
	if p := x.credential(o, "MQTT_PASSWORD", "password"); p != "" {
		password = p
	}
	return x.connection("mqtt", "mqtt", login(settings, user, password)), nil
}

func (x *benthos) s3(o *object) string {
	settings := mapping("access_key", x.secret("AWS_ACCESS_KEY_ID", "the access key"), "secret_key", x.secret("AWS_SECRET_ACCESS_KEY", "the secret key"))
	if region := o.text("region"); region != "" && !strings.Contains(region, "${") {
		set(settings, "region", literal(region))
	}
	if endpoint, err := x.plain(o, "endpoint"); err == nil && !endpoint.empty() {
		set(settings, "url", endpoint)
	}
	if o.flag("force_path_style_urls") {
		set(settings, "path_style", true)
	}
	o.get("credentials")
	return x.connection("s3", "s3", settings)
}
