package run

import (
	"strconv"

	"valence/atom/steps"
	"valence/internal/document"
	"valence/internal/fault"
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
// that does not match the schema of the operation fails with the mismatches.
func (e *execution) encodeReply(f *steps.Frame, r *Reply) error {
	listen := e.plan.Process.Listen
	if listen == nil || listen.Service == nil {
		return nil
	}
	request, _ := e.Name("request")
	name, _ := document.Key(request, "operation")
	text, _ := name.(string)
	op := listen.Service.Operation(text)
	if op == nil || op.OneWay { // an operator started it, or no caller waits
		return nil
	}
	body, wrong, err := listen.Service.Reply(f.Context(), op, r.Doc.Value())
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
	at := wrong[0].Pointer
	if at == "" {
		at = "it"
	}
	msg := "the reply does not match the schema of " + op.Name + ": " + at + ": " + wrong[0].Detail
	if len(wrong) > 1 {
		msg += " (and " + strconv.Itoa(len(wrong)-1) + " more)"
	}
	return &fault.Failure{Code: fault.CodeInvalid, Message: msg, Problems: wrong}
}
