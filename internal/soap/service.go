// Package soap serves SOAP 1.1 and 1.2: it reads the envelopes of requests,
// finds their operations in a WSDL, and writes replies and faults.
package soap

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/problem"
	"valence/internal/spec"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// Service is the part of a WSDL that a listener serves. It is immutable.
type Service struct {
	Operations []*Operation // in the order of the WSDL
	space      string       // target namespace of the WSDL
	schemas    *xsd.Set
	ports      []*wsdl.Port
	files      []*published // the WSDL first
}

// Operation is an operation of a service, with the same messages in all ports.
type Operation struct {
	Name   string
	Doc    string
	OneWay bool // it has no output
	wsdl   *wsdl.Operation
}

// Operation returns the operation called name, or nil.
func (s *Service) Operation(name string) *Operation {
	for _, op := range s.Operations {
		if op.Name == name {
			return op
		}
	}
	return nil
}

// FaultElement returns the declaration of the fault element with a local name, or
// nil.
func (op *Operation) FaultElement(name string) *xsd.Element {
	for _, e := range op.wsdl.Faults {
		if e.Name.Local == name {
			return e
		}
	}
	return nil
}

// FaultNames returns the local names of the fault elements.
func (op *Operation) FaultNames() []string {
	names := make([]string, len(op.wsdl.Faults))
	for i, e := range op.wsdl.Faults {
		names[i] = e.Name.Local
	}
	return names
}

// Lint returns the parts of a fault element or of a header that can never match
// its declaration.
func (s *Service) Lint(decl *xsd.Element, shape *expression.Shape) []xsd.Mismatch {
	return s.schemas.Lint(decl, shape)
}

// OperationNames returns the names of the operations.
func (s *Service) OperationNames() []string {
	names := make([]string, len(s.Operations))
	for i, op := range s.Operations {
		names[i] = op.Name
	}
	return names
}

// Replies reports whether an operation has an output.
func (s *Service) Replies() bool {
	return slices.ContainsFunc(s.Operations, func(op *Operation) bool { return !op.OneWay })
}

// HasOneWay reports whether an operation has no output.
func (s *Service) HasOneWay() bool {
	return slices.ContainsFunc(s.Operations, func(op *Operation) bool { return op.OneWay })
}

// Version returns the version of the first port.
func (s *Service) Version() wsdl.Version { return s.ports[0].Version }

// Speaks reports whether a port has a version.
func (s *Service) Speaks(v wsdl.Version) bool {
	return slices.ContainsFunc(s.ports, func(p *wsdl.Port) bool { return p.Version == v })
}

// SelectError explains why a selection of ports cannot be served.
type SelectError struct {
	Key       string // the setting that is wrong: service, port or wsdl
	Msg, Hint string
}

// Error returns the message and the hint.
func (e *SelectError) Error() string { return e.Msg + ": " + e.Hint }

// New returns the service with the ports of a WSDL. service and port may be
// empty: by default it has all ports of the only service. The error is a
// *SelectError.
func New(d *wsdl.Definition, service, port string) (*Service, error) {
	ports, err := selected(d, service, port)
	if err != nil {
		return nil, err
	}
	s := &Service{space: d.Files[0].Root.Attr("targetNamespace"), schemas: d.Schemas, ports: ports}
	for _, p := range ports {
		seen := map[string]bool{}
		for _, op := range p.Operations {
			if seen[op.Name] {
				return nil, &SelectError{"wsdl", "the port `" + spec.Clip(p.Name) + "` has two operations `" + spec.Clip(op.Name) + "`", "rename one of them: `request.operation` is the name"}
			}
			seen[op.Name] = true
			known := s.Operation(op.Name)
			if known == nil {
				s.Operations = append(s.Operations, &Operation{op.Name, op.Doc, op.Output == nil, op})
				continue
			}
			if !sameBody(known.wsdl.Input, op.Input) || !sameBody(known.wsdl.Output, op.Output) {
				return nil, &SelectError{"wsdl", "the ports declare different messages for the operation `" + spec.Clip(op.Name) + "`", "select one of the ports with `port:`"}
			}
		}
	}
	if len(s.Operations) == 0 {
		return nil, &SelectError{"wsdl", "the service has no operations", "add operations to the binding, or select another service"}
	}
	s.publish(d)
	return s, nil
}

func sameBody(a, b *wsdl.Message) bool {
	if a == nil || b == nil || a.Body == nil || b.Body == nil {
		return (a == nil) == (b == nil) && (a == nil || (a.Body == nil) == (b.Body == nil))
	}
	return a.Body.Name == b.Body.Name
}

