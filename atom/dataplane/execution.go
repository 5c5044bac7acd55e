package dataplane

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/problem"
)

// A reply token can be sent as a query parameter or, by browsers over
// WebSocket, as a subprotocol.
const (
	tokenParameter = "reply_token"
	tokenProtocol  = "reply-token-"
)

// serveExecution serves GET /executions/{id}: the progress of an execution, its
// reply, or its events as a stream. The execution is visible only to its sender
// and to the bearer of its reply token; all others get 404.
func (req *request) serveExecution() {
	id := strings.TrimPrefix(req.r.URL.Path, "/executions/")
	t := req.server.routes.Load()
	if t == nil {
		req.refuse(unavailable(time.Second))
		return
	}
	token := req.replyToken()
	found, principal, err := req.findExecution(t, id, token)
	if err != nil {
		req.refuseLookup(err)
		return
	}
	req.execution, req.message.CorrelationID, req.message.Principal = found.Execution, found.CorrelationID, principal
	if req.r.Method == http.MethodGet {
		switch {
		case wantsWebSocket(req.r):
			req.serveWebSocket(id, principal, token)
			return
		case wantsEvents(req.r):
			req.serveEventStream(id, principal, token)
			return
		}
		if p := parsePrefer(req.r.Header["Prefer"]); p.wait > 0 && !isSettled(found) {
			p.wait = min(p.wait, maxWaitForReply)
			req.setPreferenceApplied(preferences{wait: p.wait}, false)
			if found, err = req.awaitReply(id, principal, token, time.Now().Add(p.wait)); err != nil {
				req.refuseLookup(err)
				return
			}
		}
	}
	req.writeProgress(found)
}

// writeProgress responds with the progress of an execution, or with its reply
// if there is one.
func (req *request) writeProgress(p *atom.Progress) {
	switch {
	case p.Reply != nil:
		req.writeStoredReply(p)
	case p.Gone:
		req.refuse(&problem.Document{Status: http.StatusGone, Code: "reply_expired", Title: "Reply expired", Execution: p.Execution,
			Detail: "The reply expired before it was collected."})
	case p.HasReply:
		h := req.w.Header()
		h["Cache-Control"] = noStore
		h["Retry-After"] = retryAfter(pollInterval)
		h["X-Execution-Id"] = []string{p.Execution}
		if p.CorrelationID != "" {
			h["Correlation-Id"] = []string{p.CorrelationID}
		}
		req.write(http.StatusAccepted, "application/json", progress(p))
	default:
		req.writeUncached(progress(p))
	}
}

// replyToken returns the reply token of the request, from the Authorization
// header, the query or a WebSocket subprotocol. Browsers can set only the
// latter two.
func (req *request) replyToken() string {
	if v := req.r.Header["Authorization"]; len(v) == 1 && len(v[0]) > 7 && strings.EqualFold(v[0][:7], "Bearer ") {
		return v[0][7:]
	}
	if strings.Contains(req.r.URL.RawQuery, tokenParameter) {
		if q, err := url.ParseQuery(req.r.URL.RawQuery); err == nil && q.Get(tokenParameter) != "" {
			return q.Get(tokenParameter)
		}
	}
	for _, h := range req.r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(h, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(p), tokenProtocol); ok {
				return token
			}
		}
	}
	return ""
}

// findExecution looks up the execution anonymously, with the reply token, and
// as each principal that the listeners' authentication recognizes.
func (req *request) findExecution(t *routeTable, id, token string) (*atom.Progress, string, error) {
	found, err := req.lookup(id, "", token)
	asked := map[string]bool{"": true}
	for _, e := range t.endpoints {
		if !errors.Is(err, store.ErrUnknown) {
			break
		}
		if asked[e.authName] || e.auth == nil {
			continue
		}
		asked[e.authName] = true
		who, denied := e.auth.Authenticate(req.r, nil)
		if denied != nil {
			continue
		}
		principal := e.principal(who)
		if found, err = req.lookup(id, principal, ""); err == nil {
			return found, principal, nil
		}
	}
	return found, "", err
}

func (req *request) refuseLookup(err error) {
	switch {
	case errors.Is(err, store.ErrUnknown):
		req.refuse(notFound("No such execution."))
	case req.r.Context().Err() != nil:
		req.status = statusClientClosed
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrStarting):
		req.refuse(unavailable(2 * time.Second))
	default:
		req.server.log.Error("cannot look up execution", "error", err)
		req.refuse(problem.Internal())
	}
}

// lookup returns the progress of an execution. Malformed IDs never reach the
// atom.
func (req *request) lookup(id, principal, token string) (*atom.Progress, error) {
	if id == "" || len(id) > 64 || !isUnreserved(id) || strings.Contains(id, "/") {
		return nil, store.ErrUnknown
	}
	return req.server.options.Atom.Follow(req.r.Context(), id, principal, token)
}
