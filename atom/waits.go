package atom

import (
	"context"
	"crypto/hmac"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"valence/atom/steps"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
)

// waitEntry is the body of the entry of a wait or a sleep that has begun.
type waitEntry struct {
	Until time.Time `json:"until,omitzero"`
	Name  string    `json:"name,omitempty"`
	Key   string    `json:"key,omitempty"`
}

// placeOf stands for a wait's key in the journal.
func placeOf(key string) int64 {
	b := derive("wait", key)
	return int64(binary.BigEndian.Uint64(b[:8]))
}

// matchOf stands for the name and the key of a wait among those of all releases.
func matchOf(release, name, key string) []byte {
	b := derive("signal", qualified(release, name), key)
	return b[:]
}

// begun finds until when a wait or a sleep lasts, noting it if it begins now.
func (e *execution) begun(f *steps.Frame, kind string, b waitEntry, lasts time.Duration, waits ...Wait) (waitEntry, bool, error) {
	key := f.Key()
	if x, ok := e.journaled(kind, key); ok {
		if err := json.Unmarshal(x.Body, &b); err != nil {
			return b, false, mismatch(key, err)
		}
		return b, false, nil
	}
	now := e.clock(f)
	if lasts > 0 {
		b.Until = now.Add(lasts)
	}
	body, err := json.Marshal(b)
	if err != nil {
		return b, false, err
	}
	return b, true, e.note(Entry{Path: key, Kind: kind, At: now, Body: body}, nil, waits...)
}

// Wait suspends the path until its signal is in the journal, or its time over.
func (e *execution) Wait(f *steps.Frame, w *steps.Wait) (*document.Document, error) {
	key := f.Key()
	if x, ok := e.journaled(kindWake, key); ok {
		f.Happened(x.At)
		if len(x.Body) == 0 {
			return nil, nil
		}
		r, _, err := unpackCall(x.Body)
		if err != nil {
			return nil, mismatch(key, err)
		}
		return r.Doc, nil
	}
	if !e.durable {
		return nil, fault.Failf(fault.CodeInternal, "a wait cannot be reached by an execution in memory")
	}
	open := Wait{Path: key, Place: placeOf(key)}
	if w.Keyed {
		if err := e.ownKey(w.Name); err != nil {
			return nil, err
		}
		open.Match = matchOf(e.plan.release, w.Name, w.Key)
	}
	b, begins, err := e.begun(f, kindWait, waitEntry{Name: w.Name, Key: w.Key}, w.Timeout, open)
	if err != nil {
		return nil, err
	}
	parked := &steps.Parked{Due: b.Until, Signal: true, Why: "wait " + w.Name}
	if begins {
		if f.Beside() { // the others may run for long: whoever resumes this one must find it
			if err := e.flush(); err != nil {
				return nil, err
			}
		}
		return nil, parked
	}
	now := e.clock(f)
	if b.Until.IsZero() || now.Before(b.Until) {
		return nil, parked
	}
	switch err := e.giveUp(key, now); err {
	case nil:
		f.Happened(now)
		return nil, nil
	case ErrSignalled: // the first commit counts: it is in the journal of the next run
		parked.Due = now
		return nil, parked
	default:
		return nil, err
	}
}

// giveUp commits that a wait's time is over, with what is pending.
func (e *execution) giveUp(key string, at time.Time) error {
	e.mu.Lock()
	c := e.takePending()
	own := e.commits()
	e.mu.Unlock()
	c.GaveUp = []int64{placeOf(key)}
	before := len(c.Entries)
	c.Entries = append(c.Entries, Entry{Path: key, Kind: kindWake, At: at})
	err := e.atom.apply(c)
	return e.refused(own, c, before, err, ErrSignalled)
}

// refused ends a commit that the store may refuse with one error, changing
// nothing; then the rest of it is pending again.
func (e *execution) refused(own *commitment, c *Change, entries int, err, refusal error) error {
	switch {
	case errors.Is(err, refusal):
		e.restore(c, entries)
		if err := own.end(nil, true); err != nil {
			return err
		}
		return refusal
	case errors.Is(err, ErrEnded):
		err = steps.Interrupted
	}
	return own.end(err, false)
}

