package importer

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// readTrigger adds the trigger of a process.
func (x *n8n) readTrigger(n *n8nNode, o *object, part string) error {
	p := x.p
	took := func(as string) {
		x.report.add(Part{Place: x.where(n), Part: part, Status: TakenOver, As: as + " of " + p.name})
	}
	switch n.kind {
	case "webhook":
		took("listener")
		return x.webhook(n, o, part)
	case "manualTrigger", "start", "executeWorkflowTrigger", "errorTrigger":
		o.get("inputSource", "workflowInputs", "events", "notice")
		x.report.add(Part{Place: x.where(n), Part: part, Status: TakenOver, As: "process " + p.name + " without a trigger"})
		return nil
	case "scheduleTrigger", "cron", "interval":
		cron, err := x.schedules(n, o)
		if err != nil {
			return err
		}
		p.add("schedule", mapping("cron", cron))
		took("schedule")
		return nil
	case "rabbitmqTrigger":
		queue := o.text("queue")
		if queue == "" || strings.HasPrefix(queue, "=") {
			return errors.New("the queue is not fixed")
		}
		o.get("options")
		p.add("subscribe", mapping("connection", x.broker("rabbitmq", "amqp", "RABBITMQ_URL"), "queue", literal(queue)))
		took("subscription")
		return nil
	case "kafkaTrigger":
		topic, group := o.text("topic"), or(o.text("groupId"), p.name)
		if topic == "" || strings.HasPrefix(topic, "=") {
			return errors.New("the topic is not fixed")
		}
		o.get("options")
		p.add("subscribe", mapping("connection", x.kafka(), "topic", literal(topic), "group", literal(group)))
		took("subscription")
		return nil
	case "mqttTrigger":
		topics := o.text("topics")
		if topics == "" || strings.ContainsAny(topics, "=,") {
			return errors.New("the topic is not a single one")
		}
		o.get("options")
		p.add("subscribe", mapping("connection", x.mqtt(), "topic", literal(topics)))
		took("subscription")
		return nil
	}
	return errNode
}

func (x *n8n) broker(name, connector, variable string) string {
	return x.connection(name, connector, mapping("url", "${"+x.env(variable, "the address of "+name, "")+"}"))
}

func (x *n8n) kafka() string {
	return x.connection("kafka", "kafka", mapping("brokers", "${"+x.env("KAFKA_BROKERS", "the brokers of Kafka", "")+"}"))
}

func (x *n8n) mqtt() string {
	return x.connection("mqtt", "mqtt", mapping("url", "${"+x.env("MQTT_URL", "the address of the MQTT broker", "")+"}", "client_id", slug(baseName(x.file), "client")))
}

var routeParameter = regexp.MustCompile(`:([A-Za-z_][A-Za-z0-9_]*)`)

func (x *n8n) webhook(n *n8nNode, o *object, part string) error {
	path := strings.Trim(o.text("path"), "/")
	if strings.HasPrefix(path, "=") || strings.Contains(path, "{{") {
		return errors.New("the path is an expression")
	}
	path = routeParameter.ReplaceAllString(path, "{$1}")
	listen := mapping("path", literal("/"+or(path, slug(n.name, "webhook"))))
	methods := o.get("httpMethod")
	list := []string{"GET"}
	if methods != nil && methods.Kind == yaml.ScalarNode {
		list = []string{methods.Value}
	} else if methods != nil {
		list = nil
		for _, m := range elements(methods) {
			list = append(list, m.Value)
		}
	}
	set(listen, "method", texts(list))
	switch mode := or(o.text("responseMode"), "onReceived"); mode {
	case "onReceived":
	case "lastNode", "responseNode":
		x.waits = true
		set(listen, "output", "json")
	default:
		x.leftAt(x.where(n), part+": responseMode "+mode, "callers are acknowledged at once")
	}
	o.get("responseData", "responseCode", "multipleMethods")
	p := x.p
	switch scheme := or(o.text("authentication"), "none"); scheme {
	case "basicAuth":
		set(listen, "auth", x.auth("callers", mapping("scheme", "basic", "user", "${"+x.env("CALLERS_USER", "the user of callers", "")+"}", "password", x.secret("CALLERS_PASSWORD", "the password of callers"))))
	case "headerAuth":
		set(listen, "auth", x.callers())
		p.comments = append(p.comments, x.leftAt(x.where(n), part+": headerAuth", "write the header of the credentials into auth.yaml"))
	default:
		set(listen, "auth", x.callers())
		p.comments = append(p.comments, x.leftAt(x.where(n), part+": authentication "+scheme, "callers send the key in X-Api-Key"))
	}
	if options := x.object(o.get("options"), part+": options"); options.node != nil {
		for i := 0; i+1 < len(options.node.Content); i += 2 {
			x.leftAt(x.where(n), part+": "+options.node.Content[i].Value, "no counterpart")
		}
	}
	p.add("listen", listen)
	return nil
}

