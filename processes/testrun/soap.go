package testrun

import (
	"context"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/soap"
	"valence/processes"
)

// soapInput returns the document that a SOAP listener would pass on, and its
// operation. The input of a run is the content of the body, or a file with an
// envelope.
func (r *Run) soapInput(s *soap.Service) (*document.Document, string, error) {
	operation := ""
	if r.Request != nil {
		operation = r.Request.Operation
	}
	in := &processes.Fixture{Pos: r.Test.Pos, Content: []byte("null")}
	if r.Input != nil {
		in = r.Input
	}
	fail := func(code fault.Code, msg, hint string) (*document.Document, string, error) {
		return nil, "", &fault.Problem{Pos: in.Pos, Code: code, Msg: msg, Hint: hint}
	}
	if in.File != "" && strings.HasSuffix(in.File, ".xml") {
		return r.envelope(s, in)
	}
	if operation == "" && len(s.Operations) == 1 {
		operation = s.Operations[0].Name
	}
	op := s.Operation(operation)
	if op == nil {
		return fail(processes.CodeUnknownOperation, "the request has no operation", "add `request: { operation: NAME }` with one of: "+strings.Join(s.OperationNames(), ", "))
	}
	doc, err := fixtureDocument(in, convert.Received{})
	if err != nil {
		return nil, "", err
	}
	doc, wrong, err := s.Input(context.Background(), op, doc.Value())
	if err != nil {
		return nil, "", err
	}
	if len(wrong) > 0 {
		return fail(processes.CodeBadFile, "the input does not match the schema of "+op.Name+": "+violations(wrong), "correct "+named(in)+": the listener rejects such a document")
	}
	return doc, op.Name, nil
}

// envelope returns the document and the operation of a file with an envelope.
func (r *Run) envelope(s *soap.Service, in *processes.Fixture) (*document.Document, string, error) {
	msg, ctx := "", context.Background()
	e, refused, err := soap.Parse(ctx, in.Content, "", "")
	if err == nil && refused == nil {
		var call *soap.Call
		if call, refused = s.Find(e, ""); refused == nil {
			doc, _, wrong, err := s.Document(ctx, call)
			if err == nil && len(wrong) == 0 {
				return doc, call.Name, nil
			}
			msg = "the content of the envelope does not match the schema of " + call.Name + ": " + violations(wrong)
		}
	}
	switch {
	case err != nil:
		msg = err.Error()
	case refused != nil:
		msg = refused.Detail
	}
	return nil, "", &fault.Problem{Pos: in.Pos, Code: processes.CodeBadFile, Msg: msg, Hint: "correct " + named(in)}
}

func violations(wrong []fault.Violation) string {
	text := make([]string, len(wrong))
	for i, v := range wrong {
		text[i] = strings.TrimPrefix(v.Pointer+": "+v.Detail, ": ")
	}
	return strings.Join(text, "; ")
}
