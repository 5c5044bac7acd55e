package gate

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// verifyLimiter bounds how many signatures are verified at once, because each
// occupies a processor. Others wait in a queue and are refused beyond it.
type verifyLimiter struct {
	slots   chan struct{}
	queue   int64
	waiting atomic.Int64
}

// maxConcurrent is the number of requests of one atom served at once. It needs
// a few: a poll, reports, a package.
const maxConcurrent = 8

// VerifyWait bounds how long a request waits for verification.
const VerifyWait = 20 * time.Second

// enter waits for a slot. A request that must be served ignores the limit of
// the queue.
func (l *verifyLimiter) enter(ctx context.Context, must bool) (release func(), ok bool) {
	select {
	case l.slots <- struct{}{}:
		return l.leave, true
	default:
	}
	if n := l.waiting.Add(1); n > l.queue && !must {
		l.waiting.Add(-1)
		return nil, false
	}
	defer l.waiting.Add(-1)
	timer := time.NewTimer(VerifyWait)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return l.leave, true
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil, false
}

func (l *verifyLimiter) leave() { <-l.slots }

// Overload is the n of RetryAfter for a request that is refused.
const Overload = 5

// RetryAfter returns about n seconds, so that refused clients do not all return
// at once.
func RetryAfter(n int) int { return 1 + rand.IntN(2*n) }

// refuseOverloaded refuses a request. The atom's next one will wait instead.
func (g *Gate) refuseOverloaded(w http.ResponseWriter, p cloud.Peer, r *http.Request) {
	if r.Context().Err() != nil {
		return
	}
	g.o.Metrics.Refused(wire.CodeOverloaded)
	if p.ID != "" {
		g.peers.of(p.ID).prioritized.Store(true)
	}
	w.Header().Set("Retry-After", strconv.Itoa(RetryAfter(Overload)))
	refuse(w, http.StatusServiceUnavailable, wire.ErrorResponse{Code: wire.CodeOverloaded, Error: "too many requests; retry later"})
}

// peers holds the atoms seen since this start. Those that no longer exist are
// dropped now and then; their requests are refused before they are looked up.
type peers struct {
	exists func(atom string) bool

	mu    sync.RWMutex
	all   map[string]*peer
	prune int // number of peers at which the next prune is due
}

// minPrune is the lowest number of peers at which some are dropped.
const minPrune = 64

type peer struct {
	prioritized atomic.Bool  // refused for overload; the next request must be served
	served      atomic.Int32 // requests being served

	mu       sync.Mutex
	window   wire.Window
	instance string        // the served instance
	polled   time.Time     // start or end of its last poll
	link     *link         // of its last poll; nil if unknown
	held     chan struct{} // closed when another poll replaces the held one
	spread   bool          // a poll was held since the start
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
		if len(p.all) >= max(p.prune, minPrune) {
			maps.DeleteFunc(p.all, func(id string, _ *peer) bool { return !p.exists(id) })
			p.prune = 2 * len(p.all)
		}
		x = &peer{}
		p.all[atom] = x
	}
	return x
}

// seen returns an atom, or nil if it has sent nothing since this start.
func (p *peers) seen(atom string) *peer {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.all[atom]
}

// acceptCounter accepts a counter once.
func (x *peer) acceptCounter(n uint64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.window.Admit(n)
}

// authenticated serves a request with a valid signature that is not a replay. A
// limit of 0 is for requests without a body.
func (g *Gate) authenticated(limit int64, next func(http.ResponseWriter, *http.Request, cloud.Peer, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		claim, err := wire.ReadSignatureHeaders(r)
		if err != nil {
			g.deny(w, r, cloud.Peer{}, wire.CodeUnsigned, err.Error())
			return
		}
		if claim.Epoch != g.epoch { // checked first: after a restart every atom sends an old epoch
			refuse(w, http.StatusUnauthorized, wire.ErrorResponse{Code: wire.CodeWrongEpoch, Error: "the control plane has restarted; sign with the new epoch", Epoch: g.epoch})
			return
		}
		if err := g.cluster.CheckFresh(); err != nil {
			g.fail(w, r, err)
			return
		}
		p, known := g.atoms.Peer(claim.Atom)
		if !known { // it may have enrolled at another control plane just now
			if err := g.cluster.Refresh(r.Context()); err != nil {
				g.fail(w, r, err)
				return
			}
			p, known = g.atoms.Peer(claim.Atom)
		}
		if !known {
			g.deny(w, r, cloud.Peer{}, wire.CodeUnknownAtom, "unknown atom: enroll it")
			return
		}
		state := g.peers.of(p.ID)
		body, err := readBody(w, r, limit)
		if err != nil {
			refuseBody(w, err)
			return
		}
		code, ok := g.verify(r, state, p, claim, body)
		switch {
		case !ok:
			g.refuseOverloaded(w, p, r)
		case code != "":
			g.deny(w, r, p, code, denials[code])
		case state.served.Add(1) > maxConcurrent:
			state.served.Add(-1)
			g.refuseOverloaded(w, p, r)
		default:
			defer state.served.Add(-1)
			next(w, r, p, body)
		}
	}
}

var denials = map[string]string{
	wire.CodeBadSignature: "the signature is not by this atom's key",
	wire.CodeReplayed:     "replayed request",
	wire.CodeRevoked:      "this atom was revoked",
}

// verify checks the signature and accepts the counter. It returns the code of a
// refusal, or false if there was no slot.
func (g *Gate) verify(r *http.Request, state *peer, p cloud.Peer, claim wire.SignatureHeaders, body []byte) (code string, ok bool) {
	release, ok := g.verifier.enter(r.Context(), state.prioritized.Load())
	if !ok {
		return "", false
	}
	defer release()
	state.prioritized.Store(false)
	switch err := wire.Verify(r, body, p.Key); {
	case err != nil:
		return wire.CodeBadSignature, true
	case p.Revoked:
		return wire.CodeRevoked, true
	}
	if err := state.acceptCounter(claim.Counter); errors.Is(err, wire.ErrReplayed) {
		return wire.CodeReplayed, true
	}
	return "", true
}

// deny responds with 401 and records the refusal in the audit log.
func (g *Gate) deny(w http.ResponseWriter, r *http.Request, p cloud.Peer, code, text string) {
	g.atoms.RecordRefusal(r.Context(), p, code, remoteAddr(r))
	refuse(w, http.StatusUnauthorized, wire.ErrorResponse{Code: code, Error: text})
}
