package try

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"valence/atom/connection"
	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clock"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
)

// trial is the runtime of one step of the kind map or call, which uses no more
// of the runtime than the methods below.
type trial struct {
	steps.Runtime
	project *project.Opened
	command *Command
	clock   *clock.Clock
	answer  *document.Document // of the call
	message message
}

// message is the request of a dry run, or the response to a call.
type message struct {
	Operation string          `json:"operation"`
	Method    string          `json:"method,omitempty"`
	URL       string          `json:"url,omitempty"`
	Status    int             `json:"status,omitempty"`
	Headers   http.Header     `json:"headers,omitempty"`
	With      json.RawMessage `json:"with,omitempty"` // of a connector without requests
	Body      any             `json:"body,omitempty"` // json.RawMessage, or a string
}

func newTrial(c *Command, p *project.Opened) *trial {
	return &trial{project: p, command: c, clock: clock.New(nil)}
}

// call runs the step on a document.
func (t *trial) call(doc *document.Document) error {
	p, s, err := stepOf(t.project, t.command.Step)
	if err != nil {
		return err
	}
	once := *s
	once.When, once.Into = nil, ""
	return steps.NewFrame(context.Background(), t, p, doc, nil, time.Now().UTC()).Run(processes.Block{&once})
}

// Call makes one attempt of a call, or only prepares its request.
func (t *trial) Call(f *steps.Frame, call *steps.Call) (*connectors.Result, error) {
	name, op := call.Operation.Connection, call.Operation.Operation
	client, limits, err := t.project.Connect(name)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	request := &connectors.Call{Body: call.Body, Accept: call.Accept, Page: call.Page}
	if !op.Safe {
		request.IdempotencyKey = rand.Text()
	}
	t.message.Operation = name + "." + op.Name
	ctx, cancel := context.WithTimeout(f.Context(), cmp.Or(call.Timeout, limits.Timeout, connection.DefaultTimeout))
	defer cancel()
	if t.command.DryRun {
		return &connectors.Result{Doc: document.Empty}, t.prepare(ctx, client, call, request)
	}
	r, err := op.Run(ctx, client, call.With, request)
	if err != nil {
		return nil, err
	}
	t.answer = r.Doc
	t.message.Status, t.message.Headers, t.message.Body = r.Status, t.masked(r.Headers), t.content(r.Doc.Body())
	return r, nil
}

// Handoff makes the call at once.
func (t *trial) Handoff(f *steps.Frame, h *steps.Handoff) error {
	_, err := t.Call(f, h.Call)
	return err
}

// prepare sets the message to the request of a call.
func (t *trial) prepare(ctx context.Context, client connectors.Connection, call *steps.Call, request *connectors.Call) error {
	op, m := call.Operation.Operation, &t.message
	if op.Preview == nil {
		if with := call.Written(); with != nil {
			m.With = t.project.Masks.JSON(document.AppendJSON(nil, with))
		}
		if call.Body != nil {
			m.Body = t.content(call.Body.Body())
		}
		return nil
	}
	r, err := op.Preview(ctx, client, call.With, request)
	if err != nil {
		return err
	}
	m.Method, m.URL, m.Headers, m.Body = r.Method, t.project.Masks.String(r.URL), t.masked(r.Headers), t.content(r.Body)
	return nil
}

// content returns a body as JSON or as text; nil if it is empty.
func (t *trial) content(b []byte) any {
	b = t.project.Masks.Body(b)
	switch {
	case len(b) == 0:
		return nil
	case json.Valid(b):
		return json.RawMessage(b)
	}
	return string(b)
}

func (t *trial) masked(headers http.Header) http.Header {
	out := http.Header{}
	for name, values := range headers {
		for _, value := range values {
			out.Add(name, t.project.Masks.String(value))
		}
	}
	return out
}

// print prints the message.
func (t *trial) print(s *terminal.Streams, asJSON bool) error {
	m := &t.message
	if asJSON {
		return terminal.EncodeJSON(s.Out, m)
	}
	var b strings.Builder
	switch {
	case m.Status != 0:
		fmt.Fprintf(&b, "%d %s\n", m.Status, http.StatusText(m.Status))
	case m.Method != "":
		fmt.Fprintf(&b, "%s %s\n", m.Method, m.URL)
	default:
		fmt.Fprintf(&b, "%s %s\n", m.Operation, m.With)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		for _, value := range m.Headers[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	if m.Body != nil {
		b.WriteByte('\n')
	}
	if _, err := fmt.Fprint(s.Out, b.String()); err != nil || m.Body == nil {
		return err
	}
	if data, ok := m.Body.(json.RawMessage); ok {
		return terminal.PrintJSON(s.Out, data)
	}
	_, err := fmt.Fprintln(s.Out, m.Body)
	return err
}

// Name returns the values of the environment. There is neither a request nor an
// execution.
func (t *trial) Name(root string) (any, bool) {
	if v, ok := t.project.Values.Name(root); ok {
		return v, true
	}
	return nil, root == "request" || root == "execution"
}

// Clock returns the clock of the machine.
func (t *trial) Clock() *clock.Clock { return t.clock }

// UUID returns a random text.
func (t *trial) UUID(string, int) string { return rand.Text() }

// Trace ignores steps.
func (t *trial) Trace(steps.StepTrace) {}

// Warn ignores warnings.
func (t *trial) Warn(*steps.Frame, string) {}

// Cancelled returns nil.
func (t *trial) Cancelled() *fault.Failure { return nil }
