package processes

import (
	"fmt"
	"time"

	"valence/internal/authn"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
)

// checkValues is the hint for settings that are invalid with the values of
// one environment.
const checkValues = "check the environment values and secrets that its expressions read"

// LimitFields declares the settings that every connection has.
var LimitFields = []spec.Field{
	spec.Duration("timeout", func(l *ConnectionLimits) *time.Duration { return &l.Timeout }, "Timeout of one attempt of a call.").Or(30 * time.Second).Min(time.Millisecond).Max(24 * time.Hour),
	spec.Int("concurrency", func(l *ConnectionLimits) *int { return &l.Concurrency }, "Maximum number of concurrent calls. Unlimited by default.").Min(1),
	spec.Rate("rate", func(l *ConnectionLimits) *float64 { return &l.Rate }, "Maximum rate of calls. Unlimited by default."),
	spec.Object("circuit", func(l *ConnectionLimits) *Circuit { return &l.Circuit }, "Circuit breaker. While it is open, durable executions that need the connection are held without spending attempts, and synchronous callers get 503 at once.",
		spec.Int("failures", func(c *Circuit) *int { return &c.Failures }, "Consecutive failures that open the circuit: timeouts, connection errors and the statuses 502, 503 and 504. `0` disables the circuit breaker.").Or(5).Min(0).Max(1000),
		spec.Duration("probe", func(c *Circuit) *time.Duration { return &c.Probe }, "Time between probe calls while the circuit is open. A successful probe closes it.").Or(10*time.Second).Min(10*time.Millisecond).Max(time.Hour),
	),
}

// Resolve evaluates and decodes the connection's settings. Settings in
// override replace its own, and settings in fixed replace both; either may be
// nil. Errors are of type *fault.Problem, positioned at the connection.
func (c *Connection) Resolve(env *expression.Env, override *expression.Template, fixed *document.Object) (ConnectionLimits, any, error) {
	var limits ConnectionLimits
	invalid := func(err error) (ConnectionLimits, any, error) {
		return ConnectionLimits{}, nil, &fault.Problem{Pos: c.Pos, Code: CodeWrongSettings, Msg: "connection `" + c.Name + "`: " + err.Error(), Hint: checkValues}
	}
	all, err := evaluate(c.Settings, env)
	if err != nil {
		return invalid(err)
	}
	replaced, err := evaluate(override, env)
	if err != nil {
		return invalid(err)
	}
	for i := range replaced.Len() {
		all.Set(replaced.At(i))
	}
	if fixed != nil {
		for i := range fixed.Len() {
			all.Set(fixed.At(i))
		}
	}
	own, common := &document.Object{}, &document.Object{}
	for i := range all.Len() {
		k, v := all.At(i)
		if spec.Find(LimitFields, k) != nil {
			common.Set(k, v)
		} else {
			own.Set(k, v)
		}
	}
	if err := spec.Bind(LimitFields, &limits, common); err != nil {
		return invalid(err)
	}
	var settings any
	if c.Connector.NewSettings != nil {
		settings = c.Connector.NewSettings()
	}
	spec.ResolvePaths(c.Connector.Settings, own, c.Folder)
	if err := spec.Bind(c.Connector.Settings, settings, own); err != nil {
		return invalid(err)
	}
	return limits, settings, nil
}

// Resolve evaluates and decodes the settings of a subscription. Errors are of
// type *fault.Problem, positioned at the subscription.
func (s *Subscribe) Resolve(env *expression.Env) (any, error) {
	all, err := evaluate(s.Settings, env)
	if err == nil {
		with := s.Connector.Subscription.NewWith()
		if err = spec.Bind(s.Connector.Subscription.With, with, all); err == nil {
			return with, nil
		}
	}
	return nil, &fault.Problem{Pos: s.Pos, Code: CodeWrongSettings, Msg: "subscription: " + err.Error(), Hint: checkValues}
}

// Resolve evaluates the settings for authn.New. Errors are of type
// *fault.Problem, positioned at the auth.
func (a *Auth) Resolve(env *expression.Env) (map[string]any, error) {
	o, err := evaluate(a.Settings, env)
	if err == nil {
		out, _ := document.Plain(o).(map[string]any)
		for _, set := range AuthScheme(a.Scheme).Settings {
			if text, ok := out[set.Name].(string); ok && set.Duration {
				if out[set.Name], err = spec.ParseDuration(text); err != nil {
					err = fmt.Errorf("`%s:` is not a duration", set.Name)
					break
				}
			}
		}
		if err == nil {
			return out, nil
		}
	}
	return nil, &fault.Problem{Pos: a.Pos, Code: CodeWrongSettings, Msg: "auth `" + a.Name + "`: " + err.Error(), Hint: checkValues}
}

