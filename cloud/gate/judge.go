package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// judges bounds how many requests are judged at once: a signature takes a
// processor. Others wait their turn; beyond the queue they are sent away.
type judges struct {
	slots   chan struct{}
	queue   int64
	waiting atomic.Int64
}

// atOnce is how many requests of one atom are served at once. It needs a few: a
// poll, reports, a package.
const atOnce = 8

// judgeTime bounds how long a request waits for its turn.
const judgeTime = 20 * time.Second

// enter waits for a turn. Who must is not sent away because others wait.
func (j *judges) enter(ctx context.Context, must bool) (release func(), ok bool) {
	select {
	case j.slots <- struct{}{}:
		return j.leave, true
	default:
	}
	if n := j.waiting.Add(1); n > j.queue && !must {
		j.waiting.Add(-1)
		return nil, false
	}
	defer j.waiting.Add(-1)
	timer := time.NewTimer(judgeTime)
	defer timer.Stop()
	select {
	case j.slots <- struct{}{}:
		return j.leave, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, false
}

func (j *judges) leave() { <-j.slots }

// retryAfter gives seconds around n, so that those who are sent away together
// do not come back together.
func retryAfter(n int) int { return 1 + rand.IntN(2*n) }

// overloaded sends a request away. The next time the atom is not.
func (g *Gate) overloaded(w http.ResponseWriter, p cloud.Peer, r *http.Request) {
	if r.Context().Err() != nil {
		return
	}
	g.o.Metrics.Refused(codeOverloaded)
	if p.ID != "" {
		g.peers.of(p.ID).sentAway.Store(true)
	}
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter(5)))
	refuse(w, http.StatusServiceUnavailable, wire.Refusal{Code: codeOverloaded, Error: "too many atoms ask at once; ask again a little later"})
}

// peers holds what is known of atoms since this start.
type peers struct {
	mu  sync.RWMutex
	all map[string]*peer
}

type peer struct {
	sentAway atomic.Bool  // it was refused for overload: next time it must be let in
	served   atomic.Int32 // requests of it that are served now

	mu       sync.Mutex
	window   wire.Window
	instance string        // the run of the atom that is served
	polled   time.Time     // when its last poll began or ended
	link     *link         // of its last poll; nil: not known
	held     chan struct{} // closed when another poll takes the place of the held one
}

func (p *peers) of(atom string) *peer {
	p.mu.RLock()
	x := p.all[atom]
	p.mu.RUnlock()
	if x != nil {
		return x
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[string]*peer{}
	}
	if x = p.all[atom]; x == nil {
		x = &peer{}
		p.all[atom] = x
	}
	return x
}

// take takes a counter, once.
func (x *peer) take(n uint64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.window.Take(n)
}

// signed lets a request through whose signature is right, and which was not
// made before. A limit of 0 is for requests without a body.
func (g *Gate) signed(limit int64, next func(http.ResponseWriter, *http.Request, cloud.Peer, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claim, err := wire.ReadClaim(r)
		if err != nil {
			g.denied(w, r, cloud.Peer{}, codeUnsigned, err.Error())
			return
		}
		if claim.Epoch != g.epoch { // said before anything is read: after a restart every atom comes with an old one
			refuse(w, http.StatusUnauthorized, wire.Refusal{Code: codeEpoch, Error: "the control plane has started since; sign for its new epoch", Epoch: g.epoch})
			return
		}
		if err := g.service.Vouch(); err != nil {
			g.fail(w, r, err)
			return
		}
		p, known := g.service.Peer(claim.Atom)
		if !known { // it may have enrolled at another control plane just now
			if err := g.service.Confirm(r.Context()); err != nil {
				g.fail(w, r, err)
				return
			}
			p, known = g.service.Peer(claim.Atom)
		}
		if !known {
			g.denied(w, r, cloud.Peer{}, codeUnknown, "this atom is not known here: enrol it")
			return
		}
		state := g.peers.of(p.ID)
		body, err := read(w, r, limit)
		if err != nil {
			unreadable(w, err)
			return
		}
		code, ok := g.judge(r, state, p, claim, body)
		switch {
		case !ok:
			g.overloaded(w, p, r)
		case code != "":
			g.denied(w, r, p, code, denials[code])
		case state.served.Add(1) > atOnce:
			state.served.Add(-1)
			g.overloaded(w, p, r)
		default:
			defer state.served.Add(-1)
			next(w, r, p, body)
		}
	}
}

var denials = map[string]string{
	codeSignature: "the signature is not that of this atom's key",
	codeReplayed:  "this request was made before",
	codeRevoked:   "this atom was revoked",
}

// judge checks the signature and takes the counter; code is what is wrong. It
// is false where there was no turn for it.
func (g *Gate) judge(r *http.Request, state *peer, p cloud.Peer, claim wire.Claim, body []byte) (code string, ok bool) {
	release, ok := g.judges.enter(r.Context(), state.sentAway.Load())
	if !ok {
		return "", false
	}
	defer release()
	state.sentAway.Store(false)
	switch err := wire.Verify(r, body, p.Key); {
	case err != nil:
		return codeSignature, true
	case p.Revoked:
		return codeRevoked, true
	}
	if err := state.take(claim.Counter); errors.Is(err, wire.ErrReplayed) {
		return codeReplayed, true
	}
	return "", true
}

// denied answers 401, and has the operator see it.
func (g *Gate) denied(w http.ResponseWriter, r *http.Request, p cloud.Peer, code, text string) {
	g.service.Refused(r.Context(), p, code, from(r))
	refuse(w, http.StatusUnauthorized, wire.Refusal{Code: code, Error: text})
}
