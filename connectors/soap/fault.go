package soap

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"slices"
	"strings"
	"time"

	"valence/connectors"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// below returns the first element on a path of local names, or nil.
func below(e *convert.Element, path ...string) *convert.Element {
next:
	for _, name := range path {
		for _, c := range e.Children {
			if c.Name.Local == name {
				e = c
				continue next
			}
		}
		return nil
	}
	return e
}

func textOf(e *convert.Element) string {
	if e == nil {
		return ""
	}
	return strings.TrimSpace(e.Text)
}

// fault returns the failure for a fault. Its code is the most specific one,
// without a prefix, but never one of the runtime's own, which decide about
// catching and retrying. A fault of the server that has no declared detail may
// succeed at another attempt.
func (x *exchange) fault(ctx context.Context, status int, e *convert.Element) *fault.Failure {
	class, code := textOf(below(e, "faultcode")), ""
	message, detail := textOf(below(e, "faultstring")), below(e, "detail")
	if e.Name.Space == envelope12 {
		class, code = textOf(below(e, "Code", "Value")), textOf(below(e, "Code", "Subcode", "Value"))
		message, detail = textOf(below(e, "Reason", "Text")), below(e, "Detail")
	}
	class, code = local(class), local(code)
	if code == "" {
		code = class
	}
	if slices.Contains(fault.Codes(), code) {
		message, code = strings.TrimSpace(code+": "+message), ""
	}
	if code == "" {
		code = "Fault"
	}
	f := connectors.Failf(code, class == "Server" || class == "Receiver", nil, "%s: %s", x.op.Name, message)
	f.Status = status
	if detail == nil || len(detail.Children) == 0 {
		return f
	}
	o := &document.Object{}
	for _, c := range detail.Children {
		data := xsd.Generic(c)
		if decl := x.d.Schemas.Element(c.Name); decl != nil {
			f.Retryable = false
			data, _, _ = x.d.Schemas.Decode(ctx, c, decl)
		}
		o.Set(c.Name.Local, document.Parse(string(data)))
	}
	f.Detail = document.AppendJSON(nil, o)
	return f
}

// codes returns the codes of the faults of a port: those of its version of SOAP,
// of WS-Security, and those of the service.
func codes(port *wsdl.Port, own []string) []string {
	all := []string{"Fault", "VersionMismatch", "MustUnderstand", "UnsupportedSecurityToken", "UnsupportedAlgorithm", "InvalidSecurity",
		"InvalidSecurityToken", "FailedAuthentication", "FailedCheck", "SecurityTokenUnavailable", "MessageExpired"}
	if port.Version == wsdl.SOAP12 {
		all = append(all, "Sender", "Receiver", "DataEncodingUnknown")
	} else {
		all = append(all, "Client", "Client.", "Server", "Server.")
	}
	return append(all, own...)
}

// local returns a name without its prefix.
func local(name string) string {
	if i := strings.LastIndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// The namespaces and types of WS-Security.
const (
	wsse     = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
	wsu      = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
	password = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#Password"
	encoding = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
)

// header returns the header block of WS-Security, or "".
func (s *security) header() string {
	if s.User == "" {
		return ""
	}
	now := time.Now().UTC()
	created := now.Format("2006-01-02T15:04:05.000Z")
	var out strings.Builder
	out.WriteString(`<wsse:Security soap:mustUnderstand="1" xmlns:wsse="` + wsse + `" xmlns:wsu="` + wsu + `">`)
	if s.Timestamp > 0 {
		out.WriteString("<wsu:Timestamp><wsu:Created>" + created + "</wsu:Created><wsu:Expires>" + now.Add(s.Timestamp).Format("2006-01-02T15:04:05.000Z") + "</wsu:Expires></wsu:Timestamp>")
	}
	out.WriteString("<wsse:UsernameToken><wsse:Username>" + escaped(s.User) + "</wsse:Username>")
	if s.Type == "digest" {
		nonce := make([]byte, 16)
		_, _ = rand.Read(nonce) // never fails
		sum := sha1.Sum(append(append(append([]byte{}, nonce...), created...), s.Password...))
		out.WriteString(`<wsse:Password Type="` + password + `Digest">` + base64.StdEncoding.EncodeToString(sum[:]) + `</wsse:Password><wsse:Nonce EncodingType="` + encoding + `">` +
			base64.StdEncoding.EncodeToString(nonce) + "</wsse:Nonce><wsu:Created>" + created + "</wsu:Created>")
	} else {
		out.WriteString(`<wsse:Password Type="` + password + `Text">` + escaped(s.Password) + "</wsse:Password>")
	}
	out.WriteString("</wsse:UsernameToken></wsse:Security>")
	return out.String()
}

func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a builder never fails
	return b.String()
}
