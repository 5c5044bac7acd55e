package steps

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// Frame is one path of an execution, as the steps on it see it. The elements of
// a loop and the paths of a branch have their own frames. One goroutine at a
// time may use a frame.
type Frame struct {
	sent *document.Document // the message of the execution
	ctx  context.Context
	rt   Runtime
	env  expression.Env
	position
	scope
	flow
	shield
}

// position locates the path in the plan.
type position struct {
	proc  *processes.Process // whose steps run; differs from the plan in a called process
	step  *processes.Step
	key   string // prefix of called processes
	iter  string // indices of the enclosing loops: "[17][2]"
	depth int    // of called processes
	uuids int    // made by this occurrence of the step
}

// scope holds the values that expressions read.
type scope struct {
	input    *document.Document
	props    any
	doc      *document.Document
	value    any // of doc
	response any
	vars     *document.Object
	results  *binding // of named steps
	locals   *binding // item, index and `as` names
	failure  *fault.Failure
	state    *document.Object // of a process that reads it
}

// flow is how steps affect each other on the path.
type flow struct {
	result     *document.Document // of the running step; nil: none
	assigned   *document.Object   // variables that the running step set; nil: none
	rest       bool               // steps follow the current one in its list
	answer     *answered          // of a called process; nil for the execution itself
	concurrent bool               // other paths may run at the same time
	unheld     bool               // an open circuit fails a call in place of holding the execution
	caught     bool               // the execution continues after a failure: in a catch, a finally or another path
}

type binding struct {
	name  string
	value any
	next  *binding
}

type answered struct{ reply *Reply }

// NewFrame returns the frame in which a process starts.
func NewFrame(ctx context.Context, rt Runtime, p *processes.Process, input *document.Document, props *document.Object, now time.Time) *Frame {
	f := &Frame{ctx: ctx, rt: rt, sent: input, position: position{proc: p}, scope: scope{input: input, doc: input, value: input.Value()}}
	f.shield = shield{life: context.WithoutCancel(ctx), grace: &grace{}}
	if props != nil {
		f.props = props
	} else {
		f.props = emptyObject
	}
	f.bind(now)
	return f
}

var emptyObject = &document.Object{}

func (f *Frame) bind(now time.Time) {
	f.env = expression.Env{Names: f, Now: now, UUID: f.uuid, Ctx: f.ctx}
	if len(f.proc.Waits) > 0 {
		f.env.Callback = f.callback
	}
}

// Context returns the context with the deadline and the cancellation of the
// execution.
func (f *Frame) Context() context.Context { return f.ctx }

// Process returns the process whose steps run.
func (f *Frame) Process() *processes.Process { return f.proc }

// Step returns the running step.
func (f *Frame) Step() *processes.Step { return f.step }

// Key returns the journal key of the occurrence of the running step.
func (f *Frame) Key() string { return f.key + f.step.Path + f.iter }

// Concurrent reports whether other paths of the execution may run at the same time.
func (f *Frame) Concurrent() bool { return f.concurrent }

// Prefix returns the prefix of the keys of the process' steps.
func (f *Frame) Prefix() string { return f.key }

// Iter returns the indices of the loops around the running step: "[17][2]".
func (f *Frame) Iter() string { return f.iter }

// SetState sets the value of `state`.
func (f *Frame) SetState(state *document.Object) { f.state = state }

// Env returns the environment of the step's expressions.
func (f *Frame) Env() *expression.Env { return &f.env }

// Doc returns the current document.
func (f *Frame) Doc() *document.Document { return f.doc }

// SetResult sets the result of the step, which becomes the current document or
// the variable of `into:`.
func (f *Frame) SetResult(d *document.Document) { f.result = d }

// AdvanceClock moves the clock of the path to the time of a durable event. The
// clock never goes back.
func (f *Frame) AdvanceClock(at time.Time) {
	if at.After(f.env.Now) {
		f.env.Now = at
	}
}

// Respond sets the value of `response`.
func (f *Frame) Respond(status int, headers http.Header) {
	f.response = &responseValue{status: status, headers: headers}
}

type responseValue struct {
	status  int
	headers http.Header
}

func (r *responseValue) object() *document.Object {
	o := &document.Object{}
	o.Set("status", document.Number(strconv.Itoa(r.status)))
	o.Set("headers", Headers(r.headers, nil))
	return o
}

// Name returns a root of an expression.
func (f *Frame) Name(root string) (any, bool) {
	switch root {
	case "doc":
		return f.value, true
	case "raw":
		if blob.IsReference(f.doc) {
			return f.doc.Value(), true
		}
		return f.doc.Raw(), true
	case "input":
		return f.input.Value(), true
	case "vars":
		if f.vars == nil {
			return emptyObject, true
		}
		return f.vars, true
	case "props":
		return f.props, true
	case "response":
		if r, ok := f.response.(*responseValue); ok {
			f.response = r.object()
		}
		return f.response, true
	case "steps":
		return f.named(), true
	case "state":
		if f.state == nil {
			return emptyObject, true
		}
		return f.state, true
	case "error":
		if f.failure == nil {
			return nil, true
		}
		return errorValue(f.failure), true
	}
	for b := f.locals; b != nil; b = b.next {
		if b.name == root {
			return b.value, true
		}
	}
	return f.rt.Name(root)
}

func (f *Frame) named() *document.Object {
	o := &document.Object{}
	for b := f.results; b != nil; b = b.next {
		if _, shadowed := o.Get(b.name); !shadowed {
			o.Set(b.name, b.value)
		}
	}
	return o
}

// uuid derives a UUID from the number of evaluations in one occurrence of a step,
// whose order is always the same. It ignores the position in the files, which
// changes when a comment is added.
func (f *Frame) uuid(string, int) string {
	f.uuids++
	return f.rt.UUID(f.Key(), f.uuids)
}

func (f *Frame) setDoc(d *document.Document) {
	f.doc, f.value = d, d.Value()
}

func (f *Frame) setVar(name string, v any) {
	if f.vars == nil {
		f.vars = &document.Object{}
	}
	f.vars.Set(name, v)
}

// child returns the frame of an element or a branch path. It reads the variables
// of f; its own writes stay inside.
func (f *Frame) child(iter string, d *document.Document) *Frame {
	c := *f
	c.iter = f.iter + iter
	c.result = nil
	if f.vars != nil {
		c.vars = f.vars.Copy()
	}
	c.setDoc(d)
	c.bind(f.env.Now)
	return &c
}

// errorValue returns the value of `error` in a catch.
func errorValue(e *fault.Failure) *document.Object {
	o := &document.Object{}
	o.Set("code", e.Code)
	o.Set("message", e.Message)
	var status, body, cause any
	if e.Status != 0 {
		status = document.Number(strconv.Itoa(e.Status))
	}
	if e.Body != nil {
		body = string(e.Body)
	}
	o.Set("status", status)
	o.Set("body", body)
	var detail any
	if e.Detail != nil {
		detail = document.Parse(string(e.Detail))
	}
	o.Set("detail", detail)
	o.Set("step", e.Step)
	o.Set("retryable", e.Retryable)
	if inner, ok := e.Cause.(*fault.Failure); ok {
		cause = errorValue(inner)
	}
	o.Set("cause", cause)
	return o
}

// Input returns the document that started the process of this frame.
func (f *Frame) Input() *document.Document { return f.input }