// AuthScheme returns the authentication scheme with the given name, or nil.
func AuthScheme(name string) *authn.Scheme {
	for _, s := range authn.Schemes() {
		if s.Name == name {
			return &s
		}
	}
	return nil
}

// Resolve evaluates the allowed URLs, in the syntax of package egress, and the
// signing secrets. Errors are of type *fault.Problem, positioned at the callbacks.
func (c *Callbacks) Resolve(env *expression.Env) (allow, secrets []string, err error) {
	o, err := evaluate(c.Settings, env)
	if err == nil {
		if allow, err = stringsOf(o, "allow"); err == nil {
			secrets, err = stringsOf(o, "secret")
		}
	}
	if err != nil {
		return nil, nil, &fault.Problem{Pos: c.Pos, Code: CodeWrongSettings, Msg: "callbacks: " + err.Error(), Hint: checkValues}
	}
	return allow, secrets, nil
}

// stringsOf returns the non-empty string, or list of them, under key.
func stringsOf(o *document.Object, key string) ([]string, error) {
	v, _ := o.Get(key)
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := make([]string, len(list))
	for i, e := range list {
		text, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("`%s:` must be a string or a list of strings, not %s", key, document.TypeName(e))
		}
		if text == "" {
			return nil, fmt.Errorf("`%s:` has an empty string", key)
		}
		out[i] = text
	}
	return out, nil
}

// Settings returns the settings of the connections, authentications and
// callbacks of the project, with the overrides of e, which may be nil. Settings
// that cannot be evaluated with these values are left out.
func (p *Project) Settings(env *expression.Env, e *Environment) (all []*document.Object) {
	add := func(t *expression.Template) {
		if o, err := evaluate(t, env); err == nil {
			all = append(all, o)
		}
	}
	for name, c := range p.Connections {
		add(c.Settings)
		if e != nil {
			add(e.Connections[name])
		}
	}
	for _, a := range p.Auths {
		add(a.Settings)
	}
	for _, q := range p.Processes {
		if q.Listen != nil && q.Listen.Callbacks != nil {
			add(q.Listen.Callbacks.Settings)
		}
	}
	return all
}

// evaluate evaluates settings and decodes them completely. A nil template
// yields no settings.
func evaluate(t *expression.Template, env *expression.Env) (*document.Object, error) {
	if t == nil {
		return &document.Object{}, nil
	}
	v, err := t.Value(env)
	if err != nil {
		return nil, err
	}
	o, ok := decoded(v).(*document.Object)
	if !ok {
		return nil, fmt.Errorf("the settings must be an object, not %s", document.TypeName(v))
	}
	return o, nil
}

func decoded(v any) any {
	switch v := document.Decode(v).(type) {
	case *document.Object:
		out := &document.Object{}
		for i := range v.Len() {
			k, e := v.At(i)
			out.Set(k, decoded(e))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = decoded(e)
		}
		return out
	default:
		return v
	}
}

// Limits returns the limits of each connection whose settings do not depend
// on environment values.
func (p *Project) Limits() map[string]ConnectionLimits {
	env, secrets := &document.Object{}, &document.Object{}
	seen := map[Need]bool{}
	for _, n := range p.Needs {
		if n.Pos = (fault.Pos{}); seen[n] {
			continue
		}
		seen[n] = true
		if n.Kind == "secret" {
			secrets.Set(n.Name, "x")
		} else {
			env.Set(n.Name, "http://localhost")
		}
	}
	found := map[string]ConnectionLimits{}
	for name, c := range p.Connections {
		if c.Connector == nil {
			continue
		}
		if limits, _, err := c.Resolve(&expression.Env{Names: Values{env, secrets}}, nil, nil); err == nil {
			found[name] = limits
		}
	}
	return found
}

// Values are the names that settings read outside of executions.
type Values struct{ Env, Secrets *document.Object }

// Name returns the values of env and secret.
func (v Values) Name(root string) (any, bool) {
	switch root {
	case "env":
		return v.Env, true
	case "secret":
		return v.Secrets, true
	}
	return nil, false
}
