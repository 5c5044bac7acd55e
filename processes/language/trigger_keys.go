package language

import (
	"time"

	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

// Callbacks holds the settings of `callbacks:`.
type Callbacks struct{ Allow, Secret any }

// Expires holds the settings of `expires:`.
type Expires struct{ Request, Response time.Duration }

var callbackFields = []spec.Field{
	spec.Any("allow", func(c *Callbacks) *any { return &c.Allow }, "URLs that callers may name, including all URLs below them. Their hosts must have only public addresses, unless an address or its network (`10.0.3.0/24`) is listed too. May read `env`.").Type("string or list of strings").Eg("[https://shop.example/hooks/]").Required(),
	spec.Any("secret", func(c *Callbacks) *any { return &c.Secret }, "Key for signing callbacks, as in Standard Webhooks: 24 to 64 bytes in base64, prefixed with `whsec_`. With a list of keys, each of them signs, so that receivers can rotate.").Type("string or list of strings").Eg("${secret.CALLBACK_KEY}").Required(),
}

var expiresFields = []spec.Field{
	spec.Duration("request", func(e *Expires) *time.Duration { return &e.Request }, "Maximum time from acceptance to the first start, including time in a sequence. An execution that has not started by then ends as `expired` and is listed with the failed ones. Unlimited by default.").Min(time.Second).Max(MaxDuration),
	spec.Duration("response", func(e *Expires) *time.Duration { return &e.Response }, "How long a deferred reply is stored after completion.").Or(DefaultReplyRetention).Min(time.Second).Max(MaxDuration),
}

// DefaultReplyRetention is the default of `expires.response`.
const DefaultReplyRetention = 24 * time.Hour

// Schedule holds the settings of `schedule:`.
type Schedule struct{ Cron, Timezone, Overlap, Misfire string }

var scheduleFields = []spec.Field{
	spec.String("cron", func(s *Schedule) *string { return &s.Cron }, "Cron expression with minute, hour, day of month, month and day of week, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.").Eg("\"0 3 * * *\"").Required(),
	spec.String("timezone", func(s *Schedule) *string { return &s.Timezone }, "IANA time zone. When the clock is set forward, skipped times run at the change; when it is set back, repeated times run once. Expressions with `*` hours or `*/n` minutes keep their interval.").Eg("Europe/Lisbon").Or("UTC"),
	spec.Enum("overlap", func(s *Schedule) *string { return &s.Overlap }, "What to do if the previous run has not ended: `skip` this run, `queue` it until the previous one ends, or `allow` both at the same time.", "skip", "queue", "allow").Or("skip"),
	spec.Enum("misfire", func(s *Schedule) *string { return &s.Misfire }, "Which times to run that were missed while the atom was down: `once` runs the latest, `all` runs each (the latest 1,000), `skip` runs none. A delay of up to a minute does not count as missed.", "once", "skip", "all").Or("once"),
}

// SubscribeFields declares the keys of `subscribe:` that do not depend on the connector.
var SubscribeFields = []spec.Field{
	spec.Ref("connection", func(s *processes.Subscribe) *string { return &s.Connection }, "connection", "The connection to subscribe to.").Required(),
}

// Listen holds the settings of `listen:`.
type Listen struct {
	processes.Listen
	Operation, Object string
	Described         *Service
	Method            []string
	ReplyModes        []string
	Callbacks         *Callbacks
}

// Service holds the settings of `service:`.
type Service struct{ WSDL, Name, Port string }

var serviceFields = []spec.Field{
	spec.String("wsdl", func(s *Service) *string { return &s.WSDL }, "WSDL 1.1 in the project, relative to this file. It may import files of the project.").Eg("orders.wsdl").Required(),
	spec.String("service", func(s *Service) *string { return &s.Name }, "Service of the WSDL. Required if it has several."),
	spec.String("port", func(s *Service) *string { return &s.Port }, "Port of the service. Defaults to all ports with SOAP over HTTP, which may differ in the version of SOAP."),
}

var listenFields = []spec.Field{
	spec.String("path", func(l *Listen) *string { return &l.Path }, "URL path. `{name}` captures one segment; literal segments take precedence over captures.").OrAs("", "`/ws/simple/<operation><object>`").Eg("/orders/{id}"),
	spec.String("operation", func(l *Listen) *string { return &l.Operation }, "First part of the default path, in lower case. Not allowed with `path`.").OrAs("", "`execute`"),
	spec.String("object", func(l *Listen) *string { return &l.Object }, "Second part of the default path. Not allowed with `path`.").OrAs("", "name of the process"),
	spec.Strings("method", func(l *Listen) *[]string { return &l.Method }, "HTTP methods to accept.").
		Enum("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE").Or([]string{"POST"}),
	spec.Enum("input", func(l *Listen) *string { return &l.Input }, "Format of the request body.", "none", "json", "xml", "text", "binary", "form", "multipart", "soap").
		OrAs("", "`json`; `none` for GET, HEAD and DELETE"),
	spec.String("charset", func(l *Listen) *string { return &l.Charset }, "Charset of requests that declare none, such as `windows-1252`. A byte order mark, the charset of the Content-Type and an XML declaration take precedence.").Or("utf-8"),
	spec.Enum("output", func(l *Listen) *string { return &l.Output }, "Format of the reply. With it the listener is request/reply, without it fire-and-forget. With `input: soap` the WSDL decides, for each operation.", "json", "xml", "text", "binary"),
	spec.Optional("service", func(l *Listen) **Service { return &l.Described }, "The SOAP service. Required for `input: soap`.", serviceFields...),
	spec.Ref("auth", func(l *Listen) *string { return &l.Auth }, "auth", "How callers authenticate: an `auth:` component, or `none` to accept all callers. Required.").Besides("none"),
	spec.Optional("ack", func(l *Listen) **processes.Ack { return &l.Ack }, "Fire-and-forget: response to send instead of the receipt.",
		spec.Int("status", func(a *processes.Ack) *int { return &a.Status }, "HTTP status.").Or(200).Min(200).Max(299),
		spec.Template("body", func(a *processes.Ack) **expression.Template { return &a.Body }, "Body. Defaults to the receipt."),
		spec.Template("headers", func(a *processes.Ack) **expression.Template { return &a.Headers }, "HTTP headers."),
	),
	spec.Duration("timeout", func(l *Listen) *time.Duration { return &l.Timeout }, "Request/reply: maximum time that a caller waits for the reply.").Or(30 * time.Second).Min(time.Millisecond).Max(time.Hour),
	spec.Enum("timeout_action", func(l *Listen) *string { return &l.TimeoutAction }, "What to do after the timeout: `cancel` responds with 504. `continue` responds with 202 and a `Location` for the reply; every execution is then durable from acceptance.", "cancel", "continue").Or("cancel"),
	spec.Strings("reply_modes", func(l *Listen) *[]string { return &l.ReplyModes }, "Ways to reply that a caller may choose: `sync` on the same connection, `deferred` at a `Location` (request header `Prefer: respond-async`), `callback` as a POST to its `Callback-Url`. The default for callers is `sync` if offered, else `deferred`.").Enum("sync", "deferred", "callback").Or([]string{"sync"}),
	spec.Optional("callbacks", func(l *Listen) **Callbacks { return &l.Callbacks }, "Settings of reply callbacks. Required for the mode `callback`.", callbackFields...),
	spec.Object("limits", func(l *Listen) *processes.Limits { return &l.Limits }, "Limits of requests. A request that exceeds them gets 413, 429 or 503 and is not accepted.",
		spec.Size("body", func(l *processes.Limits) *int64 { return &l.Body }, "Maximum size of the body.").Or(10<<20).Min(1).Max(maxBodyLimit),
		spec.Int("concurrency", func(l *processes.Limits) *int { return &l.Concurrency }, "Maximum number of concurrent requests. Unlimited by default.").Min(1),
		spec.Rate("rate", func(l *processes.Limits) *float64 { return &l.Rate }, "Maximum rate of requests. Unlimited by default."),
	),
}