// restore puts back what a refused change would have committed.
func (e *execution) restore(c *Change, entries int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = append(c.Entries[:entries:entries], e.pending...)
	e.handoffs = append(c.Handoffs, e.handoffs...)
	e.waits = append(c.Waits, e.waits...)
	e.marks = append(c.Marks, e.marks...)
	e.writing = append(c.Writes, e.writing...)
	e.forget = append(c.Forget, e.forget...)
	if c.Reply != nil {
		e.kept = c.Reply
	}
	if c.Settled != nil {
		e.settled = c.Settled
	}
}

// Sleep suspends the path for a time; in memory on the caller's.
func (e *execution) Sleep(f *steps.Frame, d time.Duration) error {
	key := f.Key()
	if x, ok := e.journaled(kindWake, key); ok {
		f.Happened(x.At)
		return nil
	}
	if d <= 0 {
		return nil
	}
	b, _, err := e.begun(f, kindSleep, waitEntry{}, d)
	if err != nil {
		return err
	}
	if left := time.Until(b.Until); left > 0 {
		if e.durable {
			return &steps.Parked{Due: b.Until, Why: "sleep"}
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-f.Context().Done():
			return f.Context().Err() // the frame knows why
		}
	}
	now := e.clock(f)
	f.Happened(now)
	return e.note(Entry{Path: key, Kind: kindWake, At: now}, nil)
}

// Resume gives a signal, in one commit with what this execution did so far.
func (e *execution) Resume(f *steps.Frame, r *steps.Resume) error {
	key := f.Key()
	if x, ok := e.journaled(kindResume, key); ok {
		f.Happened(x.At)
		if len(x.Body) > 0 {
			return unknownWait(r)
		}
		return nil
	}
	now := e.clock(f)
	body, err := packCall(&connectors.Result{Doc: redacted(r.Body, e.redact)}, nil)
	if err != nil {
		return err
	}
	g := &Signal{Match: matchOf(e.plan.release, r.Name, r.Key), Entry: Entry{Kind: kindWake, At: now, Body: body}, Origin: hex.EncodeToString(slice(derive("resume", e.root(), key)))}
	if r.Keep > 0 {
		g.Keep = now.Add(r.Keep)
	}
	x := Entry{Path: key, Kind: kindResume, At: now}
	if e.durable {
		err = e.resume(g, x)
	} else if _, err = e.atom.store.Signal(f.Context(), g); err == nil {
		err = e.note(x, nil)
	} else if !errors.Is(err, ErrNobody) {
		return unavailable(err)
	}
	f.Happened(now)
	if !errors.Is(err, ErrNobody) {
		return err
	}
	x.Body = []byte{1}
	if err := e.note(x, nil); err != nil {
		return err
	}
	return unknownWait(r)
}

func unknownWait(r *steps.Resume) error {
	return &fault.Failure{Code: fault.CodeWaitUnknown, Message: "no execution waits for " + r.Name + " with the key " + r.Key}
}

// resume commits a signal with its step, or with nothing where nobody waits.
func (e *execution) resume(g *Signal, x Entry) error {
	e.mu.Lock()
	c := e.takePending()
	own := e.commits()
	e.count++
	e.mu.Unlock()
	before := len(c.Entries)
	c.Entries = append(c.Entries, x)
	c.Signal = g
	err := e.atom.apply(c)
	return e.refused(own, c, before, err, ErrNobody)
}

// A callback's token holds which wait of which execution it ends, the day on
// which that was accepted, and what only this atom can make of it: 128 bits.
const (
	tokenMAC   = 16
	tokenPlain = 7 + 3 + 8
	tokenBytes = tokenPlain + tokenMAC
)

