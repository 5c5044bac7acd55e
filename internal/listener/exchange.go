package listener

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"valence/atom"
)

// exchange is one request and its answer.
type exchange struct {
	server   *Server
	w        http.ResponseWriter
	r        *http.Request
	endpoint *endpoint // nil until it is found
	start    time.Time

	arrival  atom.Arrival
	request  atom.Request
	deadline deadline

	status    int // 0: nothing was written
	size      int
	execution string
}

// statusGone is logged where the caller left before the answer.
const statusGone = 499

// Header values that never differ.
var (
	closing  = []string{"close"}
	noStore  = []string{"no-store"}
	jsonBody = []string{"application/json"}
)

func (x *exchange) serve() {
	if x.own() {
		return
	}
	t, err := x.server.open()
	if err != nil {
		x.refuse(unavailableProblem(time.Second))
		return
	}
	p, values := t.find(x.r.URL)
	if p == nil {
		if badPath(x.r.URL) {
			x.refuse(badPathProblem())
			return
		}
		x.refuse(notFound())
		return
	}
	if values != nil && badPath(x.r.URL) {
		x.refuse(badPathProblem())
		return
	}
	e := p.methods[x.r.Method]
	if e == nil {
		x.w.Header()["Allow"] = []string{p.allow}
		x.refuse(&problem{status: http.StatusMethodNotAllowed, kind: "method_not_allowed", title: "The method is not allowed here",
			detail: "This path takes " + p.allow + "."})
		return
	}
	x.endpoint = e
	if status, retry := e.load.enter(x.start); status != 0 {
		x.refuse(&problem{status: status, kind: "limited", title: "Too many requests", retry: max(retry, time.Second),
			detail: "Nothing was accepted. Send the request again later."})
		return
	}
	defer e.load.leave()
	if refused := x.intake(values); refused != nil {
		x.refuse(refused)
		return
	}
	a, refused := x.asks()
	switch {
	case refused != nil:
		x.refuse(refused)
	case e.listen.Output == "":
		x.accept()
	case a.later:
		x.later(a)
	default:
		x.reply()
	}
}

func badPathProblem() *problem {
	return &problem{status: http.StatusBadRequest, kind: "bad_path", title: "The path is not valid",
		detail: "The path holds control characters, broken UTF-8 or dot segments."}
}

// intake authenticates the caller, reads and parses the body, and fills the arrival.
func (x *exchange) intake(values []string) *problem {
	e, r := x.endpoint, x.r
	in := &x.arrival
	in.CorrelationID = correlation(r.Header)
	early := e.auth == nil || !e.auth.NeedsBody()
	var who string
	if early {
		var refused *problem
		if who, refused = x.authenticate(nil); refused != nil {
			return refused
		}
	}
	c, refused := e.checkType(r.Header)
	if refused != nil {
		return refused
	}
	raw, refused := x.read()
	if refused != nil {
		return refused
	}
	if !early {
		if who, refused = x.authenticate(raw); refused != nil {
			return refused
		}
	}
	// The server's deadline was for the sender; from here on it would end the
	// request's context while the process works. What is stored is stored long
	// before it.
	if e.listen.Output != "" || time.Since(x.start) > bodyTime/2 {
		x.setReadDeadline(time.Time{})
	}
	body, refused := x.decode(raw)
	if refused != nil {
		return refused
	}
	if in.Doc, refused = e.parse(c, body); refused != nil {
		return refused
	}
	if e.listen.Output == "" || e.listen.Later() {
		sum := sha256.Sum256(raw)
		in.SHA256 = hex.EncodeToString(sum[:])
	}
	if r.URL.RawQuery != "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return &problem{status: http.StatusBadRequest, kind: "bad_query", title: "The query is not valid", detail: "The query cannot be read."}
		}
		if e.hideQuery != "" {
			delete(query, e.hideQuery)
		}
		x.request.Query = query
	}
	in.Principal = e.principal(who)
	in.Traceparent = traceparent(r.Header)
	in.Received = x.start.UTC().Truncate(time.Millisecond)
	in.Request = &x.request
	x.request.Method, x.request.Path, x.request.User = r.Method, r.URL.Path, who
	x.request.Params = params(e.params, values)
	x.request.Header, x.request.Hidden = r.Header, e.hidden
	return nil
}

