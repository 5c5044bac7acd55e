package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"valence/internal/wire"
)

// acks are the messages whose effect is stored and that the control plane does
// not know of yet.
type acks struct {
	mu  sync.Mutex
	ids []int64
	of  map[int64]string // requests to execute, by message
}

// add takes a message, with the request that it is about; "": none.
func (a *acks) add(id int64, request string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.Contains(a.ids, id) {
		return
	}
	if a.ids = append(a.ids, id); request != "" {
		if a.of == nil {
			a.of = map[int64]string{}
		}
		a.of[id] = request
	}
}

func (a *acks) all() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.ids)
}

// told removes what a poll that was answered carried, and gives the requests.
func (a *acks) told(ids []int64) (requests []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = slices.DeleteFunc(a.ids, func(id int64) bool { return slices.Contains(ids, id) })
	for _, id := range ids {
		if request := a.of[id]; request != "" {
			requests = append(requests, request)
			delete(a.of, id)
		}
	}
	return requests
}

// backoff is how long to wait after failures: doubling, with full jitter, so
// that many atoms do not come back together.
type backoff struct {
	first, most time.Duration
	next        time.Duration
}

func (b *backoff) reset() { b.next = 0 }

// after gives the wait after one more failure. Where the other side said how
// long to wait, it is that and the jitter; not longer than after many failures,
// for it may be the page of a proxy that said so.
func (b *backoff) after(err error) time.Duration {
	b.next = min(max(2*b.next, b.first), b.most)
	wait := time.Duration(rand.Int64N(int64(b.next) + 1))
	if r := (*Refused)(nil); errors.As(err, &r) {
		wait += min(r.RetryAfter, b.most)
	}
	return wait
}

// How a poll that is cut tells that long requests do not get through.
const (
	cutsToShort = 2
	shortFor    = time.Hour   // then it is tried again
	fencedFor   = time.Minute // at most: the run before may only seem to live
)

// polling is what the poll loop knows of its own course.
type polling struct {
	backoff backoff
	cuts    int       // long polls in a row that broke off while held
	short   time.Time // no long polls before
	fenced  int       // answers in a row that another run of this atom lives
	behind  int       // answers in a row with a generation that is older than the one that runs
	undone  int       // answers in a row with a message that could not be dealt with
}

// poll asks until ctx ends.
func (a *Agent) poll(ctx context.Context) {
	if !a.ready(ctx) {
		return
	}
	p := &polling{backoff: backoff{first: a.pace.First, most: a.pace.Most}}
	for ctx.Err() == nil && !a.isRetired() {
		begin := time.Now()
		hold := a.pace.Hold
		short := a.policy().ShortPoll || begin.Before(p.short)
		if short {
			hold = 0
		}
		acked := a.acks.all()
		answer, err := a.pollOnce(ctx, hold, acked)
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		if err != nil {
			wait = a.pollFailed(p, hold, time.Since(begin), err)
		} else {
			a.spool.knows(a.acks.told(acked))
			wait = a.answered(ctx, p, answer, hold, time.Since(begin))
			if short && wait < a.pace.Short && len(answer.Messages) == 0 {
				wait = a.pace.Short
			}
		}
		if wait > 0 && !sleep(ctx, wait) {
			return
		}
	}
	<-ctx.Done()
}

func (a *Agent) pollOnce(ctx context.Context, hold time.Duration, acked []int64) (*wire.Polled, error) {
	ctx, cancel := context.WithTimeout(ctx, hold+20*time.Second)
	defer cancel()
	answer := &wire.Polled{}
	in := &wire.Poll{Instance: a.instance, Generation: a.known(), Ack: acked, Wait: int(hold / time.Second), Heartbeat: a.heartbeat(ctx)}
	print := in.Heartbeat.Print
	known := a.standing.knows(print)
	if known {
		in.Heartbeat.Standing = wire.Standing{Print: print}
	}
	err := a.link.call(ctx, wire.PathPoll, in, answer)
	if err != nil || answer.Tell {
		a.standing.tell("")
	} else if !known {
		a.standing.tell(print)
	}
	return answer, err
}

// pollFailed gives how long to wait after a poll without an answer.
func (a *Agent) pollFailed(p *polling, hold, took time.Duration, err error) time.Duration {
	if a.connected.Swap(false) || p.backoff.next == 0 {
		a.log.Warn("the control plane cannot be reached; the atom works on", "url", a.id.URL, "error", err)
	}
	status := 0
	if r := (*Refused)(nil); errors.As(err, &r) {
		status = r.Status
	}
	// A proxy that does not hold long requests cuts them, or answers 502 or 504.
	if cut := status == 0 || status == http.StatusBadGateway || status == http.StatusGatewayTimeout; cut && hold > 0 && took > hold/10 {
		if p.cuts++; p.cuts >= cutsToShort {
			a.log.Warn("long requests are cut off on the way; asking every few seconds instead", "every", a.pace.Short.String())
			p.short, p.cuts = time.Now().Add(shortFor), 0
			return 0
		}
	}
	switch refusal(err) {
	case "fenced":
		return a.isFenced(p)
	case "revoked", "bad_signature", "unknown_atom":
		a.log.Error("the control plane does not take this atom any more; what is deployed goes on", "error", err)
		return p.backoff.after(err)
	}
	return p.backoff.after(err)
}

