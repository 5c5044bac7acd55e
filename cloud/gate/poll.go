package gate

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// poll returns the instructions and desired state of an atom, or waits for them.
func (g *Gate) poll(w http.ResponseWriter, r *http.Request, p cloud.Peer, body []byte) {
	var q wire.PollRequest
	if err := json.Unmarshal(body, &q); err != nil || q.Instance == "" || len(q.Instance) > maxInstance || q.Wait < 0 {
		refuse(w, http.StatusBadRequest, wire.ErrorResponse{Code: wire.CodeInvalid, Error: "invalid poll"})
		return
	}
	l, _ := r.Context().Value(linkKey{}).(*link)
	l.setUnconfirmed("")
	state := g.peers.of(p.ID)
	ok, err := g.claim(r, state, p.ID, q.Instance)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	var replaced chan struct{}
	var changed bool
	if ok {
		replaced, changed, ok = state.startPoll(q.Instance, l)
	}
	if !ok {
		g.o.Metrics.Poll("fenced")
		g.atoms.RecordRefusal(r.Context(), p, wire.CodeFenced, remoteAddr(r))
		if err := respond(w, &wire.PollResponse{Fenced: true}); err != nil {
			g.log.Debug("cannot send the response to a fenced atom", "atom", p.ID, "error", err)
		}
		return
	}
	gone := false
	defer func() { state.endPoll(q.Instance, replaced, gone) }()
	if changed {
		g.mail.Requeue(p.ID) // this instance may not have what the one before received
	}
	known := g.records.RecordHeartbeat(p.ID, q.Heartbeat, q.Generation)
	if err := g.mail.Acknowledge(r.Context(), p.ID, q.Ack); err != nil {
		g.fail(w, r, err)
		return
	}
	if err := g.records.RaiseGeneration(r.Context(), p.ID, q.Generation); err != nil {
		g.fail(w, r, err)
		return
	}
	if !known { // so that it sends its triggers at once
		q.Wait = 0
	}
	hold := min(time.Duration(q.Wait)*time.Second, g.o.Hold)
	if hold >= DefaultHold && state.firstHold() {
		hold = FirstHold(hold)
	}
	polled, err := g.wait(r, p.ID, q.Generation, hold, replaced)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	polled.SendTriggers = !known
	if gone = r.Context().Err() != nil; gone {
		g.mail.Requeue(p.ID)
		return
	}
	outcome := "idle"
	if len(polled.Instructions) > 0 || polled.Desired != nil {
		outcome = "answered"
	}
	if current, known := g.atoms.Peer(p.ID); !known || current.Revoked { // revoked while the poll was held
		g.deny(w, r, p, wire.CodeRevoked, denials[wire.CodeRevoked])
		return
	}
	g.o.Metrics.Poll(outcome)
	if len(polled.Instructions) > 0 {
		l.setUnconfirmed(p.ID)
	}
	if err := respond(w, polled); err != nil {
		gone = true
		g.mail.Requeue(p.ID)
	}
}

// wait returns as soon as there is something for the atom, or with nothing when
// the time is over.
func (g *Gate) wait(r *http.Request, atom string, generation int64, hold time.Duration, replaced <-chan struct{}) (*wire.PollResponse, error) {
	g.held.Add(1)
	defer g.held.Add(-1)
	g.o.Metrics.Hold(1)
	defer g.o.Metrics.Hold(-1)
	until := time.Now().Add(hold)
	ring := g.mail.Notify(atom)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		polled, due, err := g.mail.Next(r.Context(), atom, generation)
		if err != nil || len(polled.Instructions) > 0 || polled.Desired != nil {
			return polled, err
		}
		if p, known := g.atoms.Peer(atom); !known || p.Revoked {
			return polled, nil
		}
		if err := g.cluster.CheckFresh(); err != nil {
			return nil, err
		}
		left := time.Until(until)
		if left <= 0 {
			return polled, nil
		}
		if due > 0 {
			left = min(left, due)
		}
		timer.Reset(left)
		select {
		case <-ring:
			select {
			case <-replaced: // the token was for the poll that replaced this one
				g.mail.Wake(atom)
				return polled, nil
			default:
			}
		case <-timer.C:
		case <-replaced:
			return polled, nil
		case <-g.closing:
			return polled, nil
		case <-r.Context().Done():
			return polled, nil
		}
	}
}

// liveness is how long an instance counts as alive after its last poll if its
// connection has not closed.
const liveness = 15 * time.Second

// FirstHold returns for how long the first poll of an atom since a start is held:
// a random time, at least a fifth. Atoms that return together after a restart
// would otherwise poll together for ever.
func FirstHold(hold time.Duration) time.Duration { return hold/5 + rand.N(hold*4/5) }

// firstHold reports whether no poll of the atom was held before.
func (x *peer) firstHold() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := !x.spread
	x.spread = true
	return first
}

// startPoll makes a poll the held one of its atom and ends the one before. It
// returns false if another instance is alive.
func (x *peer) startPoll(instance string, l *link) (replaced chan struct{}, changed, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.instance != "" && x.instance != instance && x.alive() {
		return nil, false, false
	}
	if x.held != nil {
		close(x.held)
	}
	changed = x.instance != instance
	x.instance, x.link, x.polled = instance, l, time.Now()
	x.held = make(chan struct{})
	return x.held, changed, true
}

// serves reports whether an instance of the atom is the served one.
func (x *peer) serves(instance string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.instance == instance
}

// alive reports whether the served instance is still alive.
func (x *peer) alive() bool {
	if x.link != nil && x.link.closed() {
		return false
	}
	return x.held != nil || time.Since(x.polled) < liveness
}

// endPoll ends a poll. If the atom disconnected, the instance no longer counts
// as alive.
func (x *peer) endPoll(instance string, held chan struct{}, gone bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.held != held {
		return
	}
	x.held, x.polled = nil, time.Now()
	if gone && x.instance == instance {
		x.polled = time.Time{}
	}
}

// reports stores the reports of an atom. Fenced instances may report too: their
// executions did happen.
func (g *Gate) reports(w http.ResponseWriter, r *http.Request, p cloud.Peer, body []byte) {
	var reports wire.Reports
	if err := json.Unmarshal(body, &reports); err != nil {
		refuse(w, http.StatusBadRequest, wire.ErrorResponse{Code: wire.CodeInvalid, Error: "invalid reports: " + err.Error()})
		return
	}
	if err := g.records.StoreReports(r.Context(), p.ID, reports); err != nil {
		g.fail(w, r, err)
		return
	}
	if h := reports.Heartbeat; h != nil && g.peers.of(p.ID).serves(reports.Instance) {
		g.records.RecordHeartbeat(p.ID, *h, reports.Generation)
	}
	if err := respond(w, struct{}{}); err != nil {
		g.log.Debug("cannot send the response to reports", "atom", p.ID, "error", err)
	}
}

// servePackage serves an archive or a range of it.
func (g *Gate) servePackage(w http.ResponseWriter, r *http.Request, p cloud.Peer, _ []byte) {
	sha := r.PathValue("sha")
	archive, err := g.records.OpenPackage(r.Context(), p.ID, sha)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	defer archive.Close()
	w.Header().Set("Content-Type", wire.PackageMediaType)
	w.Header().Set("ETag", `"`+sha+`"`)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Minute))
	http.ServeContent(w, r, "", time.Time{}, archive)
}

// HeldPolls returns the number of held polls.
func (g *Gate) HeldPolls() int { return int(g.held.Load()) }
