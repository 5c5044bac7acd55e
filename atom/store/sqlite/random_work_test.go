package sqlite_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"valence/atom/store"
)

// randomWorker changes executions of its own, and acknowledges each change to
// the harness.
type randomWorker struct {
	h    *harness
	r    *rand.Rand
	live []*workedOn
}

// workedOn is a live execution with the length of its journal.
type workedOn struct {
	seq     int64
	entries int
}

// randomWork makes n changes.
func (c *harness) randomWork(id, n int) {
	w := &randomWorker{h: c, r: rand.New(rand.NewPCG(uint64(id), 99))}
	for i := range n {
		name := fmt.Sprintf("w%d-%d", id, i)
		var err error
		if len(w.live) == 0 || w.r.IntN(3) == 0 {
			err = w.accept(name)
		} else if err = w.change(name); err == nil && w.r.IntN(5) == 0 {
			err = w.settle(name)
		}
		if err != nil {
			c.t.Errorf("%s: %v", name, err)
			return
		}
	}
}

func (w *randomWorker) accept(name string) error {
	a := &store.Message{Process: fmt.Sprint("p", w.r.IntN(2)), Plan: "plan", Env: "env", Received: time.Now().UTC(), Doc: docOf(w.r, name)}
	switch w.r.IntN(6) {
	case 0:
		a.Seq = w.h.store.Reserve()
		a.Due = time.Now().UTC()
		a.Entries = []store.Entry{{Path: "early", Kind: "reply", At: time.Now()}}
	case 1:
		a.Dedupe = &store.Dedupe{Key: name, Until: time.Now().Add(time.Hour)}
	}
	if w.r.IntN(4) == 0 && a.Seq == 0 {
		return w.acceptEnded(name, a)
	}
	receipt, err := w.h.store.Accept(ctx, a)
	if err != nil {
		return err
	}
	w.h.acknowledge(receipt.Seq, "accepted "+name, func(x *store.Execution) error {
		if !bytes.Equal(x.Doc, a.Doc) || x.Process != a.Process || !x.Received.Equal(a.Received) {
			return fmt.Errorf("got a message of %d bytes for %s, want %d for %s", len(x.Doc), x.Process, len(a.Doc), a.Process)
		}
		return nil
	})
	w.h.assigned(receipt.Seq)
	w.live = append(w.live, &workedOn{receipt.Seq, len(a.Entries)})
	return nil
}

// acceptEnded accepts a message of a source whose execution has ended.
func (w *randomWorker) acceptEnded(name string, m *store.Message) error {
	a := &store.Arrival{Message: m, Outcome: &store.Outcome{Status: store.Completed, Started: time.Now(), Ended: time.Now(), Trace: docOf(w.r, name)}}
	if err := w.h.store.AcceptAll(ctx, []*store.Arrival{a}); err != nil {
		return err
	}
	w.h.acknowledge(a.Receipt.Seq, "ended "+name, func(x *store.Execution) error {
		if !bytes.Equal(x.Doc, m.Doc) || x.Outcome == nil || x.Outcome.Status != store.Completed || !bytes.Equal(x.Outcome.Trace, a.Outcome.Trace) {
			return fmt.Errorf("got a message of %d bytes and outcome %+v, want %d and completed", len(x.Doc), x.Outcome, len(m.Doc))
		}
		return nil
	})
	w.h.assigned(a.Receipt.Seq)
	return nil
}

func (w *randomWorker) change(name string) error {
	k := w.r.IntN(len(w.live))
	m := w.live[k]
	change := &store.Change{Seq: m.seq}
	if w.r.IntN(4) > 0 {
		change.Entries = []store.Entry{{Path: strconv.Itoa(m.entries), Kind: "call", At: time.Now(), Body: docOf(w.r, name)}}
		m.entries++
	}
	status := store.Status("")
	switch w.r.IntN(6) {
	case 0:
		change.Disposition = &store.Suspension{State: store.Waiting, Due: time.Now().Add(time.Hour)}
	case 1:
		status = store.Failed
	case 2, 3:
		status = store.Completed
	case 4:
		h := &store.Message{Process: "child", Received: time.Now().UTC(), Origin: name, Doc: []byte(name)}
		change.Handoffs = []*store.Message{h}
		change.Entries = append(change.Entries, store.Entry{Path: name, Kind: "handoff", At: time.Now()})
		m.entries++
	}
	if status != "" {
		change.Disposition = &store.Outcome{Status: status, Started: time.Now(), Ended: time.Now(), Trace: docOf(w.r, name)}
		w.live = slices.Delete(w.live, k, k+1)
	}
	if err := w.h.store.Apply(ctx, change); err != nil {
		return err
	}
	n := m.entries
	w.h.acknowledge(m.seq, "changed "+name, func(x *store.Execution) error {
		if len(x.Journal) < n {
			return fmt.Errorf("got %d journal entries, want at least %d", len(x.Journal), n)
		}
		for i, e := range x.Journal {
			if e.Kind == "call" && len(e.Body) == 0 {
				return fmt.Errorf("entry %d has lost its body", i)
			}
		}
		if status != "" && (x.Outcome == nil || x.Outcome.Status != status || !bytes.Equal(x.Outcome.Trace, change.Outcome().Trace)) {
			return fmt.Errorf("got outcome %+v, want %s", x.Outcome, status)
		}
		return nil
	})
	return nil
}

// settle claims a key, and settles it.
func (w *randomWorker) settle(name string) error {
	key, seq := "claim-"+name, w.h.store.Reserve()
	if taken, err := w.h.store.Claim(ctx, "p", &store.Dedupe{Key: key, Until: time.Now().Add(time.Hour)}, seq); err != nil || taken != nil {
		return fmt.Errorf("claim a new key: got %+v, %w", taken, err)
	}
	if err := w.h.store.Settle(ctx, "p", key, seq, []byte(name)); err != nil {
		return err
	}
	w.h.mu.Lock()
	w.h.replies[key] = acknowledged{since: w.h.disk.OpCount(), what: name}
	w.h.mu.Unlock()
	w.h.assigned(seq)
	return nil
}

// assigned records that a number was assigned.
func (c *harness) assigned(seq int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.numbers = append(c.numbers, acknowledged{since: c.disk.OpCount(), seq: seq})
}
