package processes

import (
	"time"

	"valence/internal/expression"
	"valence/internal/spec"
)

// kind is one kind of component.
type kind struct {
	name, doc, sample string
	fields            []spec.Field
	later             bool
}

// kinds are the kinds of components by their first key.
var kinds = func() map[string]*kind {
	m := map[string]*kind{}
	for _, k := range kindList {
		m[k.name] = k
	}
	return m
}()

func kindNames() []string {
	var names []string
	for _, k := range kindList {
		if !k.later {
			names = append(names, k.name)
		}
	}
	return names
}

var kindList = []*kind{
	{name: "process", doc: "An integration process: at most one trigger, and the steps that run.",
		sample: "process: order-sync\nlisten:\n  path: /shop/orders\n  auth: shop-webhook\nsteps:\n  - log: \"order ${doc.id}\"\n", fields: processFields},
	{name: "connection", doc: "A connector configured for one system. Its other settings are the connector's; each may hold expressions over `env` and `secret`.",
		sample: "connection: shop\nconnector: http\nurl: ${env.SHOP_URL}\nconcurrency: 8\n", fields: connectionFields},
	{name: "auth", doc: "How callers of a listener prove who they are. Its other settings are the scheme's; each may hold expressions over `env` and `secret`.",
		sample: "auth: shop-webhook\nscheme: hmac\npreset: standard-webhooks\nsecret: ${secret.SHOP_HOOK}\n", fields: authFields},
	{name: "profile", doc: "The shape of a message, as JSON Schema: `schema:` in place, or `file:`.",
		sample: "profile: order\nschema:\n  type: object\n  required: [id]\n", fields: profileFields},
	{name: "environment", doc: "Values, secrets and connection overrides for one place.",
		sample: "environment: prod\nvalues: { SHOP_URL: https://shop.example }\nsecrets: { SHOP_KEY: { file: /run/secrets/shop_key } }\nconnections: { shop: { concurrency: 2 } }\n", fields: environmentFields},
	{name: "project", doc: "Defaults for every process. A project has at most one.",
		sample: "project: shop-to-erp\nretention: 30d\nredact: [customer.iban]\n", fields: projectFields},
	{name: "test", doc: "A unit test of a process.", later: true},
}

type processDecl struct {
	Name, Description string
	Listen            *listenDecl
	Schedule          *scheduleDecl
	Subscribe         any
	Profile           string
	Filter            *expression.Expr
	Dedupe            *dedupeDecl
	Sequence          *sequenceDecl
	Coalesce          *Coalesce
	EchoGuard         *EchoGuard
	Workers, Backlog  int
	Retry             *Retry
	Track             []Track
	Retention         *retentionDecl
	Redact            []string
	Expires           *expiresDecl
	Steps             Block
}

type listenDecl struct {
	Listen
	Operation, Object string
	Method            []string
	ReplyModes        []string
	Callbacks         *callbacksDecl
}

type dedupeDecl struct {
	Dedupe
	WhenMissing string
}

type retentionDecl struct{ Documents, Records time.Duration }

const (
	keptRecords  = 30 * 24 * time.Hour
	longest      = 10 * 365 * 24 * time.Hour
	asRecords    = time.Duration(-1)
	maxBodyLimit = 1 << 30
)

// descriptionField is what every component and step may have.
func descriptionField[T any](ptr func(*T) *string) spec.Field {
	return spec.String("description", ptr, "What it is for; shown to operators.").Free()
}

