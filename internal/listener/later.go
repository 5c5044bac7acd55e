package listener

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"valence/atom"
	"valence/processes"
)

const (
	maxPoll    = time.Minute     // a GET of an execution is held at most
	askAgain   = 2 * time.Second // what a 202 says of when to ask again
	holdMargin = 10 * time.Second
)

// asked is how a caller gets its reply, after what it prefers and what the
// listener offers.
type asked struct {
	later    bool
	wait     time.Duration // how long the reply may take before it is a deferred one
	cancel   bool          // then it is cancelled, likewise if the caller goes away
	callback string
	prefers  preferences
}

// asks finds out how the caller gets its reply.
func (x *exchange) asks() (asked, *problem) {
	l := x.endpoint.listen
	urls := x.r.Header["Callback-Url"]
	a := asked{prefers: parsePrefer(x.r.Header["Prefer"])}
	switch {
	case len(urls) > 0 && (l.Output == "" || !l.Offers(processes.ModeCallback)):
		return a, badCallback("Nobody is called back here.")
	case len(urls) > 1:
		return a, badCallback("There is more than one Callback-Url.")
	case len(urls) == 1 && urls[0] == "":
		return a, badCallback("The Callback-Url is empty.")
	case len(urls) == 1 && !a.prefers.async:
		return a, badCallback("A Callback-Url needs Prefer: respond-async.")
	case len(urls) == 1:
		a.callback = urls[0]
	}
	if l.Output == "" {
		return a, nil
	}
	switch {
	case a.prefers.async && (a.callback != "" || l.Offers(processes.ModeDeferred)):
		a.later, a.wait = true, max(a.prefers.wait, 0)
		if l.Timeout > 0 {
			a.wait = min(a.wait, l.Timeout)
		}
	case l.Sync():
		a.prefers = preferences{wait: -1}
		// What waits for a signal cannot do so in the caller's memory.
		a.later, a.wait = l.TimeoutAction == processes.Continue || x.endpoint.deployed.Process.SuspendsCaller, l.Timeout
		a.cancel = l.TimeoutAction != processes.Continue
	case l.Offers(processes.ModeDeferred):
		a.later, a.prefers = true, preferences{wait: -1}
	default:
		return a, badCallback("The reply of this service is posted to a URL: send Prefer: respond-async and Callback-Url.")
	}
	return a, nil
}

func badCallback(detail string) *problem {
	return &problem{status: http.StatusBadRequest, kind: atom.CodeBadCallback, title: "The caller cannot be called back", detail: detail}
}

// later takes the message on, durably, and gives the reply if it is there in
// time, otherwise where it can be collected.
func (x *exchange) later(a asked) {
	e := x.endpoint
	x.arrival.Later = &atom.Later{Callback: a.callback}
	ack, reply, err := x.server.options.Atom.Defer(x.r.Context(), e.deployed, &x.arrival)
	switch {
	case err != nil:
		if p := x.problemOf(x.r.Context(), err, ""); p != nil {
			x.refuse(p)
			return
		}
		x.status = statusGone
		return
	case ack == nil:
		x.answer(reply)
		return
	}
	x.execution = ack.Execution
	if a.wait > 0 {
		found, err := x.await(ack.Execution, x.arrival.Principal, ack.ReplyToken, x.start.Add(a.wait))
		switch {
		case x.r.Context().Err() != nil:
			if a.cancel {
				x.giveUp(ack.Execution)
			}
			x.status = statusGone // otherwise it runs all the same
			return
		case err == nil && found.Reply != nil:
			x.applied(a.prefers, false)
			x.collected(found)
			return
		case a.cancel:
			if !x.giveUp(ack.Execution) { // the reply may have come with it
				found, err := x.ask(ack.Execution, x.arrival.Principal, ack.ReplyToken)
				if err == nil && found.Reply != nil {
					x.collected(found)
					return
				}
			}
			p := timedOut()
			p.execution = ack.Execution
			x.refuse(p)
			return
		}
	}
	h := x.w.Header()
	h["Location"] = []string{ack.Location}
	h["Retry-After"] = retryAfter(askAgain)
	h["Correlation-Id"] = []string{ack.CorrelationID}
	h["X-Execution-Id"] = []string{ack.Execution}
	x.applied(a.prefers, true)
	x.write(http.StatusAccepted, "application/json", receipt(ack))
}

// giveUp cancels what its caller does not wait for any more; false if it has
// ended.
func (x *exchange) giveUp(id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), holdMargin)
	defer cancel()
	err := x.server.options.Atom.Cancel(ctx, id)
	if err != nil && !errors.Is(err, atom.ErrEnded) {
		x.server.log.Error("an execution whose caller gave up could not be cancelled", "execution", id, "error", err)
	}
	return err == nil
}

func retryAfter(d time.Duration) []string { return []string{strconv.Itoa(int(d / time.Second))} }

// applied says which preferences were followed (RFC 7240, section 3).
func (x *exchange) applied(p preferences, async bool) {
	text := ""
	if async && p.async {
		text = "respond-async"
	}
	if p.wait >= 0 {
		if text != "" {
			text += ", "
		}
		text += "wait=" + strconv.Itoa(int(p.wait/time.Second))
	}
	if text != "" {
		x.w.Header()["Preference-Applied"] = []string{text}
	}
}

// await holds the request until the execution has a reply or has ended, until
// a time, or until the server stops. It gives how far the execution is then.
func (x *exchange) await(id, principal, token string, until time.Time) (*atom.Progress, error) {
	done, ok := x.server.follow("poll")
	if !ok {
		return x.ask(id, principal, token)
	}
	defer done()
	x.setReadDeadline(time.Time{})
	x.setWriteDeadline(until.Add(writeTime))
	w := x.server.options.Atom.Watch(id)
	defer w.Close()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for over := false; ; {
		found, err := x.ask(id, principal, token)
		if err != nil || over || settled(found) {
			return found, err
		}
		select {
		case <-w.C:
		case <-timer.C:
			over = true
		case <-x.server.stopped:
			over = true
		case <-x.r.Context().Done():
			return nil, x.r.Context().Err()
		}
	}
}

// settled reports whether there is nothing to wait for any more.
func settled(p *atom.Progress) bool { return p.Reply != nil || p.Gone || !p.EndedAt.IsZero() }

// collected sends a reply as it was kept.
func (x *exchange) collected(p *atom.Progress) {
	r, h := p.Reply, x.w.Header()
	h["Cache-Control"] = noStore
	h["X-Execution-Id"] = []string{p.Execution}
	if p.CorrelationID != "" {
		h["Correlation-Id"] = []string{p.CorrelationID}
	}
	x.execution = p.Execution
	if r.Status < 200 || r.Status > 599 {
		x.refuse(internal())
		return
	}
	x.write(r.Status, setHeaders(h, r.Headers, r.Media), r.Body)
}
