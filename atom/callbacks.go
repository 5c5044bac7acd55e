package atom

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"valence/atom/connection"
	"valence/atom/run"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/egress"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

// CodeBadCallback is the failure of a request whose callback URL is not allowed.
const CodeBadCallback = "bad_callback"

const (
	callbackConnector = "callback"
	callbackWorkers   = 64
	callbackTimeout   = 20 * time.Second
)

// callbackFile is the built-in process that delivers a reply callback. It is
// durable, and retried and resubmitted like any other. Its attempts are spread
// over 15 hours.
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

// callbacks is the built-in process of reply callbacks.
type callbacks struct {
	connector *connectors.Connector
	plan      *run.Plan
	files     []byte
}

// newCallbacks compiles the built-in process. It returns nil without a connector.
func (s *deployments) newCallbacks(c *connectors.Connector) *callbacks {
	if c == nil {
		return nil
	}
	all := connectors.Registry{callbackConnector: c}
	for name, other := range s.catalog.Connectors {
		all[name] = other
	}
	s.catalog.Connectors, s.catalog.Own = all, true
	files := []processes.File{{Name: "valence-callback.yaml", Content: []byte(callbackFile)}}
	project, problems := loader.Load(files, s.catalog)
	packed, err := json.Marshal(files)
	if problems.HasErrors() || err != nil {
		panic(fmt.Sprintf("compile the callback process: %v %v", problems, err)) // found by every test
	}
	p := s.newPlan(project.Processes[run.CallbackProcess], project, "", run.Hash(packed))
	s.plans[p.Key()] = p
	return &callbacks{connector: c, plan: p, files: packed}
}

// planOrNil returns the plan of the built-in process; nil if callbacks are off.
func (c *callbacks) planOrNil() *run.Plan {
	if c == nil {
		return nil
	}
	return c.plan
}

// storePlan stores the built-in process, for deliveries that a later version of
// this program continues.
func (c *callbacks) storePlan(ctx context.Context, s store.Contents) error {
	if c == nil {
		return nil
	}
	if err := s.PutContent(ctx, c.plan.Files, c.files); err != nil {
		return fmt.Errorf("store the callback process: %w", err)
	}
	return nil
}

// openCallbacks opens the connection of reply callbacks, with the rules of
// every process of the releases.
func (s *deployments) openCallbacks(next releases) (wrong fault.Problems) {
	if s.callbacks == nil {
		return nil
	}
	rules := connectors.CallbackRules{}
	for _, r := range next {
		env := &expression.Env{Names: processes.Values{Env: r.env, Secrets: r.secrets}}
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
				wrong = append(wrong, &fault.Problem{Pos: c.Pos, Code: "callbacks", Msg: err.Error(), Hint: badSettings})
				continue
			}
			rules[p.Name] = connectors.CallbackRule{Allow: allow, Policy: r.policy, Secrets: secrets}
		}
	}
	if len(rules) == 0 { // remaining deliveries are held
		return wrong
	}
	client, err := s.callbacks.connector.Open(rules, nil)
	if err != nil {
		return append(wrong, &fault.Problem{Code: "callbacks", Msg: err.Error(), Hint: "the secret of callbacks is base64 of 24 to 64 bytes, with whsec_ before it"})
	}
	// It calls many systems, so no circuit: one that is down says nothing of the others.
	c := connection.New(s.host, run.CallbackProcess, client, processes.ConnectionLimits{Timeout: callbackTimeout})
	next[builtinRelease] = &release{name: builtinRelease, connections: map[string]*connection.Connection{run.CallbackProcess: c}}
	return wrong
}

// checkCallback rejects a callback URL that the process does not allow.
func (s *deployments) checkCallback(ctx context.Context, d *DeployedProcess, url string) error {
	reject := func(why string) error {
		return &fault.Failure{Code: CodeBadCallback, Source: fault.FromAtom, Status: 400, Message: why}
	}
	conn, ok := s.Connection(builtinRelease, run.CallbackProcess)
	if !ok {
		return reject("This atom does not deliver reply callbacks.")
	}
	err := conn.Client.(connectors.CallbackChecker).CheckCallback(ctx, d.Process.Name, url)
	if errors.Is(err, egress.ErrRefused) {
		return reject("The URL in Callback-Url cannot be called: " + strings.TrimSuffix(err.Error(), ": "+egress.ErrRefused.Error()) + ".")
	}
	return err
}