// Callback gives the URL that ends a wait of this execution.
func (e *execution) Callback(key string) string {
	var b [tokenBytes]byte
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(e.seq))
	copy(b[:7], n[1:])
	day := uint32(e.received.UTC().Unix() / 86400)
	b[7], b[8], b[9] = byte(day>>16), byte(day>>8), byte(day)
	binary.BigEndian.PutUint64(b[10:tokenPlain], uint64(placeOf(key)))
	mac := e.atom.mac("callback", b[:tokenPlain])
	copy(b[tokenPlain:], mac[:tokenMAC])
	return e.atom.PublicURL() + "/callbacks/" + idText.EncodeToString(b[:])
}

// target is what a callback's token stands for.
type target struct {
	seq      int64
	received time.Time // the day of it
	place    int64
}

// parseToken gives back what Callback took. It is false for a token that this
// atom did not make.
func (a *Atom) parseToken(token string) (target, bool) {
	if len(token) > 64 {
		return target{}, false
	}
	b, err := idText.DecodeString(token)
	if err != nil || len(b) != tokenBytes {
		return target{}, false
	}
	if mac := a.mac("callback", b[:tokenPlain]); !hmac.Equal(b[tokenPlain:], mac[:tokenMAC]) {
		return target{}, false
	}
	return target{
		seq:      int64(binary.BigEndian.Uint64(append([]byte{0}, b[:7]...))),
		received: time.Unix((int64(b[7])<<16|int64(b[8])<<8|int64(b[9]))*86400, 0).UTC(),
		place:    int64(binary.BigEndian.Uint64(b[10:tokenPlain])),
	}, true
}

// KnowsCallback reports whether a callback's token is one that this atom made.
func (a *Atom) KnowsCallback(token string) bool {
	_, ok := a.parseToken(token)
	return ok
}

// CallBack ends the wait that a token stands for. It fails with ErrUnknown for
// a token that this atom did not make, with ErrEnded where the wait is over,
// and with an error that means "send again" if it cannot be stored now.
// repeated tells that one came before: this one changed nothing.
func (a *Atom) CallBack(ctx context.Context, token string, doc *document.Document) (repeated bool, err error) {
	to, ok := a.parseToken(token)
	if !ok {
		return false, ErrUnknown
	}
	if a.stopping.Load() {
		return false, ErrStopping
	}
	if !a.started.Load() {
		return false, ErrStarting
	}
	body, err := packCall(&connectors.Result{Doc: doc}, nil)
	if err != nil {
		return false, err
	}
	signal := func(seq int64) (Landing, error) {
		return a.store.Signal(ctx, &Signal{Seq: seq, Place: to.place, Entry: Entry{Kind: kindWake, At: now(), Body: body}})
	}
	landing, err := signal(to.seq)
	for range maxHeirs {
		if err != nil || landing != Over {
			break
		}
		heir, ok := a.heir(ctx, to.seq, to.received)
		if !ok {
			break
		}
		to.seq, to.received = heir.seq, heir.received
		landing, err = signal(to.seq)
	}
	switch {
	case err != nil:
		return false, err
	case landing == Over:
		return false, ErrEnded
	}
	return landing == Repeated, nil
}

// maxHeirs bounds how often a callback is passed on.
const maxHeirs = 100

// heir gives the execution that took the place of a failed one with the same
// message: another system was asked with the failed one's address, and knows
// no other.
func (a *Atom) heir(ctx context.Context, seq int64, received time.Time) (target, bool) {
	x, err := a.store.Get(ctx, seq, received)
	if err != nil || x.Outcome == nil || x.Outcome.Resolved == nil {
		return target{}, false
	}
	var v ResolutionView
	if json.Unmarshal(x.Outcome.Resolved, &v) != nil || v.How != resolvedAgain {
		return target{}, false
	}
	next, err := a.get(ctx, v.Execution)
	if err != nil {
		return target{}, false
	}
	m, err := parseMeta(next.Meta)
	if err != nil || m.Root == "" { // another message
		return target{}, false
	}
	return target{seq: next.Seq, received: next.Received}, true
}
