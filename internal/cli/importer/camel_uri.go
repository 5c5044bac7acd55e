package importer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// endpoint is the URI of a component with its parameters.
type endpoint struct {
	at     *yaml.Node
	scheme string
	path   string
	params map[string]string
	read   map[string]bool
	err    error
}

// endpoint reads a URI, or a map with a URI and parameters.
func (x *camel) endpoint(n *yaml.Node) *endpoint {
	u := &endpoint{at: n, params: map[string]string{}, read: map[string]bool{}}
	uri := n
	if n != nil && n.Kind == yaml.MappingNode {
		uri = child(n, "uri")
		p := child(n, "parameters")
		for i := 0; p != nil && p.Kind == yaml.MappingNode && i+1 < len(p.Content); i += 2 {
			u.params[p.Content[i].Value] = p.Content[i+1].Value
		}
	}
	if uri == nil || uri.Kind != yaml.ScalarNode {
		u.err = errors.New("the URI is missing")
		return u
	}
	s := uri.Value
	if before, query, found := cutOutside(s, '?'); found && !strings.HasPrefix(s, "http") {
		s = before
		for _, pair := range strings.Split(query, "&") {
			name, v, _ := strings.Cut(pair, "=")
			if inner, ok := strings.CutPrefix(v, "RAW("); ok {
				v = strings.TrimSuffix(inner, ")")
			} else {
				v = unescape(v)
			}
			u.params[name] = v
		}
	}
	u.scheme, u.path, _ = strings.Cut(s, ":")
	u.path = strings.TrimPrefix(u.path, "//")
	if u.path == "" {
		u.path = u.get("name", "timerName", "destinationName", "directoryName", "topic", "path", "httpUri", "templateId", "loggerName", "subject", "bucketNameOrArn", "query", "exchangeName", "fileName")
	}
	return u
}