var processFields = []spec.Field{
	spec.String("process", func(p *processDecl) *string { return &p.Name }, "The process' name.").Eg("order-sync").Required(),
	descriptionField(func(p *processDecl) *string { return &p.Description }),
	spec.Optional("listen", func(p *processDecl) **listenDecl { return &p.Listen }, "Starts the process when an HTTP request arrives.", listenFields...),
	spec.Optional("schedule", func(p *processDecl) **scheduleDecl { return &p.Schedule }, "Starts the process when a cron expression is due; it reads the time that it is due at as `props.scheduled_at`.", scheduleFields...),
	spec.Any("subscribe", func(p *processDecl) *any { return &p.Subscribe }, "Starts the process when a connection delivers a message: `connection:`, and what its connector has for subscriptions.").Eg("{ connection: orders-in }"),
	spec.Ref("profile", func(p *processDecl) *string { return &p.Profile }, "profile", "What the input must match, checked before the acknowledgement."),
	spec.Expr("filter", func(p *processDecl) **expression.Expr { return &p.Filter }, "Where it is false the message is acknowledged and not run.").Bool(),
	spec.Optional("dedupe", func(p *processDecl) **dedupeDecl { return &p.Dedupe }, "A repeat is not run and gets the first answer.",
		spec.Expr("key", func(d *dedupeDecl) **expression.Expr { return &d.Key }, "What is the same for a repeat.").Required(),
		spec.Duration("window", func(d *dedupeDecl) *time.Duration { return &d.Window }, "How long a key is remembered, from the commit.").Min(time.Second).Max(longest).Required(),
		spec.Enum("when_missing", func(d *dedupeDecl) *string { return &d.WhenMissing }, "What a nil key means: a failure, or a message that is always taken.", "error", "accept").Or("error"),
	),
	echoGuardField(),
	coalesceField(),
	sequenceField(),
	spec.Optional("expires", func(p *processDecl) **expiresDecl { return &p.Expires }, "How long messages and replies wait for somebody.", expiresFields...),
	spec.Int("workers", func(p *processDecl) *int { return &p.Workers }, "Durable executions of this process at once.").Or(16).Min(1).Max(10000),
	spec.Int("backlog", func(p *processDecl) *int { return &p.Backlog }, "Most messages waiting; beyond it 503 with `Retry-After`.").Or(1_000_000).Min(1),
	spec.Retry("retry", func(p *processDecl) **Retry { return &p.Retry }, "Retry policy of every call of the process; the project's by default."),
	spec.Exprs("track", func(p *processDecl) *[]Track { return &p.Track }, "Searchable fields of an execution."),
	retentionField(func(p *processDecl) **retentionDecl { return &p.Retention }),
	redactField(func(p *processDecl) *[]string { return &p.Redact }),
	spec.Steps("steps", func(p *processDecl) *Block { return &p.Steps }, "What the process does.").Required(),
}

func retentionField[T any](ptr func(*T) **retentionDecl) spec.Field {
	return spec.Optional("retention", ptr, "How long finished executions are kept: a duration for everything, or one each.",
		spec.Duration("records", func(r *retentionDecl) *time.Duration { return &r.Records }, "Records of executions.").Or(keptRecords).Max(longest),
		spec.Duration("documents", func(r *retentionDecl) *time.Duration { return &r.Documents }, "Their documents; `0d` keeps none once an execution has ended.").OrAs(asRecords, "as long as records").Max(longest),
	).Short("records")
}

func redactField[T any](ptr func(*T) *[]string) spec.Field {
	return spec.Strings("redact", ptr, "Paths such as `card.number` whose values are replaced before anything is stored; the project's and the process' both count.").Eg("[card.number]")
}

