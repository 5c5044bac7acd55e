package gate

import (
	"encoding/json"
	"net/http"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// poll answers what there is for an atom, or waits for it.
func (g *Gate) poll(w http.ResponseWriter, r *http.Request, p cloud.Peer, body []byte) {
	var q wire.Poll
	if err := json.Unmarshal(body, &q); err != nil || q.Instance == "" || len(q.Instance) > maxInstance || q.Wait < 0 {
		refuse(w, http.StatusBadRequest, wire.Refusal{Code: codeInvalid, Error: "the poll cannot be read, or has no instance"})
		return
	}
	l, _ := r.Context().Value(linkKey{}).(*link)
	l.carry("")
	state := g.peers.of(p.ID)
	ok, err := g.claim(r, state, p.ID, q.Instance)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	var replaced chan struct{}
	var changed bool
	if ok {
		replaced, changed, ok = state.begin(q.Instance, l)
	}
	if !ok {
		g.o.Metrics.Poll("fenced")
		g.service.Refused(r.Context(), p, "fenced", from(r))
		if err := answer(w, &wire.Polled{Fenced: true}); err != nil {
			g.log.Debug("a fenced atom was not told", "atom", p.ID, "error", err)
		}
		return
	}
	gone := false
	defer func() { state.end(q.Instance, replaced, gone) }()
	if changed {
		g.service.Returned(p.ID) // what the run before was given, this one may not have
	}
	known := g.service.Heard(p.ID, q.Heartbeat, q.Generation)
	if err := g.service.Acknowledge(r.Context(), p.ID, q.Ack); err != nil {
		g.fail(w, r, err)
		return
	}
	if err := g.service.Ahead(r.Context(), p.ID, q.Generation); err != nil {
		g.fail(w, r, err)
		return
	}
	if !known { // it may tell at once, and with what it is given
		q.Wait = 0
	}
	polled, err := g.wait(r, p.ID, &q, replaced)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	polled.Tell = !known
	if gone = r.Context().Err() != nil; gone {
		g.service.Returned(p.ID)
		return
	}
	outcome := "idle"
	if len(polled.Messages) > 0 || polled.Desired != nil {
		outcome = "answered"
	}
	if current, known := g.service.Peer(p.ID); !known || current.Revoked { // while it was held
		g.denied(w, r, p, codeRevoked, denials[codeRevoked])
		return
	}
	g.o.Metrics.Poll(outcome)
	if len(polled.Messages) > 0 {
		l.carry(p.ID)
	}
	if err := answer(w, polled); err != nil {
		gone = true
		g.service.Returned(p.ID)
	}
}

// wait gives what there is, as soon as there is something, or nothing when
// the time is over.
func (g *Gate) wait(r *http.Request, atom string, q *wire.Poll, replaced <-chan struct{}) (*wire.Polled, error) {
	g.held.Add(1)
	defer g.held.Add(-1)
	g.o.Metrics.Hold(1)
	defer g.o.Metrics.Hold(-1)
	until := time.Now().Add(min(time.Duration(q.Wait)*time.Second, g.o.Hold))
	ring := g.service.Ring(atom)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		polled, due, err := g.service.Next(r.Context(), atom, q.Generation)
		if err != nil || len(polled.Messages) > 0 || polled.Desired != nil {
			return polled, err
		}
		if p, known := g.service.Peer(atom); !known || p.Revoked {
			return polled, nil
		}
		if err := g.service.Vouch(); err != nil {
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
			case <-replaced: // it was for the one that took this one's place
				g.service.Wake(atom)
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

// liveness is how long a run of an atom is taken to live on after its last
// poll, where its connection does not tell.
const liveness = 15 * time.Second

// begin makes a poll the one of its atom: one that is held is let go. It gives
// false for another run than the one that is served while that one lives.
func (x *peer) begin(instance string, l *link) (replaced chan struct{}, changed, ok bool) {
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

// serves reports whether a run of the atom is the one that is served.
func (x *peer) serves(instance string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.instance == instance
}

// alive reports whether the run that is served still is there.
func (x *peer) alive() bool {
	if x.link != nil && x.link.broken() {
		return false
	}
	return x.held != nil || time.Since(x.polled) < liveness
}

// end ends a poll. One whose atom hung up is the end of that run, as far as is
// known: it or another may come.
func (x *peer) end(instance string, held chan struct{}, gone bool) {
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

// reports takes what an atom reports. It is taken from every run of an atom:
// what it tells did happen.
func (g *Gate) reports(w http.ResponseWriter, r *http.Request, p cloud.Peer, body []byte) {
	var reports wire.Reports
	if err := json.Unmarshal(body, &reports); err != nil {
		refuse(w, http.StatusBadRequest, wire.Refusal{Code: codeInvalid, Error: "the reports cannot be read: " + err.Error()})
		return
	}
	if err := g.service.Report(r.Context(), p.ID, reports); err != nil {
		g.fail(w, r, err)
		return
	}
	if h := reports.Heartbeat; h != nil && g.peers.of(p.ID).serves(reports.Instance) {
		g.service.Heard(p.ID, *h, reports.Generation)
	}
	if err := answer(w, struct{}{}); err != nil {
		g.log.Debug("reports were stored and not answered", "atom", p.ID, "error", err)
	}
}

// pack gives the archive of a package, or a part of it.
func (g *Gate) pack(w http.ResponseWriter, r *http.Request, p cloud.Peer, _ []byte) {
	sha := r.PathValue("sha")
	archive, err := g.service.AtomPackage(r.Context(), p.ID, sha)
	if err != nil {
		g.fail(w, r, err)
		return
	}
	defer archive.Close()
	w.Header().Set("Content-Type", wire.PackType)
	w.Header().Set("ETag", `"`+sha+`"`)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(10 * time.Minute))
	http.ServeContent(w, r, "", time.Time{}, archive)
}

// Held counts the polls that are held now.
func (g *Gate) Held() int { return int(g.held.Load()) }
