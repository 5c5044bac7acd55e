package migrate_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"valence/atom/store"
)

// now is a time in the past that every store can hold exactly.
var now = time.Now().UTC().Truncate(time.Microsecond)

// filler puts at least one of everything into a store.
type filler struct {
	testing.TB
	store.Store
	n     int
	lanes map[string][]int64 // live executions of each key of orders, in order
	first int64
}

func (f *filler) check(what string, err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("%s: %v", what, err)
	}
}

func (f *filler) message(process string) *store.Message {
	f.n++
	return &store.Message{Process: process, Plan: "plan@files", Env: "env", Received: now.Add(time.Duration(f.n-5000) * time.Millisecond), Meta: fmt.Appendf(nil, "meta %d", f.n),
		Track: map[string]string{"order": fmt.Sprint(f.n), "shop": "é\x00"}, DocType: "application/json", Doc: fmt.Appendf(nil, `{"n":%d}`, f.n)}
}

func (f *filler) accept(m *store.Message) int64 {
	f.Helper()
	r, err := f.Accept(f.Context(), m)
	f.check("accept", err)
	return r.Seq
}

func (f *filler) apply(c *store.Change) {
	f.Helper()
	f.check("apply", f.Apply(f.Context(), c))
}

func (f *filler) outcome(status store.Status) *store.Outcome {
	f.n++
	o := &store.Outcome{Status: status, Started: now.Add(-time.Second), Ended: now.Add(time.Duration(f.n) * time.Millisecond), Trace: fmt.Appendf(nil, "trace %d", f.n), Keep: 240 * time.Hour}
	if status == store.Failed {
		o.Fingerprint, o.Error = "call http_500", []byte(`{"code":"http_500"}`)
	}
	return o
}

func entries(n int) []store.Entry {
	return []store.Entry{{Path: fmt.Sprintf("0[%d]", n), Kind: "call", At: now, Body: fmt.Appendf(nil, "result %d", n)}, {Path: fmt.Sprintf("1[%d]", n), Kind: "attempt"}}
}

var large = bytes.Repeat([]byte("0123456789abcdef"), 8<<10)

// fill fills a store that runs.
func (f *filler) fill() {
	for _, name := range []string{"plan@files", "files", "env"} {
		f.check("content", f.PutContent(f.Context(), name, []byte("content of "+name)))
	}
	f.plain()
	f.suspended()
	f.signals()
	f.laned()
	f.failures()
	f.keys()
	f.memory()
}

func (f *filler) plain() {
	for i := range 40 {
		seq := f.accept(f.message("plain"))
		f.first = max(f.first, seq)
		if i%2 == 0 {
			f.apply(&store.Change{Seq: seq, Entries: entries(i)})
		}
		if i%4 == 0 {
			o := f.outcome(store.Completed)
			switch i % 16 {
			case 0:
				o.Documents = 24 * time.Hour
			case 4:
				o.DropDocuments = true
			case 8:
				o.Status, o.Keep, o.Started = store.Superseded, 0, time.Time{}
			}
			f.apply(&store.Change{Seq: seq, Entries: entries(i + 100), Disposition: o})
		}
	}
	m := f.message("plain")
	m.Doc, m.Data, m.DocType = large, append([]byte("data "), large...), "text/plain"
	seq := f.accept(m)
	f.apply(&store.Change{Seq: seq, Entries: []store.Entry{{Path: "0", Kind: "call", At: now, Body: large}}})
	m = f.message("plain")
	m.Doc = nil
	f.accept(m)
	m = f.message("plain")
	m.Doc, m.Seq, m.Entries, m.Due = []byte{}, f.Reserve(), entries(7), now.Add(-time.Hour)
	f.accept(m)
	for _, status := range []store.Status{store.Completed, store.Failed, store.Cancelled} {
		x := &store.Finished{Record: store.Record{Message: *f.message("memory")}, Outcome: *f.outcome(status)}
		x.Seq, x.Entries = f.Reserve(), entries(3)
		f.Record(x)
	}
}