// isFenced gives how long to wait where another run of this atom is served. It
// may be one that was killed and seems to live.
func (a *Agent) isFenced(p *polling) time.Duration {
	if p.fenced++; p.fenced > 4 {
		a.log.Error("another atom runs with the identity of this one, which is in a copy of its data folder: only one of them is served. Where this is the copy, stop it and join it anew: valence join URL --again --name NAME --data DIR")
	}
	return min(a.pace.First<<min(p.fenced, 6), fencedFor)
}

// isBehind gives how long to wait where the control plane gives what is older
// than what runs, and so would give it with every answer.
func (a *Agent) isBehind(p *polling, d *wire.Desired) time.Duration {
	if p.behind++; p.behind == 4 {
		a.log.Error("the control plane gives a generation that is older than the one that this atom knows, and is not taken: its clock was wrong once, or it is another one. Join it anew: valence join URL --again",
			"given", d.Generation, "known", a.known())
	}
	return min(a.pace.First<<min(p.behind, 6), fencedFor)
}

// answered deals with the answer of a poll, and gives how long to wait before
// the next.
func (a *Agent) answered(ctx context.Context, p *polling, answer *wire.Polled, hold, took time.Duration) time.Duration {
	if !a.connected.Swap(true) {
		a.log.Info("in touch with the control plane", "url", a.id.URL)
	}
	a.lastPoll.Store(time.Now().UnixMilli())
	p.backoff.reset()
	p.cuts = 0
	if answer.Fenced {
		return a.isFenced(p)
	}
	p.fenced = 0
	if !answer.Tell && !a.standing.knows(a.stands().Print) {
		ring(a.standing.bell) // it changed while the poll was held
	}
	old := answer.Desired != nil && !a.want(answer.Desired)
	if a.takeMessages(ctx, answer.Messages) {
		p.undone = 0
	} else {
		p.undone = min(p.undone+1, 6)
		return min(a.pace.First<<(p.undone-1), 30*time.Second)
	}
	if old {
		return a.isBehind(p, answer.Desired)
	}
	p.behind = 0
	if len(answer.Messages) == 0 && answer.Desired == nil && !answer.Tell && hold > 0 && took < hold/10 {
		return a.pace.First // something on the way answers in place of the control plane
	}
	return 0
}

// known is the newest generation that need not be sent again: the one that
// runs, one that is being worked on, or one that was refused.
func (a *Agent) known() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := max(a.state.Generation, a.state.Refused)
	if a.desired != nil {
		n = max(n, a.desired.Generation)
	}
	return n
}

func (a *Agent) policy() wire.Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.Desired == nil {
		return wire.Policy{}
	}
	return a.state.Desired.Policy
}

// How many causes of failures are added up, and how long the sum is good for.
const (
	maxCauses   = 1000
	failuresFor = 10 * time.Second
)

// unresolved counts the failed executions that nobody has dealt with.
func (a *Agent) unresolved(ctx context.Context) int64 {
	a.counting.Lock()
	defer a.counting.Unlock()
	if time.Since(a.counted) < failuresFor {
		return a.failed
	}
	groups, err := a.atom.FailureGroups(ctx, "", maxCauses)
	if err != nil {
		return a.failed
	}
	a.counted, a.failed = time.Now(), 0
	for _, g := range groups {
		a.failed += g.Count
	}
	return a.failed
}

func (a *Agent) heartbeat(ctx context.Context) wire.Heartbeat {
	h := wire.Heartbeat{Version: a.o.Version, Host: a.o.Host, StartedAt: a.started, Standing: a.stands(), Failed: a.unresolved(ctx), Health: "ok"}
	for _, d := range a.atom.Deployed() {
		if load, err := a.atom.Load(ctx, d.Process.Name); err == nil {
			h.Backlog += load.Waiting
		}
	}
	if err := a.atom.Ready(); err != nil {
		h.Health = err.Error()
	}
	if err := a.spool.db.Err(); err != nil {
		h.Health = "the folder " + Folder + " of the data folder cannot be written, so nothing is deployed or executed from afar: " + err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.runs.broken != "" {
		h.Health = a.runs.broken
	}
	for _, d := range a.runs.desired.Deployments {
		h.Packages = append(h.Packages, d.Package)
	}
	return h
}
