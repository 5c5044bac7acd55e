package soap

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"

	"valence/internal/convert"
	"valence/internal/problem"
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
func (s *Service) Fault(v wsdl.Version, p *problem.Document) (body []byte, status int) {
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
	b := &bytes.Buffer{}
	if v == wsdl.SOAP12 {
		fault12(b, class, own, space, p)
	} else {
		fault11(b, class, own, space, p)
	}
	return Envelop(v, b.Bytes()), status
}

func fault11(b *bytes.Buffer, class, own, space string, p *problem.Document) {
	b.WriteString("<soap:Fault>")
	if own != "" {
		code(b, "faultcode", own, space)
	} else {
		b.WriteString("<faultcode>soap:" + class + "</faultcode>")
	}
	b.WriteString(`<faultstring xml:lang="en">`)
	escape(b, reason(p))
	b.WriteString("</faultstring>")
	detail(b, "detail", p)
	b.WriteString("</soap:Fault>")
}

func fault12(b *bytes.Buffer, class, own, space string, p *problem.Document) {
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
	detail(b, "soap:Detail", p)
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

// detail writes the problem document, if it names values or an execution. A
// fault that does not concern the body has none (SOAP 1.1, section 4.4).
func detail(b *bytes.Buffer, element string, p *problem.Document) {
	if len(p.Errors) == 0 && p.Execution == "" {
		return
	}
	text := p.XML()
	text = bytes.TrimSpace(bytes.TrimPrefix(text, []byte(xml.Header)))
	b.WriteString("<" + element + ">")
	b.Write(text)
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
