package steps

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/processes"
)

// Frame is one path of an execution: what the steps on it see. A loop's
// elements and a branch's paths have frames of their own. It is not for use by
// several goroutines.
type Frame struct {
	ctx  context.Context
	rt   Runtime
	proc *processes.Process // whose steps run: the plan of an outer process differs
	key  string             // prefix of called processes
	iter string             // indices of the enclosing loops: "[17][2]"
	env  expression.Env

	doc      *document.Document
	value    any // of doc
	given    *document.Document
	response any
	vars     *document.Object
	results  *binding // of named steps
	locals   *binding // item, index and `as` names
	failure  *fault.Failure
	state    *document.Object // of a process that reads it
	input    *document.Document
	props    any
	step     *processes.Step
	uuids    int       // made by this occurrence of the step
	rest     bool      // steps follow the current one in its list
	answer   *answered // of a called process; nil for the execution itself
	depth    int
	beside   bool // other paths may run at the same time
	caught   bool // something goes on behind a failure: a catch, a finally, another path
}

type binding struct {
	name  string
	value any
	next  *binding
}

type answered struct{ reply *Reply }

// NewFrame makes the frame that a process starts in.
func NewFrame(ctx context.Context, rt Runtime, p *processes.Process, input *document.Document, props *document.Object, now time.Time) *Frame {
	f := &Frame{ctx: ctx, rt: rt, proc: p, input: input, doc: input, value: input.Value()}
	if props != nil {
		f.props = props
	} else {
		f.props = emptyObject
	}
	f.ready(now)
	return f
}

var emptyObject = &document.Object{}

func (f *Frame) ready(now time.Time) {
	f.env = expression.Env{Names: f, Now: now, UUID: f.uuid, Ctx: f.ctx}
	if len(f.proc.Waits) > 0 {
		f.env.Callback = f.callback
	}
}

// Context carries the deadline and the cancellation of the execution.
func (f *Frame) Context() context.Context { return f.ctx }

// Process is the process whose steps run here.
func (f *Frame) Process() *processes.Process { return f.proc }

// Step is the step that runs.
func (f *Frame) Step() *processes.Step { return f.step }

// Key names the occurrence of the running step in the journal.
func (f *Frame) Key() string { return f.key + f.step.Path + f.iter }

// Beside reports whether other paths of the execution may run at the same time.
func (f *Frame) Beside() bool { return f.beside }

// Prefix begins the key of every step of the frame's process.
func (f *Frame) Prefix() string { return f.key }

// Iter is the indices of the loops around the running step: "[17][2]".
func (f *Frame) Iter() string { return f.iter }

// Reads sets what `state` reads.
func (f *Frame) Reads(state *document.Object) { f.state = state }

// Env is for evaluating the step's expressions.
func (f *Frame) Env() *expression.Env { return &f.env }

// Doc is the current document.
func (f *Frame) Doc() *document.Document { return f.doc }

// Give makes a document the step's result: the current document, or what
// `into:` names.
func (f *Frame) Give(d *document.Document) { f.given = d }

// Happened moves the path's clock to a durable event; it never goes back.
func (f *Frame) Happened(at time.Time) {
	if at.After(f.env.Now) {
		f.env.Now = at
	}
}

// Respond makes what `response` reads.
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

// Name reads a root of an expression.
func (f *Frame) Name(root string) (any, bool) {
	switch root {
	case "doc":
		return f.value, true
	case "raw":
		return string(f.doc.Body()), true
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

// uuid counts the evaluations within one occurrence of a step, whose order is
// always the same. The place in the files does not count: it changes when a
// comment is added, and the execution that is running must not notice.
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

// child makes the frame of an element or a branch path: it sees what this one
// sees, and what it writes stays inside.
func (f *Frame) child(iter string, d *document.Document) *Frame {
	c := *f
	c.iter = f.iter + iter
	c.given = nil
	if f.vars != nil {
		c.vars = f.vars.Copy()
	}
	c.setDoc(d)
	c.ready(f.env.Now)
	return &c
}

// errorValue is what `error` reads in a catch.
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
	o.Set("step", e.Step)
	o.Set("retryable", e.Retryable)
	if inner, ok := e.Cause.(*fault.Failure); ok {
		cause = errorValue(inner)
	}
	o.Set("cause", cause)
	return o
}

// Input is the document that started the process of this frame.
func (f *Frame) Input() *document.Document { return f.input }