// schedules returns the cron expression of a schedule.
func (x *n8n) schedules(n *n8nNode, o *object) (string, error) {
	integer := func(v *yaml.Node, otherwise int) int {
		if v != nil {
			if i, err := strconv.Atoi(v.Value); err == nil && i >= 0 && i < 10_000 {
				return i
			}
		}
		return otherwise
	}
	list := elements(child(o.get("rule"), "interval"))
	list = append(list, elements(child(o.get("triggerTimes"), "item"))...)
	if n.kind == "interval" {
		list = []*yaml.Node{mapping("field", or(o.text("unit"), "seconds"), "interval", o.text("interval"))}
	}
	if len(list) != 1 {
		return "", errors.New("the schedule does not have exactly one rule")
	}
	rule := list[0]
	minute := integer(child(rule, "triggerAtMinute"), integer(child(rule, "minute"), 0))
	hour := integer(child(rule, "triggerAtHour"), integer(child(rule, "hour"), 0))
	kind := "days"
	for _, key := range []string{"field", "mode", "unit"} {
		if v := child(rule, key); v != nil {
			kind = v.Value
		}
	}
	amount := func(key string) int {
		return integer(child(rule, key), integer(child(rule, "interval"), integer(child(rule, "value"), 1)))
	}
	switch kind {
	case "cronExpression", "custom":
		for _, key := range []string{"expression", "cronExpression"} {
			if v := child(rule, key); v != nil {
				cron, _, err := schedule(strings.TrimPrefix(v.Value, "="))
				return cron, err
			}
		}
	case "minutes", "everyMinute":
		return everyMinutes(amount("minutesInterval"))
	case "hours", "everyHour":
		m := amount("hoursInterval")
		if m == 1 {
			return fmt.Sprintf("%d * * * *", minute), nil
		}
		if m < 24 && 24%m == 0 {
			return fmt.Sprintf("%d */%d * * *", minute, m), nil
		}
	case "days", "everyDay":
		if amount("daysInterval") == 1 {
			return fmt.Sprintf("%d %d * * *", minute, hour), nil
		}
	case "weeks", "everyWeek":
		if amount("weeksInterval") == 1 {
			var days []string
			for _, d := range elements(child(rule, "triggerAtDay")) {
				days = append(days, d.Value)
			}
			if v := child(rule, "weekday"); v != nil {
				days = []string{v.Value}
			}
			return fmt.Sprintf("%d %d * * %s", minute, hour, or(strings.Join(days, ","), "1")), nil
		}
	case "months", "everyMonth":
		if amount("monthsInterval") == 1 {
			return fmt.Sprintf("%d %d %d * *", minute, hour, max(1, integer(child(rule, "triggerAtDayOfMonth"), integer(child(rule, "dayOfMonth"), 1)))), nil
		}
	}
	return "", errInterval
}

func everyMinutes(n int) (string, error) {
	if n == 1 {
		return "* * * * *", nil
	}
	if n > 1 && n < 60 && 60%n == 0 {
		return fmt.Sprintf("*/%d * * * *", n), nil
	}
	return "", errInterval
}

