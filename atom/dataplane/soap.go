package dataplane

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"valence/atom"
	"valence/internal/authn"
	"valence/internal/document"
	"valence/internal/problem"
	"valence/internal/soap"
	"valence/internal/wsdl"
)

// soapVersion returns the version of SOAP in which the request is answered: that
// of its Content-Type, or else of the service.
func (req *request) soapVersion() wsdl.Version {
	s := req.endpoint.listen.Service
	if req.version == "" {
		if c, ok := parseContentType(req.r.Header); ok {
			req.version = soap.VersionOf(c.media)
		}
	}
	if req.version == "" || !s.Speaks(req.version) {
		return s.Version()
	}
	return req.version
}

// readEnvelope reads the envelope of a SOAP request: it authenticates callers by
// WS-Security, finds the operation, and sets the document, the operation and
// the properties of the message. who is the caller, if it is known already.
func (req *request) readEnvelope(c contentType, body []byte, who *string) *problem.Document {
	e := req.endpoint
	s := e.listen.Service
	envelope, refused, err := soap.Parse(req.context(), body, c.charset, soap.VersionOf(c.media))
	switch {
	case err != nil:
		return invalidBody("XML", err)
	case refused != nil:
		return refused
	}
	defer req.memory.Return(envelope.Reserved)
	req.version = envelope.Version
	secured := false
	if e.auth == nil || e.scheme == "wss" {
		if *who, refused = req.authenticateToken(envelope); refused != nil {
			return refused
		}
		secured = true
	}
	action, refused := req.action(c)
	if refused != nil {
		return refused
	}
	call, refused := s.Find(envelope, action)
	if refused != nil {
		return refused
	}
	if refused = call.Understands(secured); refused != nil {
		return refused
	}
	if err := req.memory.Reserve(len(body)); err != nil { // while it is decoded
		return outOfMemory(err)
	}
	doc, headers, wrong, err := s.Document(req.context(), call)
	req.memory.Return(len(body))
	if err != nil {
		return invalidBody("XML", err)
	}
	if len(wrong) > 0 {
		p := &problem.Document{Status: http.StatusBadRequest, Code: "invalid_document", Title: "Invalid document",
			Detail: "The document does not match the schema of " + call.Name + "."}
		for _, v := range wrong {
			p.Errors = append(p.Errors, problem.Violation{Pointer: v.Pointer, Detail: v.Detail})
		}
		return p
	}
	if err := req.memory.Reserve(len(doc.Data()) + call.HeaderBytes); err != nil {
		return outOfMemory(err)
	}
	req.message.Doc, req.input.Operation = doc, call.Name
	req.message.Props = &document.Object{}
	req.message.Props.Set("soap", s.About(envelope.Version, action, headers))
	return nil
}

// action returns the action of a request: the SOAPAction of SOAP 1.1, or the
// parameter of the Content-Type of SOAP 1.2.
func (req *request) action(c contentType) (string, *problem.Document) {
	if req.version == wsdl.SOAP12 {
		return c.params["action"], nil
	}
	values := req.r.Header["Soapaction"]
	if len(values) > 1 {
		return "", &problem.Document{Status: http.StatusBadRequest, Code: "bad_action", Title: "Invalid SOAPAction", Detail: "The request has more than one SOAPAction header."}
	}
	if len(values) == 0 {
		return "", nil
	}
	return strings.Trim(strings.TrimSpace(values[0]), `"`), nil
}

// authenticateToken authenticates a caller by the header of WS-Security.
func (req *request) authenticateToken(envelope *soap.Envelope) (string, *problem.Document) {
	e := req.endpoint
	if tokens, ok := e.auth.(authn.TokenAuthenticator); ok {
		who, err := tokens.AuthenticateToken(envelope.Security())
		var busy *authn.BusyError
		switch {
		case err == nil:
			return who, nil
		case errors.As(err, &busy):
			return "", overLimit(http.StatusServiceUnavailable, busy.RetryAfter)
		}
	}
	e.metrics.Denied()
	return "", &problem.Document{Status: http.StatusBadRequest, Code: soap.CodeFailedSecurity, Title: "Authentication required",
		Detail: "The security token could not be authenticated or authorized."}
}

