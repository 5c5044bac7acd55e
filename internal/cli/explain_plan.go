package cli

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/spec"
	"valence/processes"
)

// explainer goes through a plan once.
type explainer struct {
	project  *processes.Project
	process  *processes.Process
	timeouts map[string]time.Duration // of connections, as far as the files tell
	x        *explanation
}

func explain(project *processes.Project, p *processes.Process) *explanation {
	e := &explainer{
		project: project, process: p, timeouts: connectionTimeouts(project),
		x: &explanation{
			Process: p.Name, Description: p.Description, Position: p.Pos.String(), Pattern: string(p.Pattern),
			Calls: []callSummary{}, Checks: []string{}, Durable: []string{}, Repeats: []string{},
		},
	}
	e.trigger()
	e.checks()
	e.block(p.Steps, p.Pattern == processes.FireAndForget || p.Pattern == processes.Called)
	e.boundary()
	e.durable()
	e.repeats()
	e.waits()
	e.notes()
	return e.x
}

// connectionTimeouts reads the timeout of every connection, with stand-ins
// for values that are only known where the project runs.
func connectionTimeouts(project *processes.Project) map[string]time.Duration {
	env, secrets := &document.Object{}, &document.Object{}
	for _, n := range project.Needs() {
		if n.Kind == "secret" {
			secrets.Set(n.Name, "x")
		} else {
			env.Set(n.Name, "http://localhost")
		}
	}
	found := map[string]time.Duration{}
	for name, c := range project.Connections {
		limits, _, err := c.Resolve(&expression.Env{Names: standIns{env, secrets}}, nil, nil)
		if err == nil { // otherwise it depends on the place: nothing is said about it
			found[name] = limits.Timeout
		}
	}
	return found
}

type standIns struct{ env, secrets *document.Object }

func (s standIns) Name(root string) (any, bool) {
	switch root {
	case "env":
		return s.env, true
	case "secret":
		return s.secrets, true
	}
	return nil, false
}

func (e *explainer) trigger() {
	l := e.process.Listen
	switch {
	case e.process.Schedule != nil:
		e.x.Trigger = scheduled(e.process.Schedule)
		return
	case e.process.Subscribe != nil:
		e.x.Trigger = subscribed(e.process.Subscribe)
		return
	case l == nil:
		e.x.Trigger = "No trigger: started by another process, `valence exec`, or an execution request."
		return
	}
	who := "anybody may call"
	if l.Auth != "none" && l.Auth != "" {
		who = "callers prove themselves by " + l.Auth
		if a := e.project.Auths[l.Auth]; a != nil {
			who += " (" + a.Scheme + ")"
		}
	}
	e.x.Trigger = fmt.Sprintf("Listens on %s %s: takes %s, %s; %s.", strings.Join(l.Methods, ", "), l.Path, input(l), output(l), who)
}

func input(l *processes.Listen) string {
	if l.Input == "none" {
		return "no body"
	}
	return l.Input
}

func output(l *processes.Listen) string {
	if l.Output == "" {
		return "answers with a receipt"
	}
	return "answers with " + l.Output
}

// checks lists the intake in the order in which it runs.
func (e *explainer) checks() {
	d, l := e.process.Delivery, e.process.Listen
	add := func(format string, args ...any) { e.x.Checks = append(e.x.Checks, fmt.Sprintf(format, args...)) }
	if l != nil {
		if l.Limits.Concurrency > 0 || l.Limits.Rate > 0 {
			add("limits: beyond them 429 or 503, and nothing is accepted")
		}
		if l.Auth != "none" && l.Auth != "" {
			add("authentication: 401 if it fails")
		}
		if l.Input != "none" {
			add("the body must be %s of at most %s: 400, 413 or 415 otherwise", l.Input, spec.FormatSize(l.Limits.Body))
		}
	}
	if d.Profile != nil {
		add("the input must match the profile %s: 400 with the places otherwise", d.Profile.Name)
	}
	if d.Filter != nil {
		add("filter %s: where it is false the message is acknowledged and not run", d.Filter.Source())
	}
	if d.Dedupe != nil {
		add("dedupe by %s for %s: a repeat is not run and gets the first answer", d.Dedupe.Key.Source(), exact(d.Dedupe.Window))
	}
	if e.process.Pattern != processes.RequestReply {
		add("backlog: 503 once %d are waiting", d.Backlog)
	}
}