// selected returns the ports of a service, or the one with a name.
func selected(d *wsdl.Definition, service, port string) ([]*wsdl.Port, error) {
	var services, names []string
	var found []*wsdl.Port
	for _, p := range d.Ports {
		if !slices.Contains(services, p.Service) {
			services = append(services, p.Service)
		}
		if service != "" && p.Service != service {
			continue
		}
		names = append(names, p.Name)
		if port == "" || p.Name == port {
			found = append(found, p)
		}
	}
	switch {
	case service != "" && !slices.Contains(services, service):
		return nil, &SelectError{"service", "the WSDL has no service `" + spec.Clip(service) + "`", spec.Suggestion(service, services)}
	case len(found) == 0:
		return nil, &SelectError{"port", "the WSDL has no port `" + spec.Clip(port) + "`", spec.Suggestion(port, names)}
	}
	for _, p := range found[1:] {
		if p.Service != found[0].Service {
			return nil, &SelectError{"wsdl", "the WSDL has several services", "add `service:` with one of: " + strings.Join(services, ", ")}
		}
	}
	return found, nil
}

// Call is a request whose operation is known.
type Call struct {
	*Operation
	Envelope *Envelope
	Action   string
	// HeaderBytes is the size of the header blocks that Document returned, as JSON.
	HeaderBytes int
	op          *wsdl.Operation // of the port with the version of the envelope
}

// Find returns the operation of an envelope: that of the element in its body.
// The action decides if several operations have the same element.
func (s *Service) Find(e *Envelope, action string) (*Call, *problem.Document) {
	var found []*wsdl.Operation
	var acting *wsdl.Operation
	var versions []string
	for _, p := range s.ports {
		if !slices.Contains(versions, string(p.Version)) {
			versions = append(versions, string(p.Version))
		}
		if p.Version != e.Version {
			continue
		}
		for _, op := range p.Operations {
			if action != "" && op.Action == action && acting == nil {
				acting = op
			}
			if e.isBody(op.Input.Body) && !slices.ContainsFunc(found, func(o *wsdl.Operation) bool { return o.Name == op.Name }) {
				found = append(found, op)
			}
		}
	}
	if !slices.Contains(versions, string(e.Version)) {
		return nil, clientFault(CodeVersion, "Version mismatch", "This service speaks SOAP "+strings.Join(versions, " and ")+", not "+string(e.Version)+".")
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(op *wsdl.Operation) bool { return op.Action != action })
	}
	switch {
	case len(found) == 0:
		return nil, s.unknown(e)
	case len(found) > 1:
		return nil, clientFault("unknown_operation", "Unknown operation", "Several operations have this body. Send the SOAPAction of one of them.")
	case acting != nil && acting.Name != found[0].Name:
		return nil, clientFault("unknown_operation", "Unknown operation", fmt.Sprintf("The action is that of %s, but the body is that of %s.", acting.Name, found[0].Name))
	}
	return &Call{Operation: s.Operation(found[0].Name), Envelope: e, Action: action, op: found[0]}, nil
}

// unknown returns the problem of a body that belongs to no operation.
func (s *Service) unknown(e *Envelope) *problem.Document {
	detail := "The body is empty."
	if e.body != nil {
		name := e.body.Name
		detail = "No operation has the body element <" + spec.Clip(name.Local) + ">."
		var known []string
		for _, op := range s.Operations {
			in := op.wsdl.Input.Body
			if in == nil {
				continue
			}
			if known = append(known, in.Name.Local); in.Name.Local == name.Local {
				detail = "The element <" + spec.Clip(name.Local) + "> is in the namespace `" + spec.Clip(name.Space) + "`, not in `" + in.Name.Space + "`."
				known = nil
				break
			}
		}
		if near := spec.Nearest(name.Local, known); near != "" {
			detail += " Did you mean <" + near + ">?"
		}
	}
	return clientFault("unknown_operation", "Unknown operation", detail)
}

// Understands checks the header blocks that the caller declares mandatory.
// security means that the listener reads WS-Security.
func (c *Call) Understands(security bool) *problem.Document {
	for _, h := range c.Envelope.Headers {
		if !c.Envelope.mandatory(h) || c.declared(h.Name) != nil || security && isSecurity(h) {
			continue
		}
		return clientFault(CodeNotUnderstood, "Header not understood", "The header <"+spec.Clip(h.Name.Local)+"> of the namespace `"+spec.Clip(h.Name.Space)+"` is mandatory, but this service does not know it.")
	}
	return nil
}

func (c *Call) declared(name xml.Name) *xsd.Element {
	for _, d := range c.op.Input.Headers {
		if d.Name == name {
			return d
		}
	}
	return nil
}

