package soap

import (
	"bytes"
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"strings"

	"valence/connectors"
	"valence/connectors/httpclient"
	"valence/internal/access"
	"valence/internal/budget"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// The namespaces of envelopes.
const (
	envelope11 = "http://schemas.xmlsoap.org/soap/envelope/"
	envelope12 = "http://www.w3.org/2003/05/soap-envelope"
)

// exchange is an operation with the definition that describes it.
type exchange struct {
	d    *wsdl.Definition
	port *wsdl.Port
	op   *wsdl.Operation
}

func (x *exchange) space() string {
	if x.op.Version == wsdl.SOAP12 {
		return envelope12
	}
	return envelope11
}

// envelope returns the request of a call.
func (x *exchange) envelope(ctx context.Context, c *connection, w *callWith, doc *document.Document) ([]byte, *fault.Failure) {
	e := x.d.Schemas.NewEncoder(ctx)
	var wrong []fault.Violation
	given, isObject := document.Decode(document.FromPlain(w.Headers)).(*document.Object)
	if w.Headers != nil && !isObject {
		return nil, fault.Failf("bad_call", "headers must be an object with a key for each header block")
	}
	if !isObject {
		given = &document.Object{}
	}
	for _, h := range x.op.Input.Headers {
		if v, ok := given.Get(h.Name.Local); ok {
			more, _ := e.Element(h, v)
			wrong = append(wrong, more...)
		}
	}
	for i := range given.Len() {
		if key, _ := given.At(i); !declares(x.op.Input.Headers, key) {
			wrong = append(wrong, fault.Violation{Detail: undeclared(x.op, key)})
		}
	}
	split := len(e.Bytes())
	if x.op.Input.Body != nil {
		var v any
		if doc != nil {
			v = doc.Value()
		}
		more, err := e.Element(x.op.Input.Body, v)
		if err != nil {
			return nil, connectors.Interrupted(ctx, x.op.Name)
		}
		wrong = append(wrong, more...)
	}
	if len(wrong) > 0 {
		return nil, badDocument(x.op.Name, wrong)
	}
	headers := string(e.Bytes()[:split]) + c.Security.header()
	var out bytes.Buffer
	out.WriteString(`<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="` + x.space() + `"`)
	out.Write(e.Declarations())
	out.WriteByte('>')
	if headers != "" {
		out.WriteString("<soap:Header>" + headers + "</soap:Header>")
	}
	out.WriteString("<soap:Body>")
	out.Write(e.Bytes()[split:])
	out.WriteString("</soap:Body></soap:Envelope>")
	return out.Bytes(), nil
}

func declares(list []*xsd.Element, name string) bool {
	for _, e := range list {
		if e.Name.Local == name {
			return true
		}
	}
	return false
}

// listed returns violations as text.
func listed(wrong []fault.Violation) string {
	text := make([]string, len(wrong))
	for i, v := range wrong {
		text[i] = strings.TrimPrefix(v.Pointer+": "+v.Detail, ": ")
	}
	return strings.Join(text, "; ")
}

func badDocument(operation string, wrong []fault.Violation) *fault.Failure {
	f := fault.Failf("bad_call", "the document does not match the schema of %s: %s", operation, listed(wrong))
	f.Problems = wrong
	return f
}

// call sends one request and reads the response.
func (c *connection) call(ctx context.Context, x *exchange, w *callWith, call *connectors.Call) (*connectors.Result, error) {
	body, f := x.envelope(ctx, c, w, call.Body)
	if f != nil {
		return nil, f
	}
	at := c.URL
	if at == "" {
		at = x.port.Address
	}
	u, err := address(at)
	if err != nil {
		return nil, fault.Failf("bad_call", "the WSDL has no usable address: set `url:` of the connection")
	}
	progress := &httpclient.Progress{}
	req, err := nethttp.NewRequestWithContext(progress.Trace(ctx, nil), nethttp.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fault.Failf("bad_call", "cannot build the request")
	}
	c.setHeaders(req.Header, x.op, call)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		var refusal *access.Refusal
		if errors.As(err, &refusal) {
			return nil, connectors.Failf(fault.CodeRefused, false, err, "%s: %v", x.op.Name, refusal)
		}
		return nil, progress.Failure(ctx, err, x.op.Name)
	}
	defer resp.Body.Close()
	memory := budget.From(ctx)
	answer, err := httpclient.ReadBody(memory, resp, c.MaxResponse)
	defer memory.Return(cap(answer))
	if err != nil {
		return nil, httpclient.BodyFailure(ctx, err, x.op.Name, c.MaxResponse)
	}
	return c.result(ctx, x, resp, answer)
}

