package dataplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"valence/atom"
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/problem"
	"valence/internal/wsdl"
)

// request is one HTTP request being served. It is used by one goroutine.
type request struct {
	server   *Server
	w        http.ResponseWriter
	r        *http.Request
	endpoint *endpoint // nil until routed
	start    time.Time
	arrived  time.Time // when the body had been read, or start

	message  atom.Message
	input    atom.Request
	deadline deadline
	version  wsdl.Version // of SOAP; "" until it is known

	scoped    context.Context // see scope; nil: no scope
	release   func()          // ends the scope
	memory    budget.Share    // bytes of its bodies and their converted forms
	status    int             // 0: nothing written yet
	size      int
	execution string
}

// statusClientClosed is logged if the caller disconnected before the response.
const statusClientClosed = 499

// Constant header values.
var (
	closing  = []string{"close"}
	noStore  = []string{"no-store"}
	jsonBody = []string{"application/json"}
)

func (req *request) serve() {
	if req.serveBuiltin() {
		return
	}
	t, err := req.server.currentRoutes()
	if err != nil {
		req.refuse(unavailable(time.Second))
		return
	}
	p, values := t.find(req.r.URL)
	if p == nil {
		if isMalformedPath(req.r.URL) {
			req.refuse(malformedPathProblem())
			return
		}
		req.refuse(notFound(noListener))
		return
	}
	if values != nil && isMalformedPath(req.r.URL) {
		req.refuse(malformedPathProblem())
		return
	}
	if req.serveDescription(p) {
		return
	}
	e := p.endpoints[req.r.Method]
	if e == nil {
		req.w.Header()["Allow"] = []string{p.allow}
		req.refuse(methodNotAllowed("This path supports " + p.allow + "."))
		return
	}
	req.endpoint = e
	if status, retry := e.limiter.acquire(req.start); status != 0 {
		req.refuse(overLimit(status, retry))
		return
	}
	defer e.limiter.release()
	if refused := req.readMessage(values); refused != nil {
		req.refuse(refused)
		return
	}
	a, refused := req.chooseReplyMode()
	switch {
	case refused != nil:
		req.refuse(refused)
	case e.listen.Output == "", e.listen.OneWay(req.input.Operation):
		req.serveFireAndForget()
	case a.deferred:
		req.serveDeferred(a)
	default:
		req.serveSync()
	}
}

func overLimit(status int, retry time.Duration) *problem.Document {
	return &problem.Document{Status: status, Code: "limited", Title: "Too many requests", RetryAfter: max(retry, time.Second),
		Detail: "Nothing was accepted. Send the request again later."}
}

func malformedPathProblem() *problem.Document {
	return &problem.Document{Status: http.StatusBadRequest, Code: "bad_path", Title: "Invalid path",
		Detail: "The path contains control characters, invalid UTF-8 or dot segments."}
}

