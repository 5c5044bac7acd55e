package soap

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"strings"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/problem"
	"valence/internal/spec"
	"valence/internal/wsdl"
)

// The codes of problems that SOAP defines.
const (
	CodeVersion        = "version_mismatch"
	CodeNotUnderstood  = "must_understand"
	CodeFailedSecurity = "failed_authentication" // of WS-Security
)

// transportStatus are the statuses that a fault retains: they concern HTTP, not
// the message.
var transportStatus = map[int]bool{
	http.StatusUnauthorized: true, http.StatusRequestTimeout: true, http.StatusRequestEntityTooLarge: true, http.StatusUnsupportedMediaType: true,
	http.StatusTooManyRequests: true, http.StatusServiceUnavailable: true, http.StatusGatewayTimeout: true,
}

// Fault returns the envelope of a problem, and its HTTP status: 500, except for
// statuses that concern HTTP. SOAP 1.2 has 400 for errors of the sender, but
// clients such as Apache CXF discard the fault of such a response.
// The detail is the element that the process chose, if op declares it, or else
// the problem document.
func (s *Service) Fault(ctx context.Context, v wsdl.Version, op *Operation, p *problem.Document) (body []byte, status int) {
	ofSender := p.Status >= 400 && p.Status < 500
	status = http.StatusInternalServerError
	if transportStatus[p.Status] {
		status = p.Status
	}
	class, own, space := "Server", "", ""
	if ofSender {
		class = "Client"
	}
	switch {
	case p.Code == CodeVersion:
		class = "VersionMismatch"
	case p.Code == CodeNotUnderstood:
		class = "MustUnderstand"
	case p.Code == CodeFailedSecurity:
		own, space = "FailedAuthentication", Security
	case p.Rejected && convert.IsXMLName(p.Code):
		own, space = p.Code, s.space
	}
	details, wrong, err := s.FaultDetail(ctx, op, p.Fault)
	if err != nil || len(wrong) > 0 || details == nil {
		details = described(p)
	}
	b := &bytes.Buffer{}
	if v == wsdl.SOAP12 {
		fault12(b, class, own, space, p, details)
	} else {
		fault11(b, class, own, space, p, details)
	}
	return Envelop(v, nil, b.Bytes()), status
}

// FaultDetail returns the fault element of an operation for the JSON of a detail,
// an object with its name as the only key. It returns nil if there is no detail,
// or no caller for it. The violations are the mismatches with the WSDL.
func (s *Service) FaultDetail(ctx context.Context, op *Operation, detail []byte) ([]byte, []fault.Violation, error) {
	if detail == nil || op == nil || op.OneWay {
		return nil, nil, ctx.Err()
	}
	o, _ := document.Decode(document.Parse(string(detail))).(*document.Object)
	if o == nil || o.Len() != 1 {
		return nil, []fault.Violation{{Detail: "it must be an object with one key, the name of a fault element"}}, ctx.Err()
	}
	name, v := o.At(0)
	decl := op.FaultElement(name)
	if decl == nil {
		return nil, []fault.Violation{{Detail: "the WSDL declares no fault element " + spec.Clip(name) + " for " + op.Name}}, ctx.Err()
	}
	text, wrong, err := s.element(ctx, decl, v)
	for i := range wrong {
		wrong[i].Pointer = "/" + name + wrong[i].Pointer
	}
	return text, wrong, err
}

func fault11(b *bytes.Buffer, class, own, space string, p *problem.Document, details []byte) {
	b.WriteString("<soap:Fault>")
	if own != "" {
		code(b, "faultcode", own, space)
	} else {
		b.WriteString("<faultcode>soap:" + class + "</faultcode>")
	}
	b.WriteString(`<faultstring xml:lang="en">`)
	escape(b, reason(p))
	b.WriteString("</faultstring>")
	detail(b, "detail", details)
	b.WriteString("</soap:Fault>")
}

func fault12(b *bytes.Buffer, class, own, space string, p *problem.Document, details []byte) {
	switch class {
	case "Client":
		class = "Sender"
	case "Server":
		class = "Receiver"
	}
	b.WriteString("<soap:Fault><soap:Code><soap:Value>soap:" + class + "</soap:Value>")
	if own != "" {
		b.WriteString("<soap:Subcode>")
		code(b, "soap:Value", own, space)
		b.WriteString("</soap:Subcode>")
	}
	b.WriteString(`</soap:Code><soap:Reason><soap:Text xml:lang="en">`)
	escape(b, reason(p))
	b.WriteString("</soap:Text></soap:Reason>")
	detail(b, "soap:Detail", details)
	b.WriteString("</soap:Fault>")
}

// code writes an element with a qualified name of another namespace.
func code(b *bytes.Buffer, element, name, space string) {
	b.WriteString("<" + element)
	if space != "" {
		b.WriteString(` xmlns:e="`)
		escape(b, space)
		b.WriteString(`"`)
		name = "e:" + name
	}
	b.WriteString(">" + name + "</" + element + ">")
}

// described returns the problem document as an element, if it names values or an
// execution. A fault that does not concern the body has no detail (SOAP 1.1,
// section 4.4).
func described(p *problem.Document) []byte {
	if len(p.Errors) == 0 && p.Execution == "" {
		return nil
	}
	return bytes.TrimSpace(bytes.TrimPrefix(p.XML(), []byte(xml.Header)))
}

func detail(b *bytes.Buffer, element string, content []byte) {
	if content == nil {
		return
	}
	b.WriteString("<" + element + ">")
	b.Write(content)
	b.WriteString("</" + element + ">")
}

// maxReasons bounds the violations in the reason of a fault.
const maxReasons = 3

// reason returns the text of a fault.
func reason(p *problem.Document) string {
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	var more []string
	for _, e := range p.Errors {
		if len(more) < maxReasons {
			more = append(more, strings.TrimPrefix(e.Pointer+": "+e.Detail, ": "))
		}
	}
	if len(more) == 0 {
		return text
	}
	return strings.TrimSuffix(text, ".") + ": " + strings.Join(more, "; ")
}

func escape(b *bytes.Buffer, text string) {
	_ = xml.EscapeText(b, []byte(strings.ToValidUTF8(text, "\uFFFD"))) // a buffer does not fail
}
