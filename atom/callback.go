package atom

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/egress"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// CodeBadCallback is the failure of a request that names a URL where its
// sender may not be called back.
const CodeBadCallback = "bad_callback"

const (
	callbackProcess   = "valence-callback"
	callbackConnector = "callback"
	callbackWorkers   = 64
	callbackTimeout   = 20 * time.Second
)

// The built-in process that delivers a callback: durable like any other, so
// that its retries and its place among the failed ones are those of all. Its
// attempts are spread over 15 hours.
const callbackFile = `process: valence-callback
description: Posts a reply to the URL that its caller named.
retry: { max_attempts: 16, backoff: 5s..3h }
steps:
  - call: valence-callback.post
    with: { url: "${props.url}", process: "${props.process}", execution: "${props.execution}", status: "${props.status}" }
---
connection: valence-callback
connector: callback
`

// callbacks is what calling back takes.
type callbacks struct {
	connector *connectors.Connector
	plan      *plan
	files     []byte
}

// newCallbacks compiles the built-in process; nil without a connector.
func (a *Atom) newCallbacks(c *connectors.Connector) *callbacks {
	if c == nil {
		return nil
	}
	all := connectors.Registry{callbackConnector: c}
	for name, other := range a.catalog.Connectors {
		all[name] = other
	}
	a.catalog.Connectors, a.catalog.Own = all, true
	files := []processes.File{{Name: "valence-callback.yaml", Content: []byte(callbackFile)}}
	project, problems := processes.Load(files, a.catalog)
	packed, err := json.Marshal(files)
	if problems.HasErrors() || err != nil {
		panic(fmt.Sprintf("the built-in process of callbacks: %v %v", problems, err)) // a defect, found by every test
	}
	p := a.newPlan(project.Processes[callbackProcess], project, "", hashOf(packed))
	a.plans[p.key()] = p
	return &callbacks{connector: c, plan: p, files: packed}
}

// keepPlan stores the built-in process, for deliveries that a later version of
// this program finds.
func (c *callbacks) keepPlan(ctx context.Context, s Contents) error {
	if c == nil {
		return nil
	}
	if err := s.PutContent(ctx, c.plan.files, c.files); err != nil {
		return fmt.Errorf("keep the process of callbacks: %w", err)
	}
	return nil
}

// openCallbacks opens the connection that callbacks go out on, with the rules
// of every process of the releases.
func (a *Atom) openCallbacks(next releases) (wrong fault.Problems) {
	if a.callbacks == nil {
		return nil
	}
	rules := connectors.CallbackRules{}
	for _, r := range next {
		env := &expression.Env{Names: values{r.env, r.secrets}}
		for _, p := range r.project.Processes {
			if p.Listen == nil || p.Listen.Callbacks == nil {
				continue
			}
			c := p.Listen.Callbacks
			urls, secrets, err := c.Resolve(env)
			var allow *egress.List
			if err == nil {
				allow, err = egress.Parse(urls)
			}
			if err != nil {
				wrong = append(wrong, &fault.Problem{Pos: c.Pos, Code: "callbacks", Msg: err.Error(), Hint: "correct its settings, or the values and secrets they are made of"})
				continue
			}
			rules[p.Name] = connectors.CallbackRule{Allow: allow, Secrets: secrets}
		}
	}
	if len(rules) == 0 { // what is still to be delivered is held
		return wrong
	}
	open, err := a.callbacks.connector.Open(rules)
	if err != nil {
		return append(wrong, &fault.Problem{Code: "callbacks", Msg: err.Error(), Hint: "the secret of callbacks is base64 of 24 to 64 bytes, with whsec_ before it"})
	}
	c := &connection{name: callbackProcess, open: open, timeout: callbackTimeout,
		circuit: a.newCircuit(callbackProcess, processes.Circuit{}), // it goes to many systems: none speaks for the others
	}
	next[ownRelease] = &release{name: ownRelease, connections: map[string]*connection{callbackProcess: c}}
	return wrong
}

// checkCallback refuses a URL where the sender may not be called back.
func (a *Atom) checkCallback(ctx context.Context, d *Deployed, url string) error {
	refuse := func(why string) error {
		return &fault.Failure{Code: CodeBadCallback, Origin: fault.FromAtom, Status: 400, Message: why}
	}
	conn, ok := a.connection(ownRelease, callbackProcess)
	if !ok {
		return refuse("Nobody is called back here.")
	}
	err := conn.open.(connectors.CallbackChecker).CheckCallback(ctx, d.Process.Name, url)
	if errors.Is(err, egress.ErrRefused) {
		return refuse("The URL in Callback-Url cannot be called: " + strings.TrimSuffix(err.Error(), ": "+egress.ErrRefused.Error()) + ".")
	}
	return err
}

// callback is the delivery of an answer to the URL that the sender named; nil
// where there is none. It is created exactly once, however often the commit
// that it is part of is tried.
func (e *execution) callback(c *Collected, now time.Time) *Acceptance {
	url := e.meta.Later.Callback
	if url == "" || e.atom.callbacks == nil {
		return nil
	}
	props := &document.Object{}
	props.Set("url", url)
	props.Set("process", e.plan.process.Name)
	props.Set("execution", e.id())
	props.Set("status", strconv.Itoa(c.Status))
	m := &meta{Correlation: e.meta.Correlation, Trace: e.meta.Trace, Parent: e.id(), Props: document.AppendJSON(nil, props)}
	return &Acceptance{
		Process: callbackProcess, Plan: e.atom.callbacks.plan.name(), Env: e.envHash, Received: now.UTC().Truncate(time.Millisecond),
		Origin: hex.EncodeToString(slice(derive("callback", e.id()))), Meta: m.append(nil), DocType: c.Media, Doc: c.Body,
	}
}
