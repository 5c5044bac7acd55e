package run

import (
	"encoding/json"
	"errors"
	"time"

	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/blob"
	"valence/internal/document"
	"valence/internal/fault"
)

// waitEntry is the body of the entry that begins a wait or a sleep.
type waitEntry struct {
	Until time.Time `json:"until,omitzero"`
	Name  string    `json:"name,omitempty"`
	Key   string    `json:"key,omitempty"`
}

// matchKey identifies the name and the key of a wait among those of all releases.
func matchKey(release, name, key string) []byte {
	b := Derive("signal", Qualify(release, name), key)
	return b[:]
}

// beginWait returns when a wait or a sleep ends, and whether it begins now. If
// it does, beginWait appends its entry.
func (e *execution) beginWait(f *steps.Frame, kind string, w waitEntry, lasts time.Duration, waits ...store.Wait) (waitEntry, bool, error) {
	key := f.Key()
	if x, ok := e.journaled(kind, key); ok {
		if err := json.Unmarshal(x.Body, &w); err != nil {
			return w, false, mismatch(key, err)
		}
		return w, false, nil
	}
	now := e.clock(f)
	if lasts > 0 {
		w.Until = e.engine.Clock.Now().Truncate(time.Millisecond).Add(lasts)
	}
	body, err := json.Marshal(w)
	if err != nil {
		return w, false, err
	}
	return w, true, e.appendEntry(store.Entry{Path: key, Kind: kind, At: now, Body: body}, nil, waits...)
}

// Wait suspends the path until its signal is in the journal or its time is
// over. It returns the payload of the signal, or nil after a timeout.
func (e *execution) Wait(f *steps.Frame, w *steps.Wait) (*document.Document, error) {
	key := f.Key()
	if x, ok := e.journaled(KindWake, key); ok {
		f.AdvanceClock(x.At)
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
		return nil, fault.Failf(fault.CodeInternal, "an execution in memory cannot wait")
	}
	if err := e.refuse(f, "this wait ended"); err != nil {
		return nil, err
	}
	open := store.Wait{Path: key, ID: waitID(key)}
	if w.Keyed {
		if err := e.checkLaneMates(w.Name); err != nil {
			return nil, err
		}
		open.Match = matchKey(e.plan.Release, w.Name, w.Key)
	}
	b, begins, err := e.beginWait(f, KindWait, waitEntry{Name: w.Name, Key: w.Key}, w.Timeout, open)
	if err != nil {
		return nil, err
	}
	if e.Cancelled() != nil {
		return e.await(f, b.Until)
	}
	suspended := &steps.Suspended{Due: b.Until, Waits: []int64{open.ID}, Reason: "wait " + w.Name}
	if begins {
		if f.Concurrent() { // other paths may run for long, and a signal must find this wait
			if err := e.flush(); err != nil {
				return nil, err
			}
		}
		return nil, suspended
	}
	now := e.clock(f)
	if b.Until.IsZero() || e.engine.Clock.Now().Before(b.Until) {
		return nil, suspended
	}
	err = e.giveUp(f, now)
	if err == store.ErrSignaled { // the first commit wins: the signal is in the journal of the next run
		suspended.Due = e.engine.Clock.Now()
		return nil, suspended
	}
	return nil, err
}

// giveUp ends a wait whose time is over. It fails with store.ErrSignaled if the
// signal was first.
func (e *execution) giveUp(f *steps.Frame, now time.Time) error {
	key := f.Key()
	err := e.commitIf(store.GiveUp{WaitID: waitID(key)}, store.Entry{Path: key, Kind: KindWake, At: now}, store.ErrSignaled)
	if err == nil {
		f.AdvanceClock(now)
	}
	return err
}

// signalPoll is how often the `finally` of a cancelled execution looks for the
// signal that it waits for.
const signalPoll = 200 * time.Millisecond

