package soap

import (
	"context"
	"encoding/xml"
	"net/http"
	"strings"

	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/problem"
	"valence/internal/spec"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// The namespaces of envelopes and of WS-Security.
const (
	envelope11 = "http://schemas.xmlsoap.org/soap/envelope/"
	envelope12 = "http://www.w3.org/2003/05/soap-envelope"
	Security   = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
)

// Envelope is the envelope of a request.
type Envelope struct {
	Version wsdl.Version
	Headers []*convert.Element // header blocks
	body    *convert.Element   // nil: empty
	// Reserved is the memory of the elements in the budget of the request.
	Reserved int
}

// MediaType returns the media type of a version, with its charset.
func MediaType(v wsdl.Version) string {
	if v == wsdl.SOAP12 {
		return "application/soap+xml; charset=utf-8"
	}
	return "text/xml; charset=utf-8"
}

// VersionOf returns the version of a media type; "" if it is not SOAP.
func VersionOf(media string) wsdl.Version {
	switch media {
	case "text/xml":
		return wsdl.SOAP11
	case "application/soap+xml":
		return wsdl.SOAP12
	}
	return ""
}

func namespaceOf(v wsdl.Version) string {
	if v == wsdl.SOAP12 {
		return envelope12
	}
	return envelope11
}

// Parse reads an envelope. version is that of the media type, or "" if the
// request has none. Text that is not XML is an error of package convert. The caller
// returns the memory that the envelope has reserved.
func Parse(ctx context.Context, text []byte, charset string, version wsdl.Version) (*Envelope, *problem.Document, error) {
	text, err := convert.Text(ctx, text, convert.Label{XML: true, Charset: charset})
	if err != nil {
		return nil, nil, err
	}
	root, reserved, err := convert.ReserveXMLTree(ctx, text)
	if err != nil {
		return nil, nil, err
	}
	e := &Envelope{Version: wsdl.SOAP11, Reserved: reserved}
	refused := e.check(root, version)
	if refused != nil {
		budget.From(ctx).Return(reserved)
		return nil, refused, nil
	}
	return e, nil, nil
}

// check sets the version and the content of an envelope.
func (e *Envelope) check(root *convert.Element, version wsdl.Version) *problem.Document {
	switch {
	case root.Name == xml.Name{Space: envelope12, Local: "Envelope"}:
		e.Version = wsdl.SOAP12
	case root.Name == xml.Name{Space: envelope11, Local: "Envelope"}:
	case root.Name.Local == "Envelope":
		return clientFault(CodeVersion, "Version mismatch", "The namespace of the envelope is `"+spec.Clip(root.Name.Space)+"`, which is not that of SOAP 1.1 or 1.2.")
	default:
		return malformed("The root element is <" + spec.Clip(root.Name.Local) + ">, not <Envelope>.")
	}
	if version != "" && version != e.Version {
		return clientFault(CodeVersion, "Version mismatch", "The Content-Type is that of SOAP "+string(version)+", but the envelope is of SOAP "+string(e.Version)+".")
	}
	return e.fill(root)
}

func malformed(detail string) *problem.Document {
	return clientFault("invalid_envelope", "Invalid envelope", detail)
}

// clientFault returns a problem whose cause is the request.
func clientFault(code, title, detail string) *problem.Document {
	return &problem.Document{Status: http.StatusBadRequest, Code: code, Title: title, Detail: detail}
}

// fill sets the header blocks and the body.
func (e *Envelope) fill(root *convert.Element) *problem.Document {
	space, hasBody := root.Name.Space, false
	for i, c := range root.Children {
		switch {
		case c.Name == xml.Name{Space: space, Local: "Header"} && i == 0:
			e.Headers = c.Children
		case c.Name == xml.Name{Space: space, Local: "Body"} && !hasBody:
			hasBody = true
			if len(c.Children) > 1 {
				return malformed("The body has more than one element.")
			}
			if strings.TrimSpace(c.Text) != "" {
				return malformed("The body contains text, but must contain an element.")
			}
			if len(c.Children) == 1 {
				e.body = c.Children[0]
			}
		default:
			return malformed("The element <" + spec.Clip(c.Name.Local) + "> is not allowed at this place of the envelope.")
		}
	}
	if !hasBody {
		return malformed("The envelope has no <Body>.")
	}
	return nil
}

// isBody reports whether the body has a declared element.
func (e *Envelope) isBody(decl *xsd.Element) bool {
	if decl == nil || e.body == nil {
		return decl == nil && e.body == nil
	}
	return e.body.Name == decl.Name
}

// The roles of SOAP that a service has.
var roles = map[string]bool{
	"": true, "http://schemas.xmlsoap.org/soap/actor/next": true,
	envelope12 + "/role/next": true, envelope12 + "/role/ultimateReceiver": true,
}

// mandatory reports whether a header block must be understood by the service.
func (e *Envelope) mandatory(h *convert.Element) bool {
	space, role := namespaceOf(e.Version), "actor"
	if e.Version == wsdl.SOAP12 {
		role = "role"
	}
	must, _ := h.Lookup(xml.Name{Space: space, Local: "mustUnderstand"})
	to, _ := h.Lookup(xml.Name{Space: space, Local: role})
	must = strings.TrimSpace(must)
	return (must == "1" || must == "true") && roles[strings.TrimSpace(to)]
}

func isSecurity(h *convert.Element) bool {
	return h.Name == xml.Name{Space: Security, Local: "Security"}
}

// Security returns the header block of WS-Security; nil if there is none or
// more than one.
func (e *Envelope) Security() (found *convert.Element) {
	for _, h := range e.Headers {
		if !isSecurity(h) {
			continue
		}
		if found != nil {
			return nil
		}
		found = h
	}
	return found
}

// Envelop returns the envelope of a reply with header blocks and the element of its
// body.
func Envelop(v wsdl.Version, blocks, element []byte) []byte {
	b := make([]byte, 0, len(blocks)+len(element)+300)
	b = append(b, xml.Header[:len(xml.Header)-1]...)
	b = append(append(append(b, `<soap:Envelope xmlns:soap="`...), namespaceOf(v)...), `">`...)
	if len(blocks) > 0 {
		b = append(append(append(b, "<soap:Header>"...), blocks...), "</soap:Header>"...)
	}
	b = append(b, "<soap:Body>"...)
	return append(append(b, element...), "</soap:Body></soap:Envelope>\n"...)
}
