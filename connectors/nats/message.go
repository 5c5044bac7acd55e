package nats

import (
	"context"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"valence/connectors"
	"valence/connectors/content"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// Headers with a meaning. Names are sent as written and read in any case.
const (
	headerContentType = "Content-Type"
	headerCorrelation = "Correlation-Id"
	headerReplyTo     = "Reply-To"
	headerTraceparent = "traceparent"
	// headerService and headerServiceCode report the error of a NATS service.
	headerService     = "Nats-Service-Error"
	headerServiceCode = "Nats-Service-Error-Code"
)

// outgoing returns the message that sends a document. Headers of the call
// replace those of the connector.
func outgoing(subject string, call *connectors.Call, headers []spec.KV) (*nats.Msg, error) {
	if why := subjectProblem(subject); why != "" {
		return nil, badCall("%s: %s", quoted("cannot send to", spec.Clip(subject)), why)
	}
	m := nats.NewMsg(subject)
	set := func(name, value string) {
		if value != "" && headerProblem(name, value) == "" {
			m.Header[name] = []string{value}
		}
	}
	if call.Body != nil {
		body, mediaType, err := call.Body.Content()
		if err != nil {
			return nil, badCall("cannot send the document: %v", err)
		}
		m.Data = body
		if len(body) > 0 {
			set(headerContentType, mediaType)
		}
	}
	set(headerCorrelation, call.CorrelationID)
	set(headerTraceparent, call.Traceparent)
	set(nats.MsgIdHdr, call.IdempotencyKey)
	for _, h := range headers {
		if why := headerProblem(h.Name, h.Value); why != "" {
			return nil, badCall("headers: %s", why)
		}
		for name := range m.Header {
			if strings.EqualFold(name, h.Name) {
				delete(m.Header, name)
			}
		}
		m.Header[h.Name] = []string{h.Value}
	}
	return m, nil
}

// headerProblem returns why a header cannot be sent, or "".
func headerProblem(name, value string) string {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r >= 0x7f }) {
		return "the name of a header must be ASCII without white space and colons"
	}
	if strings.ContainsAny(value, "\r\n\x00") {
		return "the value of " + spec.Clip(name) + " contains a line break or a NUL"
	}
	return ""
}

// header returns the first value of a header, whatever its case.
func header(h nats.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	for k, v := range h {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// decode reads the payload of a message by its Content-Type. Without one it is
// JSON, text or binary, whatever it is valid as.
func decode(ctx context.Context, m *nats.Msg) (*document.Document, error) {
	mediaType := header(m.Header, headerContentType)
	if mediaType != "" || len(m.Data) == 0 {
		return content.Typed(ctx, m.Data, mediaType, "", "")
	}
	if doc, err := content.Typed(ctx, m.Data, "", convert.FormatJSON, ""); err == nil || ctx.Err() != nil || budget.Failure(err) != nil {
		return doc, err
	}
	if utf8.Valid(m.Data) {
		return content.Typed(ctx, m.Data, "", convert.FormatText, "")
	}
	return content.Typed(ctx, m.Data, "", convert.FormatBinary, "")
}

// incoming returns a received message. A payload that does not match
// its Content-Type is refused.
func incoming(ctx context.Context, m *nats.Msg) *connectors.Message {
	out := &connectors.Message{
		Props:         properties(m),
		CorrelationID: header(m.Header, headerCorrelation),
		Traceparent:   header(m.Header, headerTraceparent),
	}
	var err error
	if out.Doc, err = decode(ctx, m); err != nil {
		out.Doc = document.New(m.Data, "", "")
		out.Invalid = connectors.Failf(fault.CodeAnswer, false, err, "cannot read the message as %s: %v", spec.Clip(header(m.Header, headerContentType)), err)
	}
	return out
}

// properties returns the `props` of a message in the process.
func properties(m *nats.Msg) *document.Object {
	headers := &document.Object{}
	names := make([]string, 0, len(m.Header))
	for name := range m.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		headers.Set(textproto.CanonicalMIMEHeaderKey(name), strings.Join(m.Header[name], ", "))
	}
	o := &document.Object{}
	o.Set("subject", m.Subject)
	o.Set("headers", headers)
	return o
}

// replyAddress returns a subject to which a reply may be sent, or "". Subjects
// that begin with $ belong to the server: a sender could otherwise make the atom
// call the server's API.
func replyAddress(subject string) string {
	if strings.HasPrefix(subject, "$") || subjectProblem(subject) != "" {
		return ""
	}
	return subject
}