// await blocks until the signal of a wait arrives. Only the `finally` of a
// cancelled execution does that, whose time is bounded.
func (e *execution) await(f *steps.Frame, until time.Time) (*document.Document, error) {
	if err := e.flush(); err != nil {
		return nil, err
	}
	key := f.Key()
	for {
		entries, err := e.engine.Store.Entries(f.Context(), e.seq)
		if err != nil {
			return nil, unavailable(err)
		}
		for _, x := range entries {
			if x.Kind != KindWake || x.Path != key {
				continue
			}
			r, _, err := unpackCall(x.Body)
			if err != nil {
				return nil, mismatch(key, err)
			}
			f.AdvanceClock(x.At)
			return r.Doc, nil
		}
		if !until.IsZero() && !e.engine.Clock.Now().Before(until) {
			if err := e.giveUp(f, e.clock(f)); err != store.ErrSignaled {
				return nil, err
			}
			continue
		}
		if err := e.engine.Clock.Sleep(f.Context(), signalPoll); err != nil {
			return nil, err
		}
	}
}

// Sleep suspends the path for a time. In memory it blocks.
func (e *execution) Sleep(f *steps.Frame, d time.Duration) error {
	key := f.Key()
	if x, ok := e.journaled(KindWake, key); ok {
		f.AdvanceClock(x.At)
		return nil
	}
	if d <= 0 {
		return nil
	}
	if err := e.refuse(f, "this sleep ended"); err != nil {
		return err
	}
	b, _, err := e.beginWait(f, KindSleep, waitEntry{}, d)
	if err != nil {
		return err
	}
	if left := b.Until.Sub(e.engine.Clock.Now()); left > 0 {
		if e.durable && e.Cancelled() == nil {
			return &steps.Suspended{Due: b.Until, Reason: "sleep"}
		}
		if err := e.engine.Clock.Sleep(f.Context(), left); err != nil {
			return err
		}
	}
	now := e.clock(f)
	f.AdvanceClock(now)
	return e.appendEntry(store.Entry{Path: key, Kind: KindWake, At: now}, nil)
}

// Resume sends a signal, in one commit with the pending work of the execution.
func (e *execution) Resume(f *steps.Frame, r *steps.Resume) error {
	key := f.Key()
	if x, ok := e.journaled(KindResume, key); ok {
		f.AdvanceClock(x.At)
		if len(x.Body) > 0 {
			return unknownWait(r)
		}
		return nil
	}
	if err := e.refuse(f, "this signal"); err != nil {
		return err
	}
	now := e.clock(f)
	body := r.Body
	if r.Keep > 0 { // a signal that is kept may outlive the files of this execution
		var err error
		if body, err = blob.Inline(f.Context(), body); err != nil {
			return err
		}
	}
	wake, err := WakeEntry(redacted(body, e.redact), now)
	if err != nil {
		return err
	}
	signal := &store.Signal{Match: matchKey(e.plan.Release, r.Name, r.Key), Entry: wake, Origin: DeriveText("resume", e.root(), key)}
	if r.Keep > 0 {
		signal.Keep = e.engine.Clock.Now().Add(r.Keep)
	}
	x := store.Entry{Path: key, Kind: KindResume, At: now}
	if e.durable {
		e.mu.Lock()
		e.count++
		e.mu.Unlock()
		err = e.commitIf(signal, x, store.ErrNoWaiter)
	} else if _, err = e.engine.Store.Signal(f.Context(), signal); err == nil {
		err = e.appendEntry(x, nil)
	} else if !errors.Is(err, store.ErrNoWaiter) {
		return unavailable(err)
	}
	f.AdvanceClock(now)
	if !errors.Is(err, store.ErrNoWaiter) {
		return err
	}
	x.Body = []byte{1}
	if err := e.appendEntry(x, nil); err != nil {
		return err
	}
	return unknownWait(r)
}

func unknownWait(r *steps.Resume) error {
	return &fault.Failure{Code: fault.CodeWaitUnknown, Message: "no execution waits for " + r.Name + " with the key " + r.Key}
}

// WakeEntry returns the entry that ends a wait with a payload.
func WakeEntry(payload *document.Document, at time.Time) (store.Entry, error) {
	body, err := packCall(&connectors.Result{Doc: payload}, nil)
	return store.Entry{Kind: KindWake, At: at, Body: body}, err
}

// Callback returns the URL that ends a wait of this execution.
func (e *execution) Callback(key string) string {
	return e.engine.PublicURL() + "/callbacks/" + e.engine.IDs.CallbackToken(e.seq, e.received, waitID(key))
}
