package listener

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"valence/atom"
)

// replyToken is the parameter that carries the token where no header can, and
// the beginning of the subprotocol that does so for WebSockets of browsers.
const (
	tokenParameter = "reply_token"
	tokenProtocol  = "reply-token-"
)

// collect answers GET /executions/{id}: how far an execution is, its reply, or
// what happens to it as a stream. To everybody but its sender and the bearer
// of its reply token it does not exist.
func (x *exchange) collect() {
	id := strings.TrimPrefix(x.r.URL.Path, "/executions/")
	t := x.server.table.Load()
	if t == nil {
		x.refuse(unavailableProblem(time.Second))
		return
	}
	token := x.bearer()
	found, principal, err := x.find(t, id, token)
	if err != nil {
		x.unfound(err)
		return
	}
	x.execution, x.arrival.CorrelationID, x.arrival.Principal = found.Execution, found.CorrelationID, principal
	if x.r.Method == http.MethodGet {
		switch {
		case wantsSocket(x.r):
			x.socket(id, principal, token)
			return
		case wantsEvents(x.r):
			x.events(id, principal, token)
			return
		}
		if p := parsePrefer(x.r.Header["Prefer"]); p.wait > 0 && !settled(found) {
			p.wait = min(p.wait, maxPoll)
			x.applied(preferences{wait: p.wait}, false)
			if found, err = x.await(id, principal, token, time.Now().Add(p.wait)); err != nil {
				x.unfound(err)
				return
			}
		}
	}
	x.show(found)
}

// show answers with where the execution stands.
func (x *exchange) show(p *atom.Progress) {
	switch {
	case p.Reply != nil:
		x.collected(p)
	case p.Gone:
		x.refuse(&problem{status: http.StatusGone, kind: "reply_expired", title: "The reply is not kept any more", execution: p.Execution,
			detail: "There was a reply. Its time was over before it was collected."})
	case p.Later:
		h := x.w.Header()
		h["Cache-Control"] = noStore
		h["Retry-After"] = retryAfter(askAgain)
		h["X-Execution-Id"] = []string{p.Execution}
		if p.CorrelationID != "" {
			h["Correlation-Id"] = []string{p.CorrelationID}
		}
		x.write(http.StatusAccepted, "application/json", progress(p))
	default:
		x.fresh(progress(p))
	}
}

// bearer gives the reply token of the request: a header, a parameter, or for
// WebSockets a subprotocol. A browser can set the last two alone.
func (x *exchange) bearer() string {
	if v := x.r.Header["Authorization"]; len(v) == 1 && len(v[0]) > 7 && strings.EqualFold(v[0][:7], "Bearer ") {
		return v[0][7:]
	}
	if strings.Contains(x.r.URL.RawQuery, tokenParameter) {
		if q, err := url.ParseQuery(x.r.URL.RawQuery); err == nil && q.Get(tokenParameter) != "" {
			return q.Get(tokenParameter)
		}
	}
	for _, h := range x.r.Header["Sec-Websocket-Protocol"] {
		for p := range strings.SplitSeq(h, ",") {
			if token, ok := strings.CutPrefix(strings.TrimSpace(p), tokenProtocol); ok {
				return token
			}
		}
	}
	return ""
}

// find tries who the caller may be: nobody, the bearer of the token, or the
// principal that one of the listeners' ways of authentication finds.
func (x *exchange) find(t *table, id, token string) (*atom.Progress, string, error) {
	found, err := x.ask(id, "", token)
	asked := map[string]bool{"": true}
	for _, e := range t.all {
		if !errors.Is(err, atom.ErrUnknown) {
			break
		}
		if asked[e.authName] || e.auth == nil {
			continue
		}
		asked[e.authName] = true
		who, denied := e.auth.Authenticate(x.r, nil)
		if denied != nil {
			continue
		}
		principal := e.principal(who)
		if found, err = x.ask(id, principal, ""); err == nil {
			return found, principal, nil
		}
	}
	return found, "", err
}

func (x *exchange) unfound(err error) {
	switch {
	case errors.Is(err, atom.ErrUnknown):
		x.refuse(&problem{status: http.StatusNotFound, kind: "not_found", title: "There is nothing here", detail: "There is no such execution."})
	case x.r.Context().Err() != nil:
		x.status = statusGone
	case errors.Is(err, atom.ErrUnavailable), errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrStarting):
		x.refuse(unavailableProblem(2 * time.Second))
	default:
		x.server.log.Error("an execution cannot be followed", "error", err)
		x.refuse(internal())
	}
}

// ask looks only where id can be one; nothing else reaches the atom.
func (x *exchange) ask(id, principal, token string) (*atom.Progress, error) {
	if id == "" || len(id) > 64 || !plain(id) || strings.Contains(id, "/") {
		return nil, atom.ErrUnknown
	}
	return x.server.options.Atom.Follow(x.r.Context(), id, principal, token)
}