var listenFields = []spec.Field{
	spec.String("path", func(l *listenDecl) *string { return &l.Path }, "URL path; `{name}` captures a segment, a literal beats a capture. `/ws/simple/<operation><Object>` by default.").Eg("/orders/{id}"),
	spec.String("operation", func(l *listenDecl) *string { return &l.Operation }, "Only with the default path: its operation, lower-cased there.").OrAs("", "`execute`"),
	spec.String("object", func(l *listenDecl) *string { return &l.Object }, "Only with the default path: its object, as written.").OrAs("", "the process' name"),
	spec.Strings("method", func(l *listenDecl) *[]string { return &l.Method }, "One method or a list.").
		Enum("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE").Or([]string{"POST"}),
	spec.Enum("input", func(l *listenDecl) *string { return &l.Input }, "What is received.", "none", "json", "xml", "text", "binary", "form", "multipart").
		Later("soap").OrAs("", "`json`; `none` for GET, HEAD and DELETE"),
	spec.Enum("output", func(l *listenDecl) *string { return &l.Output }, "What is answered. With it the listener is request/reply, without it fire-and-forget.", "json", "xml", "text", "binary"),
	spec.Ref("auth", func(l *listenDecl) *string { return &l.Auth }, "auth", "Who may call: an `auth:` component, or `none` for anybody.").Besides("none"),
	spec.Optional("ack", func(l *listenDecl) **Ack { return &l.Ack }, "Fire-and-forget: the answer in place of the receipt.",
		spec.Int("status", func(a *Ack) *int { return &a.Status }, "The status.").Or(200).Min(200).Max(299),
		spec.Template("body", func(a *Ack) **expression.Template { return &a.Body }, "The body; the receipt by default."),
		spec.Template("headers", func(a *Ack) **expression.Template { return &a.Headers }, "Headers."),
	),
	spec.Duration("timeout", func(l *listenDecl) *time.Duration { return &l.Timeout }, "Request/reply: the longest wait.").Or(30 * time.Second).Min(time.Millisecond).Max(time.Hour),
	spec.Enum("timeout_action", func(l *listenDecl) *string { return &l.TimeoutAction }, "What happens then: `cancel` answers 504; `continue` answers 202 with a `Location` where the reply can be collected, and every execution is durable from acceptance.", "cancel", "continue").Or("cancel"),
	spec.Strings("reply_modes", func(l *listenDecl) *[]string { return &l.ReplyModes }, "What a caller may ask for: the reply on the same connection, later at a `Location` (`Prefer: respond-async`), or posted to its `Callback-Url`. One that asks for nothing gets `sync`, where that is not offered `deferred`.").Enum("sync", "deferred", "callback").Or([]string{"sync"}),
	spec.Optional("callbacks", func(l *listenDecl) **callbacksDecl { return &l.Callbacks }, "Where a caller may ask to be called back.", callbackFields...),
	spec.Object("limits", func(l *listenDecl) *Limits { return &l.Limits }, "Beyond them the caller gets 413, 429 or 503, and nothing is accepted.",
		spec.Size("body", func(l *Limits) *int64 { return &l.Body }, "The largest body.").Or(10<<20).Min(1).Max(maxBodyLimit),
		spec.Int("concurrency", func(l *Limits) *int { return &l.Concurrency }, "Requests at once; unlimited by default.").Min(1),
		spec.Rate("rate", func(l *Limits) *float64 { return &l.Rate }, "Requests a second; unlimited by default."),
	),
}

type retryDecl struct {
	Retry
	Spread string
}

var retryFields = []spec.Field{
	spec.Int("max_attempts", func(r *retryDecl) *int { return &r.MaxAttempts }, "Attempts in all, the first among them.").Min(1).Max(1000).Required(),
	spec.String("backoff", func(r *retryDecl) *string { return &r.Spread }, "The wait before the second attempt, and the longest wait: it doubles in between.").Or("10s..10m"),
	spec.Bool("jitter", func(r *retryDecl) *bool { return &r.Jitter }, "Whether waits vary at random, so that callers do not come back all at once.").Or(true),
	spec.Strings("retry_on", func(r *retryDecl) *[]string { return &r.RetryOn }, "Codes (`timeout`, `connect`, …), statuses or classes of them (`429`, `5xx`) that are tried again, of those that the connector calls retryable; all of them by default."),
}

type connectionDecl struct{ Connector, Description string }

var connectionFields = []spec.Field{
	spec.String("connection", func(c *connectionDecl) *string { return new(string) }, "The connection's name.").Eg("shop").Required(),
	spec.String("connector", func(c *connectionDecl) *string { return &c.Connector }, "Which connector.").Eg("http").Required(),
	descriptionField(func(c *connectionDecl) *string { return &c.Description }),
}

// limitFields are the settings that every connection has.
var limitFields = []spec.Field{
	spec.Duration("timeout", func(l *ConnectionLimits) *time.Duration { return &l.Timeout }, "The longest one attempt of a call may take.").Or(30 * time.Second).Min(time.Millisecond).Max(24 * time.Hour),
	spec.Int("concurrency", func(l *ConnectionLimits) *int { return &l.Concurrency }, "Calls at once; unlimited by default.").Min(1),
	spec.Rate("rate", func(l *ConnectionLimits) *float64 { return &l.Rate }, "Calls a second; unlimited by default."),
	spec.Object("circuit", func(l *ConnectionLimits) *Circuit { return &l.Circuit }, "When the system is taken to be down: then durable executions that need it are held, without spending attempts, and callers get 503 at once, until a call that probes succeeds.",
		spec.Int("failures", func(c *Circuit) *int { return &c.Failures }, "Calls in a row that got no answer in time, no connection, or 502, 503 or 504; 0 never takes it to be down.").Or(5).Min(0).Max(1000),
		spec.Duration("probe", func(c *Circuit) *time.Duration { return &c.Probe }, "How long until a call is let through to probe, and between probes.").Or(10*time.Second).Min(10*time.Millisecond).Max(time.Hour),
	),
}

