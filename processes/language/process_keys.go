// Package language declares the keys of the language: the components, their
// settings with defaults and bounds, and the codes of lint. It generates the
// reference and the JSON Schema from the declarations.
//
// The types hold decoded settings before package loader compiles them into a plan.
package language

import (
	"time"

	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

// Kind describes one kind of component.
type Kind struct {
	Name, Doc, Sample string
	Fields            []spec.Field
	Later             bool
}

// Kinds holds the kinds of components by their first key.
var Kinds = func() map[string]*Kind {
	m := map[string]*Kind{}
	for _, k := range kindList {
		m[k.Name] = k
	}
	return m
}()

// KindNames returns the names of the supported kinds of components.
func KindNames() []string {
	var names []string
	for _, k := range kindList {
		if !k.Later {
			names = append(names, k.Name)
		}
	}
	return names
}

// kindList lists the kinds of components in the order of the reference.
var kindList = []*Kind{
	{Name: "process", Doc: "An integration process: at most one trigger, delivery settings and steps.",
		Sample: "process: order-sync\nlisten:\n  path: /shop/orders\n  auth: shop-webhook\nsteps:\n  - log: \"order ${doc.id}\"\n", Fields: ProcessFields},
	{Name: "connection", Doc: "A connector configured for one system. Further keys are the settings of the [connector](connectors.md); their values may be expressions over `env` and `secret`.",
		Sample: "connection: shop\nconnector: http\nurl: ${env.SHOP_URL}\nconcurrency: 8\n", Fields: ConnectionFields},
	{Name: "auth", Doc: "How callers of a listener authenticate. Further keys are the settings of the [scheme](#authentication-schemes); their values may be expressions over `env` and `secret`.",
		Sample: "auth: shop-webhook\nscheme: hmac\npreset: standard-webhooks\nsecret: ${secret.SHOP_HOOK}\n", Fields: AuthFields},
	{Name: "profile", Doc: "The shape of a message, as JSON Schema. Either `schema:` or `file:` is required.",
		Sample: "profile: order\nschema:\n  type: object\n  required: [id]\n", Fields: ProfileFields},
	{Name: "environment", Doc: "Values, secrets and connection overrides of one environment.",
		Sample: "environment: prod\nvalues: { SHOP_URL: https://shop.example }\nsecrets: { SHOP_KEY: { file: /run/secrets/shop_key } }\nconnections: { shop: { concurrency: 2 } }\n", Fields: EnvironmentFields},
	{Name: "project", Doc: "Defaults for all processes of the project. At most one per project.",
		Sample: "project: shop-to-erp\nretention: 30d\nredact: [customer.iban]\n", Fields: ProjectFields},
	{Name: "function", Doc: "A named expression with parameters, which any expression of the project can call. Its result depends on the parameters only: it reads no other names.",
		Sample: "function: net\nparams: [gross, rate]\nreturns: ${round(gross / (1 + rate), 2)}\n", Fields: FunctionFields},
	{Name: "table", Doc: "A lookup table, which expressions read with `lookup`. Either `file:` or `rows:` is required. It is loaded once per version of the project.",
		Sample: "table: countries\nkey: code\nrows:\n  - { code: PT, name: Portugal }\n  - { code: DE, name: Germany }\n", Fields: TableFields},
	{Name: "test", Doc: "A test of a process: `valence test` runs it in the engine of an atom, with mocks in place of calls and virtual time. See [how to test a process](../how-to/test-a-process.md).",
		Sample: "test: an order reaches the ERP\ntarget: order-sync\ninput: { id: 4711 }\nmocks:\n  shop.get: { reply: { file: fixtures/order-4711.json } }\n  erp.post:\n    - { fail: timeout }\n    - { reply: { number: INV-1 }, after: 2s }\n  shop.patch: { status: 204 }\nexpect:\n  status: completed\n  calls:\n    - erp.post: { body: { total: 59.9 } }\n    - shop.patch\n", Fields: TestFields},
}

// Process holds the settings of a process.
type Process struct {
	Name, Description string
	Listen            *Listen
	Schedule          *Schedule
	Subscribe         any
	Profile           string
	Filter            *expression.Expr
	Dedupe            *Dedupe
	Sequence          *Sequence
	Coalesce          *Coalesce
	EchoGuard         *processes.EchoGuard
	Workers, Backlog  int
	Retry             *processes.Retry
	Track             []processes.Track
	Retention         *Retention
	Redact            []string
	Expires           *Expires
	Steps             processes.Block
}

// Dedupe holds the settings of `dedupe:`.
type Dedupe struct {
	processes.Dedupe
	WhenMissing, Scope string
}

// Retention holds the settings of `retention:`.
type Retention struct{ Documents, Records time.Duration }

// Defaults and bounds of durations and sizes.
const (
	DefaultRetention = 30 * 24 * time.Hour
	MaxDuration      = 10 * 365 * 24 * time.Hour
	asRecords        = time.Duration(-1)
	maxBodyLimit     = 5 << 40
)

// descriptionField returns the description of a component or step.
func descriptionField[T any](ptr func(*T) *string) spec.Field {
	return spec.String("description", ptr, "Purpose, shown to operators.").Free()
}

// ProcessFields declares the keys of a process.
var ProcessFields = []spec.Field{
	spec.String("process", func(p *Process) *string { return &p.Name }, "Name of the process.").Eg("order-sync").Required(),
	descriptionField(func(p *Process) *string { return &p.Description }),
	spec.Optional("listen", func(p *Process) **Listen { return &p.Listen }, "Starts the process for each HTTP request.", listenFields...).Eg("{ path: /orders, auth: partners }"),
	spec.Optional("schedule", func(p *Process) **Schedule { return &p.Schedule }, "Starts the process at the times of a cron expression. The process reads the scheduled time as `props.scheduled_at`.", scheduleFields...),
	spec.Any("subscribe", func(p *Process) *any { return &p.Subscribe }, "Starts the process for each message of a connection: a map with `connection:` and the subscription settings of its [connector](connectors.md).").Type("map").Eg("{ connection: orders-in }"),
	spec.Ref("profile", func(p *Process) *string { return &p.Profile }, "profile", "Profile that the input must match, checked before the message is acknowledged."),
	spec.Expr("filter", func(p *Process) **expression.Expr { return &p.Filter }, "If false, the message is acknowledged and not run.").Bool(),
	spec.Optional("dedupe", func(p *Process) **Dedupe { return &p.Dedupe }, "Recognizes repeated messages. A repeat is not run and gets the response of the first message. A message with a used key and another body is refused with 422 `key_reused`.",
		spec.Expr("key", func(d *Dedupe) **expression.Expr { return &d.Key }, "Key that is equal for repeated messages.").Required(),
		spec.Duration("window", func(d *Dedupe) *time.Duration { return &d.Window }, "How long a key is stored, from acceptance.").Min(time.Second).Max(MaxDuration).Required(),
		spec.Enum("when_missing", func(d *Dedupe) *string { return &d.WhenMissing }, "What to do if the key is nil: `error` rejects the message, `accept` always runs it.", "error", "accept").Or("error"),
		scopeField(func(d *Dedupe) *string { return &d.Scope }),
	),
	echoGuardField(),
	coalesceField(),
	sequenceField(),
	spec.Optional("expires", func(p *Process) **Expires { return &p.Expires }, "Time limits for waiting messages and replies.", expiresFields...),
	spec.Int("workers", func(p *Process) *int { return &p.Workers }, "Maximum number of concurrent durable executions of this process.").Or(16).Min(1).Max(10000),
	spec.Int("backlog", func(p *Process) *int { return &p.Backlog }, "Maximum number of waiting messages. Further messages get 503 with `Retry-After`.").Or(1_000_000).Min(1),
	spec.Retry("retry", func(p *Process) **processes.Retry { return &p.Retry }, "[Retry policy](#retry-policy) of all calls of the process. Defaults to the policy of the project."),
	spec.Exprs("track", func(p *Process) *[]processes.Track { return &p.Track }, "Searchable fields of executions, by name."),
	retentionField(func(p *Process) **Retention { return &p.Retention }),
	redactField(func(p *Process) *[]string { return &p.Redact }),
	spec.Steps("steps", func(p *Process) *processes.Block { return &p.Steps }, "The steps to run.").Required(),
}

func retentionField[T any](ptr func(*T) **Retention) spec.Field {
	return spec.Optional("retention", ptr, "How long finished executions are stored: one duration for everything, or one each for records and documents.",
		spec.Duration("records", func(r *Retention) *time.Duration { return &r.Records }, "How long records of executions are stored.").Or(DefaultRetention).Max(MaxDuration),
		spec.Duration("documents", func(r *Retention) *time.Duration { return &r.Documents }, "How long their documents are stored. `0d` deletes them when the execution ends.").OrAs(asRecords, "value of `records`").Max(MaxDuration),
	).Short("records")
}

func redactField[T any](ptr func(*T) *[]string) spec.Field {
	return spec.Strings("redact", ptr, "Paths such as `card.number` whose values are masked before anything is stored. The paths of the project and of the process both apply.").Eg("[card.number]")
}

// Retry holds the settings of `retry:`.
type Retry struct {
	processes.Retry
	Spread string
}

// RetryFields declares the keys of a retry policy.
var RetryFields = []spec.Field{
	spec.Int("max_attempts", func(r *Retry) *int { return &r.MaxAttempts }, "Maximum number of attempts, including the first.").Min(1).Max(1000).Required(),
	spec.String("backoff", func(r *Retry) *string { return &r.Spread }, "Wait before the second attempt and maximum wait, as `min..max`. The wait doubles after each attempt.").Or("10s..10m"),
	spec.Bool("jitter", func(r *Retry) *bool { return &r.Jitter }, "Randomize the waits, so that calls are not retried at the same time.").Or(true),
	spec.Strings("retry_on", func(r *Retry) *[]string { return &r.RetryOn }, "Error [codes](codes.md) (`timeout`, `connect`, `unavailable`, …), statuses or classes of statuses (`429`, `5xx`) to retry, among the errors that the connector considers retryable. Defaults to all of these."),
}

// Step holds the settings that every step may have.
type Step struct {
	Name, Into, Description string
	When                    *expression.Expr
}

// StepFields declares the keys that all steps have.
var StepFields = []spec.Field{
	spec.Name("name", func(s *Step) *string { return &s.Name }, "Name of the result. Later steps of the same list, and steps inside them, read it as `steps.<name>`."),
	spec.Expr("when", func(s *Step) **expression.Expr { return &s.When }, "If false, the step is skipped and its result is nil.").Bool(),
	spec.Name("into", func(s *Step) *string { return &s.Into }, "Store the result in `vars.<into>` instead of replacing `doc`."),
	descriptionField(func(s *Step) *string { return &s.Description }),
}