// Document returns the content of the body by its schema, and the header blocks
// as an object, without WS-Security. The violations are those of both.
func (s *Service) Document(ctx context.Context, c *Call) (doc *document.Document, headers *document.Object, wrong []fault.Violation, err error) {
	doc = document.Empty
	if c.Envelope.body != nil {
		data, violations, err := s.schemas.Decode(ctx, c.Envelope.body, c.op.Input.Body)
		if err != nil {
			return nil, nil, nil, err
		}
		doc, wrong = document.FromJSON(data), violations
	}
	headers = &document.Object{}
	for _, h := range c.Envelope.Headers {
		if isSecurity(h) {
			continue
		}
		data := xsd.Generic(h)
		if decl := c.declared(h.Name); decl != nil {
			var violations []fault.Violation
			if data, violations, err = s.schemas.Decode(ctx, h, decl); err != nil {
				return nil, nil, nil, err
			}
			for _, v := range violations {
				wrong = append(wrong, fault.Violation{Pointer: "/Header/" + h.Name.Local + v.Pointer, Detail: v.Detail})
			}
		}
		c.HeaderBytes += len(data)
		add(headers, h.Name.Local, document.Parse(string(data)))
	}
	return doc, headers, wrong, nil
}

// About returns the property that describes the envelope of a message.
func (s *Service) About(v wsdl.Version, action string, headers *document.Object) *document.Object {
	if headers == nil {
		headers = &document.Object{}
	}
	about := &document.Object{}
	about.Set("version", string(v))
	about.Set("action", action)
	about.Set("headers", headers)
	return about
}

// add sets a member, or makes it a list.
func add(o *document.Object, key string, v any) {
	before, ok := o.Get(key)
	if !ok {
		o.Set(key, v)
		return
	}
	list, isList := before.([]any)
	if !isList {
		list = []any{before}
	}
	o.Set(key, append(list, v))
}

// Reply returns the element of a reply in the body of an envelope. The
// violations are the mismatches of the value with the schema.
func (s *Service) Reply(ctx context.Context, op *Operation, v any) ([]byte, []fault.Violation, error) {
	if op.OneWay || op.wsdl.Output.Body == nil {
		return nil, nil, ctx.Err()
	}
	return s.element(ctx, op.wsdl.Output.Body, v)
}

// Headers returns the header blocks of a reply, by the elements that the WSDL
// declares for the output. The violations are the mismatches with them.
func (s *Service) Headers(ctx context.Context, op *Operation, blocks *document.Object) (text []byte, wrong []fault.Violation, err error) {
	if blocks == nil || op.OneWay {
		return nil, nil, ctx.Err()
	}
	for i := range blocks.Len() {
		name, v := blocks.At(i)
		at := "/Header/" + name
		decl := op.HeaderElement(name)
		if decl == nil {
			wrong = append(wrong, fault.Violation{Pointer: at, Detail: "the WSDL declares no such header for the output of " + op.Name})
			continue
		}
		block, mismatches, err := s.element(ctx, decl, v)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range mismatches {
			wrong = append(wrong, fault.Violation{Pointer: at + m.Pointer, Detail: m.Detail})
		}
		text = append(text, block...)
	}
	return text, wrong, nil
}

// HeaderElement returns the declaration of the header with a local name in the
// output, or nil.
func (op *Operation) HeaderElement(name string) *xsd.Element {
	for _, e := range op.outputHeaders() {
		if e.Name.Local == name {
			return e
		}
	}
	return nil
}

// HeaderNames returns the local names of the headers of the output.
func (op *Operation) HeaderNames() []string {
	var names []string
	for _, e := range op.outputHeaders() {
		names = append(names, e.Name.Local)
	}
	return names
}

func (op *Operation) outputHeaders() []*xsd.Element {
	if op.wsdl.Output == nil {
		return nil
	}
	return op.wsdl.Output.Headers
}

// element returns an element as an XML document without a declaration.
func (s *Service) element(ctx context.Context, decl *xsd.Element, v any) ([]byte, []fault.Violation, error) {
	w := s.schemas.NewEncoder(ctx)
	wrong, err := w.Element(decl, v)
	if err != nil || len(wrong) > 0 {
		return nil, wrong, err
	}
	text := w.Bytes()
	name := bytes.IndexAny(text, " />")
	return slices.Concat(text[:name], w.Declarations(), text[name:]), nil, nil
}

// Input returns a document as a listener would receive it in the body of an
// operation. The violations are the mismatches with the schema.
func (s *Service) Input(ctx context.Context, op *Operation, v any) (*document.Document, []fault.Violation, error) {
	if op.wsdl.Input.Body == nil {
		return document.Empty, nil, nil
	}
	text, wrong, err := s.element(ctx, op.wsdl.Input.Body, v)
	if err != nil || len(wrong) > 0 {
		return nil, wrong, err
	}
	root, err := convert.XMLTree(ctx, text)
	if err != nil {
		return nil, nil, err
	}
	data, wrong, err := s.schemas.Decode(ctx, root, op.wsdl.Input.Body)
	return document.FromJSON(data), wrong, err
}