// node translates a node without branches.
func (x *n8n) node(n *n8nNode, o *object, part string) ([]*yaml.Node, error) {
	place := x.where(n)
	one := func(step *yaml.Node, err error) ([]*yaml.Node, error) {
		if err != nil {
			return nil, err
		}
		return []*yaml.Node{step}, nil
	}
	text := func(keys ...string) (template, error) { return x.template(n, o.text(keys...)) }
	switch n.kind {
	case "noOp":
		x.report.add(Part{Place: place, Part: part, Status: LeftOut, Why: "not needed"})
		return nil, nil
	case "httpRequest":
		return one(x.httpRequest(n, o, part))
	case "set":
		return one(x.set(n, o, part))
	case "respondToWebhook":
		return one(x.respond(n, o, part))
	case "stopAndError":
		message, err := text("errorMessage")
		o.get("errorType")
		return one(x.stepAt(place, part, nil, "throw", or(message.String(), "stopped")), err)
	case "wait":
		amount, err := text("amount")
		unit := map[string]string{"seconds": "s", "minutes": "m", "hours": "h", "days": "d"}[or(o.text("unit"), "hours")]
		if n.version >= 1.1 && child(o.node, "unit") == nil {
			unit = "s"
		}
		if r := o.text("resume"); r != "" && r != "timeInterval" {
			return nil, errors.New("use `wait:` with a callback")
		}
		if err == nil && unit == "" {
			err = errors.New("the unit is not translated")
		}
		return one(x.stepAt(place, part, nil, "sleep", or(amount.String(), "1")+unit), err)
	case "emailSend":
		with := mapping()
		for _, s := range [][2]string{{"fromEmail", "from"}, {"toEmail", "to"}, {"ccEmail", "cc"}, {"bccEmail", "bcc"}, {"subject", "subject"}, {"text", "text"}, {"html", "html"}} {
			t, err := text(s[0])
			if err != nil {
				return nil, err
			}
			if !t.empty() {
				set(with, s[1], t)
			}
		}
		o.get("emailFormat", "options", "resource")
		mail := x.connection("mail", "smtp", mapping("host", "${"+x.env("SMTP_HOST", "the mail server", "")+"}", "user", "${"+x.env("SMTP_USER", "the user of the mail server", "")+"}", "password", x.secret("SMTP_PASSWORD", "the password of the mail server")))
		return one(x.stepAt(place, part, nil, "call", mail+".send", "with", with), nil)
	case "postgres", "mySql":
		if o.text("operation") != "executeQuery" {
			return nil, errors.New("only statements are translated")
		}
		query := o.text("query")
		if strings.HasPrefix(query, "=") && strings.Contains(query, "{{") {
			t, err := x.template(n, query)
			if err != nil {
				return nil, err
			}
			query = unquoted.ReplaceAllString(t.String(), "$1") // '{{ x }}' was text within quotes
		} else {
			query = strings.TrimPrefix(query, "=")
			if placeholders.MatchString(query) {
				return nil, errors.New("the parameters of the statement are elsewhere")
			}
		}
		o.get("options", "additionalFields", "resource")
		driver := map[string]string{"postgres": "postgres", "mySql": "mysql"}[n.kind]
		op := "exec"
		if reads(query) {
			op = "query"
		}
		db := x.connection("database", "sql", mapping("driver", driver, "url", "${"+x.env("DATABASE_URL", "the database", "")+"}", "password", x.secret("DATABASE_PASSWORD", "the password of the database")))
		return one(x.stepAt(place, part, nil, "call", db+"."+op, "with", mapping("sql", query)), nil)
	case "rabbitmq":
		queue, err := text("queue", "exchange")
		o.get("options", "sendInputData", "mode", "operation")
		return one(x.stepAt(place, part, nil, "call", x.broker("rabbitmq", "amqp", "RABBITMQ_URL")+".publish", "with", mapping("routing_key", queue)), err)
	case "kafka":
		topic, err := text("topic")
		o.get("options", "sendInputData")
		return one(x.stepAt(place, part, nil, "call", x.kafka()+".publish", "with", mapping("topic", topic)), err)
	case "mqtt":
		topic, err := text("topic")
		o.get("options", "sendInputData")
		return one(x.stepAt(place, part, nil, "call", x.mqtt()+".publish", "with", mapping("topic", topic)), err)
	case "code", "function", "functionItem":
		return nil, errors.New("it is code")
	}
	return nil, errNode
}

var (
	unquoted     = regexp.MustCompile(`'(\$\{[^{}']*\})'`)
	placeholders = regexp.MustCompile(`\$[0-9]|\?`)
)