// challenge is what a 401 says of how to authenticate (RFC 9110, section 11.6.1).
func challenge(scheme string) string {
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

func (x *exchange) authenticate(body []byte) (who string, refused *problem) {
	e := x.endpoint
	if e.auth != nil {
		who, err := e.auth.Authenticate(x.r, body)
		if err == nil {
			return who, nil
		}
	}
	e.metrics.Denied()
	x.w.Header()["Www-Authenticate"] = []string{challenge(e.scheme)}
	return "", &problem{status: http.StatusUnauthorized, kind: "unauthorized", title: "Who is calling is not proven",
		detail: "The request does not carry a valid proof of who sent it."}
}

// reply runs a request/reply process on the caller's time.
func (x *exchange) reply() {
	e := x.endpoint
	ctx := context.Context(x.r.Context())
	if t := e.listen.Timeout; t > 0 {
		x.deadline.parent, x.deadline.at = ctx, x.start.Add(t)
		ctx = &x.deadline
		defer x.deadline.release()
		if t > writeTime/2 {
			x.setWriteDeadline(x.start.Add(t + writeTime))
		}
	}
	reply, err := x.server.options.Atom.Request(ctx, e.deployed, &x.arrival)
	if err != nil {
		execution := ""
		if reply != nil {
			execution = reply.Execution
		}
		p := x.problemOf(ctx, err, execution)
		if p == nil {
			x.status = statusGone
			return
		}
		x.refuse(p)
		return
	}
	x.answer(reply)
}

// accept stores a message of a fire-and-forget process and gives the receipt.
func (x *exchange) accept() {
	ack, err := x.server.options.Atom.Accept(x.r.Context(), x.endpoint.deployed, &x.arrival)
	if err != nil {
		p := x.problemOf(x.r.Context(), err, "")
		if p == nil {
			x.status = statusGone
			return
		}
		x.refuse(p)
		return
	}
	x.acknowledge(ack)
}

// write sends an answer in one piece.
func (x *exchange) write(status int, media string, body []byte) {
	h := x.w.Header()
	switch media {
	case "":
	case "application/json":
		h["Content-Type"] = jsonBody
	default:
		h["Content-Type"] = []string{media}
	}
	if x.server.draining.Load() {
		h["Connection"] = closing
	}
	if status == http.StatusNoContent || status == http.StatusNotModified || status == http.StatusResetContent {
		body = nil
	}
	if len(body) > upFront {
		x.setWriteDeadline(time.Now().Add(writeTime + time.Duration(len(body))*time.Second/bodyRate))
	}
	x.status, x.size = status, len(body)
	if status != http.StatusOK {
		x.w.WriteHeader(status)
	}
	if len(body) == 0 {
		return
	}
	// An answer that cannot be written has nobody who would read an error.
	_, _ = x.w.Write(body)
}

func (x *exchange) setWriteDeadline(t time.Time) {
	if w, ok := x.w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		_ = w.SetWriteDeadline(t) // otherwise the server's own stands
	}
}

// finish counts and logs the request, whatever became of it.
func (x *exchange) finish() {
	if v := recover(); v != nil {
		if v == http.ErrAbortHandler {
			panic(v)
		}
		x.server.log.Error("a request panicked", "panic", v, "stack", string(debug.Stack()))
		if x.status == 0 {
			x.refuse(internal())
		}
	}
	took := time.Since(x.start)
	process := ""
	if x.endpoint != nil {
		process = x.endpoint.process
		x.endpoint.metrics.Request(x.status, took)
	} else {
		x.server.unknown.Request(x.status, took)
	}
	log := x.server.options.Access
	if log == nil {
		return
	}
	if n := x.server.options.AccessEvery; n > 1 && x.status < 400 && x.server.served.Add(1)%uint64(n) != 0 {
		return
	}
	path := x.r.URL.Path
	if strings.HasPrefix(path, callbackPath) {
		path = callbackPath + "…" // who has the token may decide
	}
	log.LogAttrs(context.Background(), slog.LevelInfo, "request",
		slog.String("method", x.r.Method), slog.String("path", path), slog.Int("status", x.status),
		slog.String("process", process), slog.String("execution", x.execution), slog.String("correlation_id", x.arrival.CorrelationID),
		slog.String("user", x.arrival.Principal), slog.String("remote", x.r.RemoteAddr), slog.Int("bytes", x.size),
		slog.Float64("took_ms", float64(took.Microseconds())/1000))
}