type authDecl struct{ Scheme, Description string }

var authFields = []spec.Field{
	spec.String("auth", func(a *authDecl) *string { return new(string) }, "The name.").Eg("order").Required(),
	spec.Enum("scheme", func(a *authDecl) *string { return &a.Scheme }, "How.", "none", "api_key", "basic", "bearer", "jwt", "hmac", "mtls").Required(),
	descriptionField(func(a *authDecl) *string { return &a.Description }),
}

type profileDecl struct {
	Description, File string
	Schema            any
	Namespaces        []spec.KV
}

var profileFields = []spec.Field{
	spec.String("profile", func(p *profileDecl) *string { return new(string) }, "The name.").Eg("order").Required(),
	descriptionField(func(p *profileDecl) *string { return &p.Description }),
	spec.Any("schema", func(p *profileDecl) *any { return &p.Schema }, "The JSON Schema, in place."),
	spec.String("file", func(p *profileDecl) *string { return &p.File }, "The JSON Schema as a file of the project, relative to this one.").Eg("schemas/order.json"),
	spec.StringMap("namespaces", func(p *profileDecl) *[]spec.KV { return &p.Namespaces }, "XML: prefixes for namespaces, as the schema writes them before a name: `o:order`. Other prefixes are dropped."),
}

type environmentDecl struct {
	Description          string
	Values               []spec.KV
	Secrets, Connections any
}

type secretDecl struct{ SecretSource }

var environmentFields = []spec.Field{
	spec.String("environment", func(e *environmentDecl) *string { return new(string) }, "The name.").Eg("order").Required(),
	descriptionField(func(e *environmentDecl) *string { return &e.Description }),
	spec.StringMap("values", func(e *environmentDecl) *[]spec.KV { return &e.Values }, "What `env` reads."),
	spec.Any("secrets", func(e *environmentDecl) *any { return &e.Secrets }, "Where each `secret` is: `{ file: PATH }` or `{ variable: NAME }`, never the value itself."),
	spec.Any("connections", func(e *environmentDecl) *any { return &e.Connections }, "Settings that replace those of connections here."),
}

var secretFields = []spec.Field{
	spec.String("file", func(s *secretDecl) *string { return &s.File }, "A file that holds the secret and nothing else."),
	spec.String("variable", func(s *secretDecl) *string { return &s.Variable }, "A variable of the machine that holds it."),
}

type projectDecl struct {
	Name, Description string
	OnFailure         string
	Retry             *Retry
	Retention         *retentionDecl
	Redact            []string
}

var projectFields = []spec.Field{
	spec.String("project", func(p *projectDecl) *string { return &p.Name }, "The project's name.").Eg("shop-to-erp").Required(),
	descriptionField(func(p *projectDecl) *string { return &p.Description }),
	spec.Ref("on_failure", func(p *projectDecl) *string { return &p.OnFailure }, "process", "A process that is started for each execution that fails or expires, committed with the failure. Its document is the record: `execution process status fingerprint error track received_at ended_at correlation_id`, where `error` is `{ code message step status position }`. What it starts, and its own failure, start it no further.").Eg("tell-someone"),
	spec.Retry("retry", func(p *projectDecl) **Retry { return &p.Retry }, "Retry policy of every call; 6 attempts with `10s..10m` by default, 1 in a synchronous execution."),
	retentionField(func(p *projectDecl) **retentionDecl { return &p.Retention }),
	redactField(func(p *projectDecl) *[]string { return &p.Redact }),
}

// stepFields are what every step may have.
type stepDecl struct {
	Name, Into, Description string
	When                    *expression.Expr
}

var stepFields = []spec.Field{
	spec.Name("name", func(s *stepDecl) *string { return &s.Name }, "The step's result is `steps.<name>` below it in the same list and inside."),
	spec.Expr("when", func(s *stepDecl) **expression.Expr { return &s.When }, "The step is skipped, and its result nil, where this is false.").Bool(),
	spec.Name("into", func(s *stepDecl) *string { return &s.Into }, "Keeps `doc`, and puts the result in `vars.<into>`."),
	descriptionField(func(s *stepDecl) *string { return &s.Description }),
}

// laterSteps are steps of the language that this version does not have.
var laterSteps = []string{}

// laterKeys are keys of steps of the language that this version does not have.
var laterKeys = map[string][]string{}