// set translates Edit Fields.
func (x *n8n) set(n *n8nNode, o *object, part string) (*yaml.Node, error) {
	out := &assignment{}
	keep := o.flag("includeOtherFields") || n.version < 3 && !o.flag("keepOnlySet")
	if v := o.text("include"); v != "" && v != "none" && (n.version < 3.3 || o.flag("includeOtherFields")) {
		keep = true
	}
	if o.text("mode") == "raw" || child(o.node, "jsonOutput") != nil {
		doc, err := x.document(n, o.get("jsonOutput"))
		if err != nil {
			return nil, err
		}
		if keep {
			return nil, errors.New("JSON that is added to the other fields is not translated")
		}
		o.get("options", "duplicateItem")
		return x.stepAt(x.where(n), part, nil, "map", doc), nil
	}
	add := func(name string, v *yaml.Node, kind string) error {
		if name == "" || strings.HasPrefix(name, "=") {
			return errors.New("a computed name is not translated")
		}
		e, err := x.field(n, v, kind)
		if err != nil {
			return fmt.Errorf("%s: %w", shorten(name, 40), err)
		}
		target := out
		for i, key := range strings.Split(name, ".") {
			if key == "" || i > 20 {
				return errors.New("a name is not translated")
			}
			target = target.at(key)
		}
		*target = assignment{value: e}
		return nil
	}
	for _, a := range elements(child(o.get("assignments"), "assignments")) {
		f := x.object(a, part)
		if err := add(f.text("name"), f.get("value"), f.text("type")); err != nil {
			return nil, err
		}
	}
	for _, a := range elements(child(o.get("fields"), "values")) {
		f := x.object(a, part)
		kind := or(f.text("type"), "stringValue")
		if err := add(f.text("name"), f.get(kind), strings.TrimSuffix(kind, "Value")); err != nil {
			return nil, err
		}
	}
	values := o.get("values")
	for _, kind := range []string{"string", "number", "boolean"} {
		for _, a := range elements(child(values, kind)) {
			f := x.object(a, part)
			if err := add(f.text("name"), f.get("value"), kind); err != nil {
				return nil, err
			}
		}
	}
	o.get("options", "duplicateItem")
	base := ""
	if keep {
		base = "doc"
	}
	doc, err := out.node(base)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		doc = node("${doc}")
		if !keep {
			doc = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		}
	}
	return x.stepAt(x.where(n), part, nil, "map", doc), nil
}

// field translates the value of a field.
func (x *n8n) field(n *n8nNode, v *yaml.Node, kind string) (*yaml.Node, error) {
	if isNull(v) {
		return literal(""), nil
	}
	if v.Kind != yaml.ScalarNode {
		return x.tree(n, v, nil)
	}
	if v.Tag != "!!str" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: v.Tag, Value: v.Value}, nil
	}
	if kind == "object" || kind == "array" {
		return x.document(n, v)
	}
	t, err := x.template(n, v.Value)
	if err != nil {
		return nil, err
	}
	if len(t) == 1 && !t[0].expr {
		switch {
		case kind == "number" && jsonNumber.MatchString(t[0].text):
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: t[0].text}, nil
		case kind == "boolean" && (t[0].text == "true" || t[0].text == "false"):
			return boolean(t[0].text == "true"), nil
		}
	}
	return text(t.String()), nil
}

// respond translates Respond to Webhook.
func (x *n8n) respond(n *n8nNode, o *object, part string) (*yaml.Node, error) {
	var body *yaml.Node
	switch with := or(o.text("respondWith"), "firstIncomingItem"); with {
	case "json":
		b, err := x.document(n, o.get("responseBody"))
		if err != nil {
			return nil, err
		}
		body = b
	case "text":
		t, err := x.template(n, o.text("responseBody"))
		if err != nil {
			return nil, err
		}
		body = text(t.String())
	case "noData":
		body = text("")
	case "firstIncomingItem", "allIncomingItems":
		body = text("${doc}")
	default:
		return nil, fmt.Errorf("a reply with %s is not translated", shorten(with, 30))
	}
	keys := []any{"reply", body}
	options := x.object(o.get("options"), part)
	code := options.text("responseCode")
	if status, err := strconv.Atoi(or(code, o.text("responseCode"))); err == nil && status >= 200 && status < 600 {
		keys = append(keys, "status", status)
	} else if strings.HasPrefix(code, "=") {
		t, err := x.template(n, code)
		if err != nil {
			return nil, err
		}
		keys = append(keys, "status", "${int("+t.expression()+")}")
	}
	headers := mapping()
	for _, e := range elements(child(options.get("responseHeaders"), "entries")) {
		h := x.object(e, part)
		t, err := x.template(n, h.text("value"))
		if err != nil {
			return nil, err
		}
		if name := h.text("name"); !strings.EqualFold(name, "content-type") && name != "" && child(headers, name) == nil {
			set(headers, name, t)
		}
	}
	if len(headers.Content) > 0 {
		keys = append(keys, "headers", headers)
	}
	o.get("responseCode", "enableResponseOutput", "redirectURL")
	return x.stepAt(x.where(n), part, nil, keys...), nil
}
