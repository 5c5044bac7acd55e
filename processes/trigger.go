package processes

import (
	"errors"
	"time"

	"gopkg.in/yaml.v3"

	"valence/internal/cron"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// scheduleDecl is `schedule:` as written.
type scheduleDecl struct{ Cron, Timezone, Overlap, Misfire string }

var scheduleFields = []spec.Field{
	spec.String("cron", func(s *scheduleDecl) *string { return &s.Cron }, "Minute, hour, day of the month, month and day of the week, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. There is no field for seconds.").Eg("\"0 3 * * *\"").Required(),
	spec.String("timezone", func(s *scheduleDecl) *string { return &s.Timezone }, "By which clock: a name of the IANA time zone database. A time that the clock skips runs at the moment of the change, one that it shows twice runs once; `*` hours and `*/n` minutes keep their rhythm.").Eg("Europe/Lisbon").Or("UTC"),
	spec.Enum("overlap", func(s *scheduleDecl) *string { return &s.Overlap }, "While the run before has not ended: `skip` leaves this one out, `queue` starts it behind, `allow` starts it beside.", "skip", "queue", "allow").Or("skip"),
	spec.Enum("misfire", func(s *scheduleDecl) *string { return &s.Misfire }, "For times that passed while the atom did not run: `once` makes up for the latest of them, `all` for each (the latest 1000), `skip` for none. A minute late is not missed.", "once", "skip", "all").Or("once"),
}

var subscribeFields = []spec.Field{
	spec.Ref("connection", func(s *Subscribe) *string { return &s.Connection }, "connection", "The connection that delivers.").Required(),
}

// keyAt finds a key of a mapping, nil if it has none.
func keyAt(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i]
		}
	}
	return nil
}

// oneTrigger reports every trigger but the first.
func (b *building) oneTrigger(d *spec.Decoder) {
	first := ""
	for i := 0; i+1 < len(b.comp.root.Content); i += 2 {
		k := b.comp.root.Content[i]
		switch {
		case k.Value != "listen" && k.Value != "schedule" && k.Value != "subscribe":
		case first == "":
			first = k.Value
		default:
			d.Problem(k, CodeTwoTriggers, "a process has one trigger, and this one has `"+first+":` already", "make a process of its own for each trigger, and call the common part with `process:`")
		}
	}
}

func (b *building) schedule(decl *scheduleDecl, d *spec.Decoder) {
	n := valueAt(b.comp.root, "schedule")
	s := &Schedule{Pos: b.comp.pos(keyAt(b.comp.root, "schedule")), Overlap: decl.Overlap, Misfire: decl.Misfire}
	b.proc.Schedule = s
	zone, err := cron.Zone(decl.Timezone)
	if err != nil {
		d.Problem(valueAt(n, "timezone"), spec.CodeWrongValue, "there is no time zone `"+cut(decl.Timezone)+"`", "use a name of the IANA time zone database, such as Europe/Lisbon or UTC")
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
	place := *at
	place.Column += wrong.Offset
	if at.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		place.Column++
	}
	d.Problem(&place, CodeBadCron, "the cron expression `"+cut(decl.Cron)+"`: "+wrong.Msg, wrong.Hint)
}

func (b *building) subscribe(n *yaml.Node, d *spec.Decoder) {
	s := &Subscribe{Pos: b.comp.pos(keyAt(b.comp.root, "subscribe"))}
	b.proc.Subscribe = s
	if spec.ShapeOf(n) != spec.MapShape {
		d.Problem(n, spec.CodeWrongType, "`subscribe:` must be a mapping, not "+spec.DescribeNode(n), "write `subscribe: { connection: NAME }`")
		return
	}
	own := b.l.decoder(b.comp, &b.problems, &compiler{b: b, place: inConnection})
	own.Mapping(pick(n, func(k string) bool { return k == "connection" }), &spec.Keys{What: "`subscribe:`", Fields: subscribeFields, Target: s})
	conn := b.l.project.Connections[s.Connection]
	if conn == nil || conn.Connector == nil {
		return // reported
	}
	s.Connector = conn.Connector
	sub := s.Connector.Subscription
	if sub == nil {
		d.Problem(valueAt(n, "connection"), CodeCannotListen, "the connection `"+cut(s.Connection)+"` cannot listen: the connector "+s.Connector.Name+" delivers nothing", b.listening())
		return
	}
	rest := pick(n, func(k string) bool { return k != "connection" })
	with := sub.NewWith()
	check := b.l.decoder(b.comp, &b.problems, nil)
	check.Dynamic = true
	check.Mapping(rest, &spec.Keys{What: "a subscription of the connector " + s.Connector.Name, Fields: sub.With, Target: with})
	if check.Fails() == 0 && sub.Check != nil {
		for _, wrong := range sub.Check(with) {
			d.Problem(n, CodeWrongSettings, "the subscription: "+wrong, "see the connector "+s.Connector.Name+" in the reference")
		}
	}
	s.Settings = (&compiler{b: b, place: inConnection}).compileTemplate(rest, nil)
}

// listening is a hint that names the connectors that can listen.
func (b *building) listening() string {
	var names []string
	for _, name := range b.l.cat.Connectors.Names() {
		if b.l.cat.Connectors[name].Subscription != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no connector of this version can listen; use `listen:` or `schedule:`"
	}
	hint := "use a connection of the connector " + names[0]
	for _, name := range names[1:] {
		hint += " or " + name
	}
	return hint
}

// Resolve evaluates the settings of a subscription and decodes them. An error
// is a *fault.Problem at the subscription.
func (s *Subscribe) Resolve(env *expression.Env) (any, error) {
	all, err := settingsOf(s.Settings, env)
	if err == nil {
		with := s.Connector.Subscription.NewWith()
		if err = spec.Bind(s.Connector.Subscription.With, with, all); err == nil {
			return with, nil
		}
	}
	return nil, &fault.Problem{Pos: s.Pos, Code: CodeWrongSettings, Msg: "the subscription: " + err.Error(), Hint: "look at the values that its expressions have here"}
}
