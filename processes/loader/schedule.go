package loader

import (
	"errors"
	"time"

	"gopkg.in/yaml.v3"

	"valence/internal/cron"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/language"
)

// keyAt returns the node of a key, or nil.
func keyAt(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return nil
}

// oneTrigger reports all triggers except the first.
func (b *processBuilder) oneTrigger(d *spec.Decoder) {
	first := ""
	for i := 0; i+1 < len(b.comp.root.Content); i += 2 {
		k := b.comp.root.Content[i]
		switch {
		case k.Value != "listen" && k.Value != "schedule" && k.Value != "subscribe":
		case first == "":
			first = k.Value
		default:
			d.Problem(k, processes.CodeTwoTriggers, "a process can have only one trigger, and this one has `"+first+":`", "use one process per trigger, and call the common part with `process:`")
		}
	}
}

func (b *processBuilder) schedule(decl *language.Schedule, d *spec.Decoder) {
	n := valueAt(b.comp.root, "schedule")
	s := &processes.Schedule{Pos: b.comp.pos(keyAt(b.comp.root, "schedule")), Overlap: decl.Overlap, Misfire: decl.Misfire}
	b.proc.Schedule = s
	zone, err := cron.Zone(decl.Timezone)
	if err != nil {
		d.Problem(valueAt(n, "timezone"), spec.CodeWrongValue, "unknown time zone `"+cut(decl.Timezone)+"`", "use an IANA time zone, such as Europe/Lisbon or UTC")
		zone = time.UTC
	}
	at := valueAt(n, "cron")
	if at == nil || decl.Cron == "" && spec.ShapeOf(at) != spec.TextShape {
		return // reported
	}
	if s.Cron, err = cron.Parse(decl.Cron, zone); err == nil {
		return
	}
	var wrong *cron.Error
	if !errors.As(err, &wrong) {
		wrong = &cron.Error{Msg: err.Error()}
	}
	node := *at
	node.Column += wrong.Offset
	if at.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		node.Column++
	}
	d.Problem(&node, processes.CodeBadCron, "invalid cron expression `"+cut(decl.Cron)+"`: "+wrong.Msg, wrong.Hint)
}

func (b *processBuilder) subscribe(n *yaml.Node, d *spec.Decoder) {
	s := &processes.Subscribe{Pos: b.comp.pos(keyAt(b.comp.root, "subscribe"))}
	b.proc.Subscribe = s
	if spec.ShapeOf(n) != spec.MapShape {
		d.Problem(n, spec.CodeWrongType, "`subscribe:` must be a map, not "+spec.DescribeNode(n), "write `subscribe: { connection: NAME }`")
		return
	}
	own := b.l.decoder(b.comp, &b.problems, &compiler{b: b, context: inConnection})
	own.Mapping(pick(n, func(k string) bool { return k == "connection" }), &spec.Keys{What: "`subscribe:`", Fields: language.SubscribeFields, Target: s})
	conn := b.l.project.Connections[s.Connection]
	if conn == nil || conn.Connector == nil {
		return // reported
	}
	s.Connector = conn.Connector
	sub := s.Connector.Subscription
	if sub == nil {
		d.Problem(valueAt(n, "connection"), processes.CodeCannotListen, "the connection `"+cut(s.Connection)+"` cannot be subscribed to: its connector "+s.Connector.Name+" has no subscriptions", b.subscribableHint())
		return
	}
	rest := pick(n, func(k string) bool { return k != "connection" })
	with := sub.NewWith()
	check := b.l.decoder(b.comp, &b.problems, nil)
	check.Dynamic = true
	check.Mapping(rest, &spec.Keys{What: "a subscription of the connector " + s.Connector.Name, Fields: sub.With, Target: with})
	if check.Fails() == 0 && sub.Check != nil {
		for _, wrong := range sub.Check(with) {
			d.Problem(n, processes.CodeWrongSettings, "subscription: "+wrong, "see the connector "+s.Connector.Name+" in the reference")
		}
	}
	if check.Fails() == 0 && sub.AtMostOnce != nil && sub.AtMostOnce(with) {
		s.AtMostOnce = true
		b.problems = append(b.problems, &fault.Problem{Pos: s.Pos, Severity: fault.Warning, Code: processes.CodeAtMostOnce,
			Msg: "the subscription receives each message at most once: messages that arrive while the atom does not run are lost", Hint: "use a source that stores messages; see the connector " + s.Connector.Name + " in the reference"})
	}
	s.Settings = (&compiler{b: b, context: inConnection}).compileTemplate(rest, sub.With)
}

// subscribableHint returns a hint with the connectors that have subscriptions.
func (b *processBuilder) subscribableHint() string {
	var names []string
	for _, name := range b.l.cat.Connectors.Names() {
		if b.l.cat.Connectors[name].Subscription != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no connector of this version has subscriptions; use `listen:` or `schedule:`"
	}
	hint := "use a connection of the connector " + names[0]
	for _, name := range names[1:] {
		hint += " or " + name
	}
	return hint
}
