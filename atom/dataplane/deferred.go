package dataplane

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/problem"
	"valence/processes"
)

const (
	maxWaitForReply = time.Minute     // longest a GET of an execution is held
	pollInterval    = 2 * time.Second // Retry-After of a 202
	cancelTimeout   = 10 * time.Second
)

// replyMode is how a caller gets its reply, derived from its preferences and
// the listener's `reply:` modes.
type replyMode struct {
	deferred        bool
	wait            time.Duration // how long to hold the request before responding 202
	cancelOnTimeout bool          // cancel the execution on timeout or disconnect
	callbackURL     string
	prefers         preferences
}

// chooseReplyMode derives the reply mode from the request headers.
func (req *request) chooseReplyMode() (replyMode, *problem.Document) {
	l := req.endpoint.listen
	urls := req.r.Header["Callback-Url"]
	a := replyMode{prefers: parsePrefer(req.r.Header["Prefer"])}
	switch {
	case len(urls) > 0 && (l.Output == "" || !l.Offers(processes.ModeCallback)):
		return a, badCallback("This service does not post replies to a URL.")
	case len(urls) > 1:
		return a, badCallback("The request has more than one Callback-Url header.")
	case len(urls) == 1 && urls[0] == "":
		return a, badCallback("The Callback-Url header is empty.")
	case len(urls) == 1 && !a.prefers.respondAsync:
		return a, badCallback("Callback-Url requires Prefer: respond-async.")
	case len(urls) == 1:
		a.callbackURL = urls[0]
	}
	if l.Output == "" {
		return a, nil
	}
	switch {
	case a.prefers.respondAsync && (a.callbackURL != "" || l.Offers(processes.ModeDeferred)):
		a.deferred, a.wait = true, max(a.prefers.wait, 0)
		if l.Timeout > 0 {
			a.wait = min(a.wait, l.Timeout)
		}
	case l.Sync():
		a.prefers = preferences{wait: -1}
		// A process that waits for a signal is suspended, so it cannot run in the caller's memory.
		a.deferred, a.wait = l.TimeoutAction == processes.Continue || req.endpoint.deployed.Process.SuspendsCaller, l.Timeout
		a.cancelOnTimeout = l.TimeoutAction != processes.Continue
	case l.Offers(processes.ModeDeferred):
		a.deferred, a.prefers = true, preferences{wait: -1}
	default:
		return a, badCallback("This service posts its replies to a URL: send Prefer: respond-async and Callback-Url.")
	}
	return a, nil
}

func badCallback(detail string) *problem.Document {
	return &problem.Document{Status: http.StatusBadRequest, Code: atom.CodeBadCallback, Title: "Invalid callback URL", Detail: detail}
}

// serveDeferred accepts the message durably. It responds with the reply if that
// is ready in time, otherwise with the location to collect it from.
func (req *request) serveDeferred(a replyMode) {
	e := req.endpoint
	req.message.Deferred = &atom.DeferredReply{Callback: a.callbackURL}
	ack, reply, err := req.server.options.Atom.AcceptDeferred(req.r.Context(), e.deployed, &req.message)
	switch {
	case err != nil:
		if p := req.problemFor(req.r.Context(), err, ""); p != nil {
			req.refuse(p)
			return
		}
		req.status = statusClientClosed
		return
	case ack == nil:
		req.writeReply(reply)
		return
	}
	req.execution = ack.Execution
	if a.wait > 0 {
		found, err := req.awaitReply(ack.Execution, req.message.Principal, ack.ReplyToken, req.arrived.Add(a.wait))
		switch {
		case req.r.Context().Err() != nil:
			if a.cancelOnTimeout {
				req.cancelAbandoned(ack.Execution)
			}
			req.status = statusClientClosed // unless cancelled, the execution continues
			return
		case err == nil && found.Reply != nil:
			req.setPreferenceApplied(a.prefers, false)
			req.writeStoredReply(found)
			return
		case a.cancelOnTimeout:
			if !req.cancelAbandoned(ack.Execution) { // the reply may have arrived at the same time
				found, err := req.lookup(ack.Execution, req.message.Principal, ack.ReplyToken)
				if err == nil && found.Reply != nil {
					req.writeStoredReply(found)
					return
				}
			}
			p := problem.Timeout()
			p.Execution = ack.Execution
			req.refuse(p)
			return
		}
	}
	h := req.w.Header()
	h["Location"] = []string{ack.Location}
	h["Retry-After"] = retryAfter(pollInterval)
	h["Correlation-Id"] = []string{ack.CorrelationID}
	h["X-Execution-Id"] = []string{ack.Execution}
	req.setPreferenceApplied(a.prefers, true)
	req.write(http.StatusAccepted, "application/json", receipt(ack))
}

// cancelAbandoned cancels an execution whose caller no longer waits. It returns
// false if the execution could not be cancelled because it has ended.
func (req *request) cancelAbandoned(id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.r.Context()), cancelTimeout)
	defer cancel()
	err := req.server.options.Atom.Cancel(ctx, id)
	if err != nil && !errors.Is(err, store.ErrEnded) {
		req.server.log.Error("cannot cancel abandoned execution", "execution", id, "error", err)
	}
	return err == nil
}

func retryAfter(d time.Duration) []string { return []string{strconv.Itoa(int(d / time.Second))} }

// setPreferenceApplied reports the preferences that were followed (RFC 7240,
// section 3).
func (req *request) setPreferenceApplied(p preferences, async bool) {
	text := ""
	if async && p.respondAsync {
		text = "respond-async"
	}
	if p.wait >= 0 {
		if text != "" {
			text += ", "
		}
		text += "wait=" + strconv.Itoa(int(p.wait/time.Second))
	}
	if text != "" {
		req.w.Header()["Preference-Applied"] = []string{text}
	}
}

// awaitReply holds the request until the execution has a reply or has ended,
// until the given time, or until the server stops. It returns the progress at
// that moment.
func (req *request) awaitReply(id, principal, token string, until time.Time) (*atom.Progress, error) {
	done, ok := req.server.addFollower("poll")
	if !ok {
		return req.lookup(id, principal, token)
	}
	defer done()
	req.setReadDeadline(time.Time{})
	req.setWriteDeadline(until.Add(responseTimeout))
	w := req.server.options.Atom.Watch(id)
	defer w.Close()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for over := false; ; {
		found, err := req.lookup(id, principal, token)
		if err != nil || over || isSettled(found) {
			return found, err
		}
		select {
		case <-w.C:
		case <-timer.C:
			over = true
		case <-req.server.stopped:
			over = true
		case <-req.r.Context().Done():
			return nil, req.r.Context().Err()
		}
	}
}

// isSettled reports whether the progress is final.
func isSettled(p *atom.Progress) bool { return p.Reply != nil || p.Gone || !p.EndedAt.IsZero() }

// writeStoredReply responds with a stored reply.
func (req *request) writeStoredReply(p *atom.Progress) {
	r, h := p.Reply, req.w.Header()
	h["Cache-Control"] = noStore
	h["X-Execution-Id"] = []string{p.Execution}
	if p.CorrelationID != "" {
		h["Correlation-Id"] = []string{p.CorrelationID}
	}
	req.execution = p.Execution
	if req.endpoint != nil && req.endpoint.listen.Service != nil {
		req.writeStoredSOAP(r)
		return
	}
	if r.Status < 200 || r.Status > 599 {
		req.refuse(problem.Internal())
		return
	}
	req.write(r.Status, setHeaders(h, r.Headers, r.Media), r.Body)
}