func (c *connection) setHeaders(h nethttp.Header, op *wsdl.Operation, call *connectors.Call) {
	for _, kv := range c.Headers {
		h.Set(kv.Name, kv.Value)
	}
	h.Set("User-Agent", c.agent)
	h["Accept-Encoding"] = []string{"gzip"}
	if op.Version == wsdl.SOAP12 {
		h.Set("Content-Type", `application/soap+xml; charset=utf-8; action="`+op.Action+`"`)
	} else {
		h.Set("Content-Type", "text/xml; charset=utf-8")
		h["SOAPAction"] = []string{`"` + op.Action + `"`}
	}
	if call.CorrelationID != "" {
		h.Set("Correlation-Id", call.CorrelationID)
	}
	if call.Traceparent != "" {
		h.Set("Traceparent", call.Traceparent)
	}
	if call.IdempotencyKey != "" {
		// Go's transport repeats requests with the canonical name by itself.
		h["idempotency-key"] = []string{call.IdempotencyKey}
	}
}

// result reads a response: a document, or a fault.
func (c *connection) result(ctx context.Context, x *exchange, resp *nethttp.Response, answer []byte) (*connectors.Result, error) {
	r := &connectors.Result{Doc: document.Empty, Headers: resp.Header}
	ok := resp.StatusCode >= 200 && resp.StatusCode < 300
	if ok && (x.op.Output == nil || len(bytes.TrimSpace(answer)) == 0 && x.op.Output.Body == nil) {
		return r, nil
	}
	body, reserved, f := x.content(ctx, resp, answer)
	defer budget.From(ctx).Return(reserved)
	switch {
	case f != nil && ok:
		return nil, f
	case f != nil:
		f = connectors.Failf(fault.CodeStatus, connectors.RetryableStatus(resp.StatusCode), nil, "%s returned %s", x.op.Name, resp.Status)
		f.Status, f.Body = resp.StatusCode, answer[:min(len(answer), 64<<10)]
		return nil, f
	case body != nil && body.Name.Local == "Fault" && body.Name.Space == x.space():
		return nil, x.fault(ctx, resp.StatusCode, body)
	case body == nil || x.op.Output.Body == nil:
		return r, nil
	case body.Name.Local != x.op.Output.Body.Name.Local:
		return nil, connectors.Failf(fault.CodeAnswer, false, nil, "%s: the body has the element <%s>, want <%s>", x.op.Name, body.Name.Local, x.op.Output.Body.Name.Local)
	}
	data, wrong, err := x.d.Schemas.Accept(ctx, body, x.op.Output.Body)
	if err != nil {
		return nil, connectors.Interrupted(ctx, x.op.Name)
	}
	if len(wrong) > 0 && c.CheckResponses {
		f := connectors.Failf(fault.CodeAnswer, false, nil, "the response does not match the schema of %s: %s; set `check_responses: false` to accept it", x.op.Name, listed(wrong))
		f.Status, f.Body = resp.StatusCode, answer[:min(len(answer), 64<<10)]
		return nil, f
	}
	r.Doc = document.FromJSON(data)
	return r, nil
}

// content returns the element in the body of a response, with its attachments;
// nil if it is empty. reserved is the memory that they hold.
func (x *exchange) content(ctx context.Context, resp *nethttp.Response, answer []byte) (body *convert.Element, reserved int, f *fault.Failure) {
	envelope, files, reserved, err := unpack(budget.From(ctx), resp.Header.Get("Content-Type"), answer)
	if err == nil {
		tree := 0
		body, tree, f = x.body(ctx, resp, envelope)
		reserved += tree
	}
	if err == nil && body != nil {
		err = files.include(body)
	}
	if err != nil {
		if f = budget.Failure(err); f == nil {
			f = connectors.Failf(fault.CodeAnswer, false, err, "%s: %v", x.op.Name, err)
			f.Status = resp.StatusCode
		}
	}
	return body, reserved, f
}

// body returns the element in the body of an envelope, nil if it is empty, and the
// memory that the envelope has reserved.
func (x *exchange) body(ctx context.Context, resp *nethttp.Response, answer []byte) (*convert.Element, int, *fault.Failure) {
	text, err := convert.Text(ctx, answer, convert.Label{XML: true})
	if err == nil {
		answer = text
	}
	root, reserved, err := convert.ReserveXMLTree(ctx, answer)
	if err != nil {
		f := connectors.Interrupted(ctx, x.op.Name)
		if f == nil {
			f = budget.Failure(err)
		}
		if f == nil {
			f = connectors.Failf(fault.CodeAnswer, false, err, "%s: the response is not valid XML: %v", x.op.Name, err)
			f.Status = resp.StatusCode
		}
		return nil, 0, f
	}
	for _, c := range root.Children {
		if root.Name.Local == "Envelope" && c.Name.Local == "Body" && c.Name.Space == root.Name.Space && c.Name.Space == x.space() {
			if len(c.Children) == 0 {
				return nil, reserved, nil
			}
			return c.Children[0], reserved, nil
		}
	}
	return nil, reserved, connectors.Failf(fault.CodeAnswer, false, io.ErrUnexpectedEOF, "%s: the response is not an envelope of SOAP %s", x.op.Name, x.op.Version)
}