func (f *filler) suspended() {
	suspend := func(s *store.Suspension) int64 {
		seq := f.accept(f.message("suspended"))
		f.apply(&store.Change{Seq: seq, Entries: entries(1), Disposition: s})
		return seq
	}
	suspend(&store.Suspension{State: store.Waiting, Due: now.Add(48 * time.Hour), Reason: "wait 2d"})
	suspend(&store.Suspension{State: store.Accepted})
	suspend(&store.Suspension{State: store.Held, Reason: "no connection", For: []string{"connection:erp", "connection:crm"}})
	released := suspend(&store.Suspension{State: store.Held, For: []string{"connection:ftp"}})
	_, _, err := f.Release(f.Context(), "connection:ftp", 0, 10)
	f.check("release", err)
	f.apply(&store.Change{Seq: released, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour)}})
	m := f.message("expires")
	m.Expires = now.Add(24 * time.Hour)
	f.accept(m)
	m = f.message("delayed")
	m.Due = now.Add(24 * time.Hour)
	f.accept(m)
	for i := range 3 { // the last one is the newest of its key
		m = f.message("newest")
		m.Seq, m.Due = f.Reserve(), now.Add(time.Hour)
		m.Coalesce = &store.Coalesce{Key: fmt.Sprint("record ", i/2), Superseded: *f.outcome(store.Superseded)}
		f.accept(m)
	}
}

func (f *filler) signals() {
	wait := func(process string, waits ...store.Wait) int64 {
		seq := f.accept(f.message(process))
		ids := []int64{}
		for _, w := range waits {
			ids = append(ids, w.ID)
		}
		f.apply(&store.Change{Seq: seq, Waits: waits, Entries: entries(2), Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour), Waits: ids}})
		return seq
	}
	signal := func(g *store.Signal) {
		_, err := f.Signal(f.Context(), g)
		f.check("signal", err)
	}
	entry := store.Entry{Kind: "wake", At: now, Body: []byte("payload")}
	wait("waits", store.Wait{Path: "3", ID: 33}, store.Wait{Path: "4", ID: 44, Match: []byte("\x00paid 1")})
	woken := wait("waits", store.Wait{Path: "3", ID: 33})
	signal(&store.Signal{Seq: woken, WaitID: 33, Entry: entry, Origin: "signal 1"})
	signal(&store.Signal{Seq: woken, WaitID: 55, Entry: entry}) // early
	over := wait("waits", store.Wait{Path: "3", ID: 33})
	f.apply(&store.Change{Seq: over, Require: []store.Condition{store.GiveUp{WaitID: 33}}, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour)}})
	ended := wait("waits", store.Wait{Path: "3", ID: 33})
	f.apply(&store.Change{Seq: ended, Disposition: f.outcome(store.Completed)})
	for i := range 3 {
		e := entry
		e.Body = fmt.Append(nil, i)
		signal(&store.Signal{Match: []byte("early"), Keep: now.Add(24 * time.Hour), Entry: e})
	}
}

func (f *filler) laned() {
	f.lanes = map[string][]int64{}
	enter := func(key string, block bool, due time.Time) int64 {
		m := f.message("orders")
		m.Lane = &store.Lane{Scope: "orders", Key: key, Block: block}
		if m.Due = due; !due.IsZero() {
			m.Seq = f.Reserve()
		}
		seq := f.accept(m)
		f.lanes[key] = append(f.lanes[key], seq)
		return seq
	}
	for i := range 12 {
		enter(fmt.Sprint("ready ", i%3), false, time.Time{})
	}
	parked := enter("parked", false, time.Time{})
	enter("parked", false, time.Time{})
	enter("parked", false, now.Add(24*time.Hour))
	f.apply(&store.Change{Seq: parked, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(48 * time.Hour)}})
	ended := enter("parked head with due", false, time.Time{})
	enter("parked head with due", false, now.Add(24*time.Hour))
	enter("parked head with due", false, time.Time{})
	f.apply(&store.Change{Seq: ended, Disposition: f.outcome(store.Completed)})
	f.lanes["parked head with due"] = f.lanes["parked head with due"][1:]
	for range 2 {
		enter("blocked\x01", true, time.Time{})
	}
	enter("blocked\x01", true, time.Time{})
	f.apply(&store.Change{Seq: f.lanes["blocked\x01"][0], Disposition: f.outcome(store.Failed)})
}