// readMessage authenticates the caller, reads and parses the body, and fills
// req.message.
func (req *request) readMessage(values []string) *problem.Document {
	e, r := req.endpoint, req.r
	in := &req.message
	in.CorrelationID = correlation(r.Header)
	early := (e.auth == nil || !e.auth.NeedsBody()) && e.scheme != "wss"
	var who string
	if early {
		var refused *problem.Document
		if who, refused = req.authenticate(nil); refused != nil {
			return refused
		}
	}
	c, refused := e.checkType(r.Header)
	if refused != nil {
		return refused
	}
	stream := early && req.uploads()
	var raw []byte
	digest := ""
	if stream {
		in.Doc, digest, refused = req.receive(c)
		in.ContentHash = digest
		if refused == nil && e.listen.Input == "multipart" { // senders make a new boundary for each attempt
			sum := sha256.Sum256(blob.Stable(document.Shared(in.Doc.Data())))
			in.ContentHash = hex.EncodeToString(sum[:])
		}
	} else {
		raw, refused = req.readBody()
	}
	if refused != nil {
		return refused
	}
	if !early && e.scheme != "wss" {
		if who, refused = req.authenticate(raw); refused != nil {
			return refused
		}
	}
	// The read deadline limits the sender; from here on it would end the request's context while
	// the process runs. Fire-and-forget messages are stored long before it.
	req.arrived = time.Now()
	slow := req.arrived.Sub(req.start) > bodyTimeout/2
	if e.listen.Output != "" || slow {
		req.setReadDeadline(time.Time{})
	}
	if slow {
		req.setWriteDeadline(req.arrived.Add(responseTimeout))
	}
	if !stream {
		body, refused := req.decompress(raw)
		if refused != nil {
			return refused
		}
		if e.listen.Service != nil {
			refused = req.readEnvelope(c, body, &who)
		} else {
			in.Doc, refused = e.parse(req.context(), c, body)
		}
		if refused != nil {
			return refused
		}
	}
	if !in.Doc.IsJSON() {
		if err := req.memory.Reserve(len(in.Doc.Data())); err != nil {
			return outOfMemory(err)
		}
	}
	if e.listen.Output == "" || e.listen.Later() || e.listen.OneWay(req.input.Operation) {
		if in.SHA256 = digest; !stream {
			sum := sha256.Sum256(raw)
			in.SHA256 = hex.EncodeToString(sum[:])
		}
	}
	if r.URL.RawQuery != "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return &problem.Document{Status: http.StatusBadRequest, Code: "bad_query", Title: "Invalid query", Detail: "The query cannot be parsed."}
		}
		if name := undecodable(query); name != nil {
			return &problem.Document{Status: http.StatusBadRequest, Code: "bad_query", Title: "Invalid query",
				Detail: fmt.Sprintf("The query parameter %q is not UTF-8.", strings.ToValidUTF8(*name, "?"))}
		}
		if e.hiddenQuery != "" {
			delete(query, e.hiddenQuery)
		}
		req.input.Query = query
	}
	in.Principal = e.principal(who)
	in.Traceparent = traceOf(r.Header)
	in.Received = req.start.UTC().Truncate(time.Millisecond)
	in.Request = &req.input
	req.input.Method, req.input.Path, req.input.User = r.Method, r.URL.Path, who
	req.input.Params = params(e.params, values)
	req.input.Header, req.input.Hidden = r.Header, e.hiddenHeaders
	return nil
}

// undecodable returns the first parameter, by name, that is not UTF-8, or nil.
func undecodable(query url.Values) (name *string) {
	for n, values := range query {
		valid := utf8.ValidString(n)
		for _, v := range values {
			valid = valid && utf8.ValidString(v)
		}
		if !valid && (name == nil || n < *name) {
			name = &n
		}
	}
	return name
}

// wwwAuthenticate returns the challenge of a 401 response (RFC 9110, section
// 11.6.1).
func wwwAuthenticate(scheme string) string {
	switch scheme {
	case "basic":
		return `Basic realm="valence", charset="UTF-8"`
	case "bearer", "jwt":
		return "Bearer"
	case "api_key":
		return "ApiKey"
	case "hmac":
		return "Signature"
	}
	return "Certificate"
}

func (req *request) authenticate(body []byte) (who string, refused *problem.Document) {
	e := req.endpoint
	if e.auth != nil {
		who, err := e.auth.Authenticate(req.r, body)
		if err == nil {
			return who, nil
		}
	}
	e.metrics.Denied()
	req.w.Header()["Www-Authenticate"] = []string{wwwAuthenticate(e.scheme)}
	return "", &problem.Document{Status: http.StatusUnauthorized, Code: "unauthorized", Title: "Authentication required",
		Detail: "The request has no valid credentials."}
}

