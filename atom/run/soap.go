package run

import (
	"context"
	"strconv"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/soap"
)

// missingReply returns the warning of an execution that ended without a reply.
func (e *execution) missingReply() string {
	if l := e.plan.Process.Listen; l != nil && l.Service != nil {
		return "the path that was taken has no reply: the caller got a fault"
	}
	return noReply
}

// encodeReply puts the element of the body in the place of the document of a
// reply to a SOAP request. Its data remains that of the document. A document
// that does not match the schema of the operation fails with the mismatches, and
// so do header blocks.
func (e *execution) encodeReply(f *steps.Frame, r *Reply, blocks *document.Object) error {
	listen := e.plan.Process.Listen
	if listen == nil || listen.Service == nil {
		return nil
	}
	op := e.operation()
	if op == nil || op.OneWay { // an operator started it, or no caller waits
		return nil
	}
	body, wrong, err := listen.Service.Reply(f.Context(), op, r.Doc.Value())
	if err == nil && len(wrong) == 0 {
		r.Blocks, wrong, err = listen.Service.Headers(f.Context(), op, blocks)
	}
	if err != nil {
		return err
	}
	if len(wrong) == 0 {
		data := r.Doc.Data()
		if data == "" {
			data = "null"
		}
		r.Doc = document.New(body, "application/xml; charset=utf-8", data)
		return nil
	}
	return schemaMismatch("the reply does not match the schema of "+op.Name, wrong)
}

// schemaMismatch returns the failure of a document that does not match its schema.
func schemaMismatch(msg string, wrong []fault.Violation) *fault.Failure {
	at := wrong[0].Pointer
	if at == "" {
		at = "it"
	}
	msg += ": " + at + ": " + wrong[0].Detail
	if len(wrong) > 1 {
		msg += " (and " + strconv.Itoa(len(wrong)-1) + " more)"
	}
	return &fault.Failure{Code: fault.CodeInvalid, Message: msg, Problems: wrong}
}

// operation returns the operation of a SOAP request; nil if there is none, or if
// an operator started the execution.
func (e *execution) operation() *soap.Operation {
	listen := e.plan.Process.Listen
	if listen == nil || listen.Service == nil {
		return nil
	}
	request, _ := e.Name("request")
	name, _ := document.Key(request, "operation")
	text, _ := name.(string)
	return listen.Service.Operation(text)
}

// checkDetail returns a failure with a `detail:` that the caller may receive, or
// the failure of one that does not match the WSDL.
func (e *execution) checkDetail(ctx context.Context, f *fault.Failure) *fault.Failure {
	if f == nil || f.Detail == nil || f.Source != fault.FromAuthor {
		return f
	}
	op := e.operation()
	if op == nil {
		return f
	}
	_, wrong, err := e.plan.Process.Listen.Service.FaultDetail(ctx, op, f.Detail)
	if err != nil || len(wrong) == 0 { // without a caller there is no fault
		return f
	}
	invalid := schemaMismatch("the detail of the fault does not match the schema of "+op.Name, wrong)
	invalid.Step, invalid.Pos, invalid.Keys, invalid.Cause = f.Step, f.Pos, f.Keys, f
	return invalid
}
