package agent

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"valence/atom/agent/cloudclient"
	"valence/internal/wire"
)

// poller polls the control plane and passes instructions and generations on.
type poller struct {
	*core
	sent       *sentTriggers
	deployer   *deployer
	heartbeats *heartbeats
	acks       acks
	handle     func(ctx context.Context, instructions []wire.Instruction) bool // false: some are postponed
	lastPoll   atomic.Int64                                                    // Unix milliseconds
}

// How interrupted polls reveal that long requests do not get through.
const (
	maxCuts        = 2
	shortPollTime  = time.Hour   // then long polls are tried again
	maxFencedDelay = time.Minute // the previous run may only appear to be alive
)

// pollState is the state of the poll loop.
type pollState struct {
	backoff    cloudclient.Backoff
	cuts       int       // consecutive long polls that were interrupted
	shortUntil time.Time // no long polls before this time
	fenced     int       // consecutive responses that this atom is fenced
	stale      int       // consecutive responses with an outdated generation
	unhandled  int       // consecutive responses with a postponed instruction
}

// run polls until ctx ends or the atom is retired.
func (p *poller) run(ctx context.Context) {
	if !p.ready(ctx) {
		return
	}
	s := &pollState{backoff: cloudclient.Backoff{Initial: p.timing.MinBackoff, Max: p.timing.MaxBackoff}}
	for ctx.Err() == nil && !p.deployer.isRetired() {
		begin := time.Now()
		hold := p.timing.Hold
		short := p.deployer.policy().ShortPoll || begin.Before(s.shortUntil)
		if short {
			hold = 0
		}
		acked := p.acks.all()
		answer, err := p.pollOnce(ctx, hold, acked)
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		if err != nil {
			wait = p.pollFailed(s, hold, time.Since(begin), err)
		} else {
			p.spool.ForgetAcked(p.acks.confirm(acked))
			wait = p.handleResponse(ctx, s, answer, hold, time.Since(begin))
			if short && wait < p.timing.ShortPoll && len(answer.Instructions) == 0 {
				wait = p.timing.ShortPoll
			}
		}
		if wait > 0 && !sleep(ctx, wait) {
			return
		}
	}
	<-ctx.Done()
}

func (p *poller) pollOnce(ctx context.Context, hold time.Duration, acked []int64) (*wire.PollResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, hold+20*time.Second)
	defer cancel()
	answer := &wire.PollResponse{}
	in := &wire.PollRequest{Instance: p.instance, Generation: p.deployer.latestGeneration(), Ack: acked, Wait: int(hold / time.Second), Heartbeat: p.heartbeats.heartbeat(ctx)}
	print := in.Heartbeat.Digest
	known := p.sent.is(print)
	if known {
		in.Heartbeat.TriggerStatus = wire.TriggerStatus{Digest: print}
	}
	err := p.client.Call(ctx, wire.PathPoll, in, answer)
	if err != nil || answer.SendTriggers {
		p.sent.set("")
	} else if !known {
		p.sent.set(print)
	}
	return answer, err
}

// pollFailed returns the delay after a failed poll.
func (p *poller) pollFailed(s *pollState, hold, took time.Duration, err error) time.Duration {
	if p.connected.Swap(false) || !s.backoff.Failing() {
		p.log.Warn("cannot reach the control plane; the atom keeps running", "url", p.options.Identity.URL, "error", err)
	}
	status := 0
	if r := (*cloudclient.ResponseError)(nil); errors.As(err, &r) {
		status = r.Status
	}
	// Proxies that do not hold long requests close them or respond 502 or 504.
	if cut := status == 0 || status == http.StatusBadGateway || status == http.StatusGatewayTimeout; cut && hold > 0 && took > hold/10 {
		if s.cuts++; s.cuts >= maxCuts {
			p.log.Warn("long polls are interrupted on the way; polling at intervals instead", "every", p.timing.ShortPoll.String())
			s.shortUntil, s.cuts = time.Now().Add(shortPollTime), 0
			return 0
		}
	}
	switch cloudclient.ErrorCode(err) {
	case wire.CodeFenced:
		return p.fencedDelay(s)
	case wire.CodeRevoked, wire.CodeBadSignature, wire.CodeUnknownAtom:
		p.log.Error("the control plane rejects this atom; deployed projects keep running", "error", err)
		return s.backoff.After(err)
	}
	return s.backoff.After(err)
}

// fencedDelay returns the delay after a response that another run of this atom
// is live. That run may have been killed recently.
func (p *poller) fencedDelay(s *pollState) time.Duration {
	if s.fenced++; s.fenced > 4 {
		p.log.Error("another atom uses this identity, probably from a copy of the data folder; only one of them is served. If this is the copy, stop it and join again: valence join URL --again --name NAME --data DIR")
	}
	return min(p.timing.MinBackoff<<min(s.fenced, 6), maxFencedDelay)
}

// staleDelay returns the delay after an outdated generation, which every
// response would contain.
func (p *poller) staleDelay(s *pollState, d *wire.Desired) time.Duration {
	if s.stale++; s.stale == 4 {
		p.log.Error("the control plane sent a generation older than the current one; it is ignored. The control plane was restored, replaced or had a wrong clock. Join again: valence join URL --again",
			"given", d.Generation, "known", p.deployer.latestGeneration())
	}
	return min(p.timing.MinBackoff<<min(s.stale, 6), maxFencedDelay)
}

// handleResponse handles the response to a poll and returns the delay before
// the next one.
func (p *poller) handleResponse(ctx context.Context, s *pollState, answer *wire.PollResponse, hold, took time.Duration) time.Duration {
	if !p.connected.Swap(true) {
		p.log.Info("connected to the control plane", "url", p.options.Identity.URL)
	}
	p.lastPoll.Store(time.Now().UnixMilli())
	s.backoff.Reset()
	s.cuts = 0
	if answer.Fenced {
		return p.fencedDelay(s)
	}
	s.fenced = 0
	if !answer.SendTriggers && !p.sent.is(p.heartbeats.triggerStatus().Digest) {
		notify(p.sent.changed) // changed while the poll was held
	}
	old := answer.Desired != nil && !p.deployer.setTarget(answer.Desired)
	if p.handle(ctx, answer.Instructions) {
		s.unhandled = 0
	} else {
		s.unhandled = min(s.unhandled+1, 6)
		return min(p.timing.MinBackoff<<(s.unhandled-1), 30*time.Second)
	}
	if old {
		return p.staleDelay(s, answer.Desired)
	}
	s.stale = 0
	if len(answer.Instructions) == 0 && answer.Desired == nil && !answer.SendTriggers && hold > 0 && took < hold/10 {
		return p.timing.MinBackoff // something other than the control plane responds
	}
	return 0
}