func (f *filler) failures() {
	for i := range 5 {
		seq := f.accept(f.message("failing"))
		f.apply(&store.Change{Seq: seq, Entries: entries(i), Disposition: f.outcome(store.Failed)})
		if i > 2 {
			r := &store.Resolution{Seq: seq, Note: []byte("note")}
			if i == 3 {
				r.Next = f.message("failing")
				r.Next.Seq, r.Next.Due = f.Reserve(), now.Add(-time.Second)
			}
			f.check("resolve", f.Resolve(f.Context(), r))
		}
	}
	o := f.outcome(store.Failed)
	o.Trace = large
	f.apply(&store.Change{Seq: f.accept(f.message("failing")), Disposition: o})
	f.apply(&store.Change{Seq: f.accept(f.message("failing")), Disposition: f.outcome(store.Expired)})
	f.apply(&store.Change{Seq: f.accept(f.message("failing")), Disposition: f.outcome(store.Cancelled)})
}

func (f *filler) keys() {
	long := string(bytes.Repeat([]byte("k"), 300))
	for i, key := range []string{"short", long, "empty reply"} {
		m := f.message("dedupe")
		m.Origin, m.Remember = "origin "+key, now.Add(240*time.Hour)
		m.Dedupe = &store.Dedupe{Key: key, Until: now.Add(240 * time.Hour), Holder: fmt.Append(nil, "holder ", i)}
		seq := f.accept(m)
		if i > 0 {
			f.apply(&store.Change{Seq: seq, ClaimResult: &store.ClaimResult{Key: key, Reply: []byte{}}, Disposition: f.outcome(store.Completed)})
		}
	}
	claimed := f.Reserve()
	_, err := f.Claim(f.Context(), "dedupe", &store.Dedupe{Key: "settled", Until: now.Add(time.Hour), Holder: []byte("h")}, claimed)
	f.check("claim", err)
	f.check("settle", f.Settle(f.Context(), "dedupe", "settled", claimed, []byte("reply")))
	_, err = f.Claim(f.Context(), "dedupe", &store.Dedupe{Key: "running", Until: now.Add(time.Hour)}, f.Reserve())
	f.check("claim", err)
	for _, c := range []struct {
		until time.Time
		body  []byte
	}{{time.Time{}, []byte("early")}, {now.Add(time.Hour), []byte("later")}, {now.Add(time.Hour), large}} {
		f.apply(&store.Change{Seq: f.accept(f.message("replies")), Reply: &store.DeferredReply{Until: c.until, Body: c.body}})
	}
	a := &store.Arrival{Message: f.message("source"), Cursor: &store.Cursor{Source: "kafka/orders/0", To: []byte{0, 1, 2}}}
	f.check("accept all", f.AcceptAll(f.Context(), []*store.Arrival{a}))
	f.check("arrival", a.Err)
}

func (f *filler) memory() {
	digests := make([]store.Digest, 2500)
	for i := range digests {
		digests[i] = store.Digest{Key: fmt.Sprintf("key %05d\x01", i), Hash: fmt.Append(nil, i)}
	}
	f.check("state", f.UpdateState(f.Context(), &store.StateUpdate{
		States:    []store.StateChange{{Process: "plain", Version: -1, Set: []store.Property{{Name: "last", Value: []byte(`"é"`)}, {Name: "n", Value: []byte("1")}}}},
		Snapshots: []store.SnapshotChange{{Process: "plain", Name: "customers", Digests: digests}},
	}))
	f.check("state", f.UpdateState(f.Context(), &store.StateUpdate{
		States:    []store.StateChange{{Process: "plain", Version: 1, Set: []store.Property{{Name: "n"}}}},
		Snapshots: []store.SnapshotChange{{Process: "plain", Name: "customers", Version: 1, Digests: []store.Digest{{Key: digests[3].Key}, {Key: "new", Hash: []byte("h")}}}},
	}))
	f.check("mark", f.Mark(f.Context(), store.Mark{System: "erp", Record: "4711", Version: "7", Until: now.Add(time.Hour)}))
	f.apply(&store.Change{Seq: f.first, Writes: []store.Write{{Path: "9", System: "erp", Record: "4712", Until: now.Add(time.Hour)}}})
}

// use runs a store while f uses it, and closes it.
func use(t testing.TB, s store.Store, f func()) {
	t.Helper()
	s.OnAccepted(func([]*store.Record) {})
	s.OnReady(func([]store.Wakeup) {})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f()
}