// block summarises the calls of a list of steps. After a reply the rest of
// its list is durable, whatever came before.
func (e *explainer) block(block processes.Block, durable bool) {
	for _, s := range block {
		e.step(s, durable)
		for _, l := range s.Lists {
			e.block(l.Steps, durable)
		}
		if s.Kind == "reply" && s.When == nil && e.process.Pattern == processes.EarlyReply {
			durable = true
		}
	}
}

func (e *explainer) step(s *processes.Step, durable bool) {
	handoff := text(s.Settings, "Mode") == "handoff"
	if op, ok := setting[processes.Operation](s.Settings); ok && op.Operation != nil {
		c := callSummary{
			What: op.Connection + "." + op.Operation.Name, Position: s.Pos.String(), Step: s.Name,
			Durable: durable || handoff, Handoff: handoff, Changes: !op.Operation.Safe, Attempts: 1,
		}
		retry, _ := setting[*processes.Retry](s.Settings)
		e.time(&c, retry, s, op.Connection)
		c.Repeatable = repeatable(&c)
		e.x.Calls = append(e.x.Calls, c)
		return
	}
	if s.Kind != "process" {
		return
	}
	c := callSummary{
		What: "process " + text(s.Settings, "Name"), Position: s.Pos.String(), Step: s.Name,
		Durable: durable || handoff, Handoff: handoff, Changes: true, Attempts: 1,
		Repeatable: "its calls repeat by the same rules: valence explain " + text(s.Settings, "Name"),
	}
	if handoff {
		c.Repeatable = "created exactly once: it commits with this step"
	}
	e.x.Calls = append(e.x.Calls, c)
}

// What the runtime does where nobody wrote a policy.
var (
	withoutPolicy = processes.Retry{MaxAttempts: 6, Backoff: 10 * time.Second, MaxBackoff: 10 * time.Minute, Jitter: true}
	inRequest     = processes.Retry{MaxAttempts: 1}
)

// time fills in how often a call is made and how long that may take.
func (e *explainer) time(c *callSummary, own *processes.Retry, s *processes.Step, connection string) {
	policy := &inRequest
	if c.Durable {
		policy = &withoutPolicy
	}
	for _, p := range []*processes.Retry{e.project.Defaults.Retry, e.process.Delivery.Retry, own} {
		if p != nil {
			policy = p
		}
	}
	c.Attempts = policy.MaxAttempts
	timeout := duration(s.Settings, "Timeout")
	if timeout == 0 {
		timeout = e.timeouts[connection]
	}
	if timeout == 0 {
		return
	}
	longest := timeout
	wait := policy.Backoff
	for range policy.MaxAttempts - 1 {
		longest += wait + timeout
		if wait *= 2; policy.MaxBackoff > 0 && wait > policy.MaxBackoff {
			wait = policy.MaxBackoff
		}
	}
	c.TimeoutMS, c.LongestMS = timeout.Milliseconds(), longest.Milliseconds()
}

func repeatable(c *callSummary) string {
	switch {
	case c.Handoff:
		return "created exactly once, delivered at least once with the same Idempotency-Key"
	case !c.Changes:
		return "changes nothing: a repeat is harmless"
	case c.Durable:
		return "a crash or a retry may repeat it, with the same Idempotency-Key: the other system must recognise that"
	case c.Attempts > 1:
		return "a retry may repeat it, with the same Idempotency-Key; nothing resumes it after a crash"
	}
	return "made once; nothing resumes it after a crash, the caller decides whether to send again"
}

// setting finds the exported field of a step's settings that has type T.
func setting[T any](settings any) (value T, ok bool) {
	fields(settings, func(_ string, v any) {
		if found, is := v.(T); is && !ok {
			value, ok = found, true
		}
	})
	return value, ok
}

func text(settings any, name string) (s string) {
	fields(settings, func(n string, v any) {
		if found, is := v.(string); is && n == name {
			s = found
		}
	})
	return s
}

func duration(settings any, name string) (d time.Duration) {
	fields(settings, func(n string, v any) {
		if found, is := v.(time.Duration); is && n == name {
			d = found
		}
	})
	return d
}

// fields gives the exported fields of a step's settings. The kinds of steps
// keep their settings to themselves; what is asked of them here is what every
// kind that has it calls the same.
func fields(settings any, yield func(name string, value any)) {
	v := reflect.ValueOf(settings)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			yield(f.Name, v.Field(i).Interface())
		}
	}
}