// refuseSOAP responds with a fault.
func (req *request) refuseSOAP(p *problem.Document) {
	version := req.soapVersion()
	s := req.endpoint.listen.Service
	body, status := s.Fault(req.context(), version, s.Operation(req.input.Operation), p)
	req.write(status, soap.MediaType(version), body)
}

// writeSOAP responds with the envelope of a reply: its header blocks, and the
// element of its body.
func (req *request) writeSOAP(status int, media string, blocks, element []byte) {
	req.write(status, media, soap.Envelop(req.version, blocks, element))
}

// noReply is the problem of a process that ends without a reply.
func noReply(execution string) *problem.Document {
	return &problem.Document{Status: http.StatusInternalServerError, Code: "no_reply", Title: "No reply", Detail: "The service has no reply to this request.", Execution: execution}
}

// writeStoredSOAP responds with a stored reply: the element of the body, or a
// problem document.
func (req *request) writeStoredSOAP(p *atom.StoredReply) {
	h := req.w.Header()
	switch {
	case p.Problem:
		d, err := problem.Parse(p.Body)
		if err != nil {
			d = problem.Internal()
			d.Execution = req.execution
		}
		req.refuse(d)
	case p.Media == "":
		req.refuse(noReply(req.execution))
	default:
		req.writeSOAP(p.Status, setHeaders(h, p.Headers, soap.MediaType(req.version)), nil, p.Body)
	}
}

// serveDescription responds with the WSDL of a listener, or one of its schemas,
// and reports whether the request asked for it.
func (req *request) serveDescription(p *pathMethods) bool {
	e := p.endpoints[http.MethodPost]
	if req.r.URL.RawQuery == "" || e == nil || e.listen.Service == nil || req.r.Method != http.MethodGet && req.r.Method != http.MethodHead {
		return false
	}
	query, err := url.ParseQuery(req.r.URL.RawQuery)
	if err != nil || !soap.Described(query) {
		return false
	}
	req.endpoint = e
	if status, retry := e.limiter.acquire(req.start); status != 0 {
		req.refuse(overLimit(status, retry))
		return true
	}
	defer e.limiter.release()
	if e.scheme != "wss" || e.auth == nil { // a GET has no header of WS-Security
		if _, refused := req.authenticate(nil); refused != nil {
			req.refuse(refused)
			return true
		}
	}
	base := req.publicURL()
	if base == "" {
		req.refuse(&problem.Document{Status: http.StatusBadRequest, Code: "bad_host", Title: "Invalid host", Detail: "The Host header is not valid."})
		return true
	}
	body, ok := e.listen.Service.Describe(query, base)
	if !ok {
		req.endpoint = nil
		req.refuse(notFound("The WSDL has no such file."))
		return true
	}
	req.w.Header()["Cache-Control"] = []string{"no-cache"} // changes with each deployment
	req.write(http.StatusOK, "text/xml; charset=utf-8", body)
	return true
}

// publicURL returns the URL of the request without its query: below the public
// URL of the atom if that is set, else at the requested host. It returns "" if
// the host is not valid.
func (req *request) publicURL() string {
	path := req.r.URL.EscapedPath()
	if base := req.server.options.PublicURL; base != "" {
		return strings.TrimSuffix(base, "/") + path
	}
	host := req.r.Host
	if host == "" || len(host) > 255 {
		return ""
	}
	for i := range len(host) {
		c := host[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(".-_:[]", c) < 0 {
			return ""
		}
	}
	if req.r.TLS != nil {
		return "https://" + host + path
	}
	return "http://" + host + path
}