// serveSync runs a request/reply process while the caller waits.
func (req *request) serveSync() {
	e := req.endpoint
	ctx := req.scope()
	if t := e.listen.Timeout; t > 0 {
		req.deadline.parent, req.deadline.at, req.deadline.memory = ctx, req.arrived.Add(t), &req.memory
		ctx = &req.deadline
		defer req.deadline.release()
		if t > responseTimeout/2 {
			req.setWriteDeadline(req.arrived.Add(t + responseTimeout))
		}
	}
	reply, err := req.server.options.Atom.Request(ctx, e.deployed, &req.message)
	if err != nil {
		execution := ""
		if reply != nil {
			execution = reply.Execution
		}
		p := req.problemFor(ctx, err, execution)
		if p == nil {
			req.status = statusClientClosed
			return
		}
		req.refuse(p)
		return
	}
	req.writeReply(reply)
}

// serveFireAndForget stores the message and responds with its receipt.
func (req *request) serveFireAndForget() {
	ack, err := req.server.options.Atom.Accept(req.r.Context(), req.endpoint.deployed, &req.message)
	if err != nil {
		p := req.problemFor(req.r.Context(), err, "")
		if p == nil {
			req.status = statusClientClosed
			return
		}
		req.refuse(p)
		return
	}
	req.writeAcknowledgement(ack)
}

// context returns the context of the request with its share of the memory.
func (req *request) context() context.Context {
	if req.scoped != nil {
		return budget.With(req.scoped, &req.memory)
	}
	return budget.With(req.r.Context(), &req.memory)
}

// write sends a complete response.
func (req *request) write(status int, media string, body []byte) {
	h := req.w.Header()
	req.head(media)
	if !bodyAllowed(status) {
		body = nil
	}
	if len(body) > initialBodyBuffer {
		req.setWriteDeadline(time.Now().Add(responseTimeout + time.Duration(len(body))*time.Second/minBodyRate))
	}
	req.status, req.size = status, len(body)
	if status != http.StatusOK {
		if status >= http.StatusBadRequest {
			h["Content-Length"] = []string{strconv.Itoa(len(body))} // complete even if the request's body is not
		}
		req.w.WriteHeader(status)
	}
	if len(body) == 0 {
		return
	}
	// A failed write means that the caller is gone.
	_, _ = req.w.Write(body)
}

// head sets the headers of every response.
func (req *request) head(media string) {
	h := req.w.Header()
	switch media {
	case "":
	case "application/json":
		h["Content-Type"] = jsonBody
	default:
		h["Content-Type"] = []string{media}
	}
	if req.server.draining.Load() {
		h["Connection"] = closing
	}
}

// bodyAllowed reports whether responses with a status have a body.
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified && status != http.StatusResetContent
}

func (req *request) setWriteDeadline(t time.Time) {
	if w, ok := req.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = w.SetWriteDeadline(t) // if unsupported, the server's deadline applies
	}
}

// finish recovers from a panic, then counts and logs the request.
func (req *request) finish() {
	defer req.memory.Close()
	if req.release != nil {
		defer req.release()
	}
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			panic(v)
		}
		req.server.log.Error("request handler panicked", "panic", v, "stack", string(debug.Stack()))
		if req.status == 0 {
			req.refuse(problem.Internal())
		}
	}
	took := time.Since(req.start)
	process := ""
	if req.endpoint != nil {
		process = req.endpoint.process
		req.endpoint.metrics.Request(req.status, took)
	} else {
		req.server.unknown.Request(req.status, took)
	}
	log := req.server.options.Access
	if log == nil {
		return
	}
	if n := req.server.options.AccessEvery; n > 1 && req.status < 400 && req.server.served.Add(1)%uint64(n) != 0 {
		return
	}
	path := req.r.URL.Path
	if strings.HasPrefix(path, callbackPath) {
		path = callbackPath + "…" // the token is a secret
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.String("method", req.r.Method), slog.String("path", path), slog.Int("status", req.status),
		slog.String("process", process), slog.String("execution", req.execution), slog.String("correlation_id", req.message.CorrelationID),
		slog.String("user", req.message.Principal), slog.String("remote", req.r.RemoteAddr), slog.Int("bytes", req.size),
		slog.Float64("took_ms", float64(took.Microseconds())/1000))
}