// cutOutside cuts a text at a byte outside of `{{ }}` and `${ }`.
func cutOutside(s string, sep byte) (before, after string, found bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '{':
			depth++
		case s[i] == '}':
			depth--
		case s[i] == sep && depth == 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

func (u *endpoint) get(names ...string) string {
	found := ""
	for _, name := range names {
		if v, ok := u.params[name]; ok && !u.read[name] && found == "" {
			u.read[name] = true
			found = v
		}
	}
	return found
}

// shown returns the endpoint for the report, without values that may be secret.
func (u *endpoint) shown() string {
	path := u.path
	if strings.ContainsAny(path, "@?") || len(path) > 60 {
		path = "…"
	}
	return strings.TrimSuffix(u.scheme+":"+path, ":")
}

// rest reports the parameters that were not read.
func (u *endpoint) rest(r *reader) (comments []string) {
	for _, name := range slices.Sorted(maps.Keys(u.params)) {
		if !u.read[name] {
			comments = append(comments, r.left(u.at, u.scheme+": "+name, "no counterpart"))
		}
	}
	return comments
}

// login returns a credential of an endpoint as a secret, "" without one.
func (x *camel) login(u *endpoint, names ...string) string {
	v := u.get(names...)
	if v == "" {
		return ""
	}
	if m := placeholder.FindStringSubmatch(v); m != nil && m[0] == v {
		return x.secret(m[1], "a property of the application")
	}
	return x.secret(u.scheme+"_"+names[0], "the "+names[0]+" of "+u.scheme)
}

// trigger adds the trigger of a route, and returns the steps that create its
// document.
func (x *camel) trigger(r *route, at *yaml.Node, u *endpoint, part string) ([]*yaml.Node, error) {
	if u.err != nil {
		return nil, u.err
	}
	subscribe := func(connection string, keysAndValues ...any) ([]*yaml.Node, error) {
		s := mapping("connection", connection)
		s.Content = append(s.Content, mapping(keysAndValues...).Content...)
		r.p.add("subscribe", s)
		x.took(at, part, "subscription of "+r.p.name)
		return nil, nil
	}
	scheme, kamelet := u.scheme, ""
	if scheme == "kamelet" {
		kamelet, _, _ = strings.Cut(u.path, "/")
		scheme = strings.TrimSuffix(kamelet, "-source")
	}
	switch scheme {
	case "direct", "seda", "vm":
		x.took(at, part, "process "+r.p.name)
		u.get("concurrentConsumers", "size")
		return nil, nil
	case "timer", "scheduler":
		r.others, r.body = "", false
		return x.timer(r, at, u, part)
	case "quartz", "cron":
		r.others, r.body = "", false
		cron, zone, err := schedule(u.get("cron", "schedule"))
		if err != nil {
			return nil, err
		}
		if z := u.get("trigger.timeZone"); z != "" {
			zone = z
		}
		s := mapping("cron", cron)
		if zone != "" {
			set(s, "timezone", zone)
		}
		r.p.add("schedule", s)
		x.took(at, part, "schedule of "+r.p.name)
		return x.message(r, at, u, part), nil
	case "platform-http", "jetty", "undertow", "servlet", "netty-http", "netty4-http", "rest", "webhook", "http", "http-secured":
		if kamelet != "" && kamelet != "webhook-source" || scheme == "http" {
			break
		}
		return nil, x.listener(r, at, u, part)
	case "kafka":
		connection, err := x.kafkaConnection(u)
		if err != nil {
			return nil, err
		}
		topic := u.path
		if kamelet != "" {
			topic = u.get("topic")
		}
		group := or(u.get("groupId", "consumerGroup"), r.p.name)
		from := or(u.get("autoOffsetReset"), "latest")
		r.meta, r.others = map[string]string{"kafka.KEY": "props.key", "kafka.TOPIC": "props.topic", "kafka.PARTITION": "props.partition", "kafka.OFFSET": "props.offset"}, "props.headers"
		return subscribe(connection, "topic", x.placeholders(topic), "group", x.placeholders(group), "from", from)
	case "activemq", "activemq6", "jms", "amqp", "sjms", "sjms2":
		address, kind := jmsDestination(u.path)
		r.others = "props.headers"
		return subscribe(x.jms(u), "address", x.placeholders(address), "kind", kind)
	case "spring-rabbitmq", "rabbitmq":
		queue := u.get("queues", "queue")
		if queue == "" || strings.Contains(queue, ",") {
			return nil, errors.New("the route names no queue, or several")
		}
		u.get("routingKey", "autoDeclare")
		r.others = "props.headers"
		return subscribe(x.rabbit(u), "queue", x.placeholders(queue))
	case "paho-mqtt5", "paho", "mqtt", "mqtt5":
		topic := u.path
		if kamelet != "" {
			topic = u.get("topic")
		}
		r.others = "props.headers"
		return subscribe(x.mqttConnection(u), "topic", x.placeholders(topic))
	case "nats":
		r.others = "props.headers"
		servers := x.placeholders(or(u.get("servers"), "{{nats.servers}}"))
		return subscribe(x.connection("nats", "nats", mapping("url", natsURL(servers))), "subject", x.placeholders(u.path), "core", true, "consumer", or(u.get("queueName"), r.p.name))
	case "file":
		if u.path == "" || strings.Contains(u.path, "${") {
			return nil, errors.New("the folder is not fixed")
		}
		keys := []any{}
		if pattern := u.get("fileName", "antInclude"); pattern != "" && !strings.Contains(pattern, "/") {
			keys = append(keys, "pattern", literal(pattern))
		}
		if u.get("delete") == "true" {
			keys = append(keys, "delete", true)
		} else {
			keys = append(keys, "archive", "done")
		}
		r.meta, r.others = map[string]string{"CamelFileName": "props.name", "CamelFileNameOnly": "props.name", "CamelFileLength": "props.size"}, ""
		u.get("noop", "delay", "initialDelay", "idempotent")
		return subscribe(x.folder(u.path), keys...)
	case "sftp", "ftp", "ftps":
		c, folder, err := x.fileServer(u)
		if err != nil {
			return nil, err
		}
		keys := []any{"folder", x.placeholders(folder)}
		if u.get("delete") == "true" {
			keys = append(keys, "delete", true)
		} else {
			keys = append(keys, "archive", "done")
		}
		r.meta, r.others = map[string]string{"CamelFileName": "props.name", "CamelFileNameOnly": "props.name"}, ""
		return subscribe(c, keys...)
	case "aws2-s3", "aws-s3":
		if kamelet != "" {
			u.path = u.get("bucketNameOrArn")
		}
		keys := []any{"bucket", x.placeholders(u.path)}
		if prefix := u.get("prefix"); prefix != "" {
			keys = append(keys, "prefix", literal(prefix))
		}
		r.meta, r.others = map[string]string{"CamelAwsS3Key": "props.key"}, ""
		return subscribe(x.s3(u), append(keys, "delete", u.get("deleteAfterRead") != "false")...)
	}
	r.others = ""
	return nil, errUnknown
}

// timer translates a period to a schedule.
func (x *camel) timer(r *route, at *yaml.Node, u *endpoint, part string) ([]*yaml.Node, error) {
	before := x.message(r, at, u, part)
	if n := u.get("repeatCount"); n != "" && n != "0" {
		x.left(at, part+": repeatCount "+n, "a schedule does not end")
	}
	period := or(u.get("period"), u.get("delay"))
	u.get("delay", "fixedRate", "initialDelay", "includeMetadata", "synchronous")
	d, err := time.ParseDuration(or(period, "1000"))
	if err != nil {
		d, err = time.ParseDuration(or(period, "1000") + "ms")
	}
	if err != nil {
		return before, errors.New("the period is not fixed")
	}
	cron, err := every(d)
	if err != nil {
		return before, err
	}
	r.p.add("schedule", mapping("cron", cron))
	x.took(at, part, "schedule of "+r.p.name)
	return before, nil
}

// message returns the step that creates the document of a source that names it.
func (x *camel) message(r *route, at *yaml.Node, u *endpoint, part string) []*yaml.Node {
	if m := u.get("message"); m != "" {
		r.body = true
		u.get("contentType")
		return []*yaml.Node{x.helper(at, part, "map", x.placeholders(m))}
	}
	return nil
}

// listener translates a route that begins with HTTP.
func (x *camel) listener(r *route, at *yaml.Node, u *endpoint, part string) error {
	path := u.path
	methods := []string{"GET", "POST"}
	if u.scheme == "rest" {
		method, rest, _ := strings.Cut(path, ":")
		path, methods = strings.ReplaceAll(rest, ":", "/"), []string{strings.ToUpper(method)}
	} else if _, after, ok := strings.Cut(path, "://"); ok {
		path = after
	}
	if u.scheme != "platform-http" && u.scheme != "rest" && u.scheme != "servlet" {
		if i := strings.IndexByte(path, '/'); i >= 0 {
			path = path[i:]
		}
	}
	if strings.Contains(path, "{{") {
		return errors.New("the path depends on the environment")
	}
	if list := u.get("httpMethodRestrict"); list != "" {
		methods = nil
		for _, m := range strings.Split(list, ",") {
			methods = append(methods, strings.ToUpper(strings.TrimSpace(m)))
		}
	}
	r.body = slices.ContainsFunc(methods, func(m string) bool { return m != "GET" && m != "DELETE" && m != "HEAD" })
	x.listen(r, at, part, "/"+strings.Trim(path, "/"), methods, u.get("produces"))
	u.get("consumes")
	return nil
}

func jmsDestination(path string) (address, kind string) {
	if rest, ok := strings.CutPrefix(path, "topic:"); ok {
		return rest, "topic"
	}
	return strings.TrimPrefix(path, "queue:"), "queue"
}

// jms returns the connection to a broker of JMS, which must know AMQP 1.0.
func (x *camel) jms(u *endpoint) string {
	settings := mapping("url", "${"+x.env(u.scheme+"_URL", "the broker of "+u.scheme+", such as amqp://localhost:5672; it must accept AMQP 1.0", "")+"}")
	x.left(u.at, u.scheme+": connection factory", "set the address of the broker, which must accept AMQP 1.0")
	return x.connection(u.scheme, "amqp1", settings)
}

func (x *camel) rabbit(u *endpoint) string {
	return x.connection("rabbitmq", "amqp", mapping("url", "${"+x.env("RABBITMQ_URL", "the broker, such as amqp://localhost:5672", "")+"}"))
}

func (x *camel) kafkaConnection(u *endpoint) (string, error) {
	brokers := x.placeholders(or(u.get("brokers", "bootstrapServers"), "{{kafka.brokers}}"))
	settings := mapping("brokers", brokers)
	if mechanism := u.get("saslMechanism"); mechanism == "PLAIN" || strings.HasPrefix(mechanism, "SCRAM-SHA-") {
		user := u.get("user")
		set(settings, "sasl", mapping("mechanism", mechanism, "user", or(x.placeholders(user).String(), "${"+x.env("KAFKA_USER", "the user of Kafka", "")+"}"),
			"password", or(x.login(u, "password", "saslJaasConfig"), x.secret("KAFKA_PASSWORD", "the password of Kafka"))))
	}
	if strings.HasSuffix(u.get("securityProtocol"), "SSL") {
		set(settings, "tls", mapping())
	}
	return x.connection("kafka", "kafka", settings), nil
}

func (x *camel) mqttConnection(u *endpoint) string {
	address := x.placeholders(or(u.get("brokerUrl"), "mqtt://localhost:1883"))
	if len(address) > 0 && !address[0].expr {
		address[0].text = strings.NewReplacer("tcp://", "mqtt://", "ssl://", "mqtts://").Replace(address[0].text)
	}
	settings := mapping("url", address, "client_id", or(u.get("clientId"), slug(baseName(x.file), "client")))
	user := u.get("userName", "username")
	return x.connection("mqtt", "mqtt", login(settings, user, x.login(u, "password")))
}

func natsURL(t template) template {
	if len(t) > 0 && !t[0].expr && !strings.Contains(t[0].text, "://") {
		return append(template{{text: "nats://"}}, t...)
	}
	return t
}

func (x *camel) s3(u *endpoint) string {
	u.get("accessKey", "useDefaultCredentialsProvider")
	u.get("secretKey")
	settings := mapping("access_key", x.secret("AWS_ACCESS_KEY_ID", "the access key"), "secret_key", x.secret("AWS_SECRET_ACCESS_KEY", "the secret key"))
	if region := u.get("region"); region != "" {
		set(settings, "region", x.placeholders(region))
	}
	return x.connection("s3", "s3", settings)
}

// fileServer returns the connection to a server of files, and the folder.
func (x *camel) fileServer(u *endpoint) (connection, folder string, err error) {
	host, folder, _ := strings.Cut(u.path, "/")
	if user, after, ok := strings.Cut(host, "@"); ok {
		u.params["username"], host = user, after
	}
	if h := u.get("host", "connectionHost"); h != "" {
		host = h
	}
	host, port, _ := strings.Cut(host, ":")
	if p := u.get("port", "connectionPort"); p != "" {
		port = p
	}
	if d := u.get("directoryName"); d != "" {
		folder = d
	}
	user := u.get("username")
	if host == "" || user == "" || u.scheme == "sftp" {
		return "", "", errors.New("the server or its login must be set by hand")
	}
	settings := mapping("host", x.placeholders(host), "user", x.placeholders(user), "password", or(x.login(u, "password"), x.secret("FTP_PASSWORD", "the password of "+user)))
	var n int
	if _, err := fmt.Sscanf(port, "%d", &n); err == nil {
		set(settings, "port", n)
	}
	if u.scheme == "ftp" {
		set(settings, "tls", "none")
	}
	u.get("passiveMode", "binary")
	return x.connection(u.scheme, "ftp", settings), or(folder, "."), nil
}

// dataSource returns the connection to the database of a data source, whose
// settings are elsewhere.
func (x *camel) dataSource(u *endpoint) string {
	u.get("dataSource")
	x.left(u.at, u.scheme+": data source", "set `driver:` and the address of the database")
	return x.connection("database", "sql", mapping("driver", "postgres", "url", "${"+x.env("DATABASE_URL", "the database, such as postgres://user@localhost/shop", "")+"}", "password", x.secret("DATABASE_PASSWORD", "the password of the database")))
}
