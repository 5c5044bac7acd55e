package migrate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
)

// probe describes a store that runs through its contract, one line per fact. It
// does not know how stores are migrated.
func probe(t testing.TB, f *filler, s store.Store) (lines []string) {
	t.Helper()
	ctx := t.Context()
	say := func(what string, err error, values ...any) {
		t.Helper()
		if err != nil && !errors.Is(err, store.ErrUnknown) {
			t.Fatalf("%s: %v", what, err)
		}
		text, e := json.Marshal(values)
		if e != nil {
			t.Fatal(e)
		}
		lines = append(lines, fmt.Sprintf("%s: %v %s", what, err, text))
	}
	counts, err := s.Counts(ctx)
	say("counts", err, counts)
	var all []*store.Execution
	for cursor := ""; ; {
		page, next, err := s.List(ctx, store.Filter{}, cursor, 50)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page...)
		if cursor = next; cursor == "" {
			break
		}
	}
	for _, listed := range all {
		x, err := s.Get(ctx, listed.Seq, listed.Received)
		if err != nil {
			t.Fatalf("get %d: %v", listed.Seq, err)
		}
		x.Epoch = 0
		say(fmt.Sprintf("execution %d", x.Seq), nil, x)
		if x.Outcome == nil {
			p, err := s.Position(ctx, x.Seq, x.Lane)
			say(fmt.Sprintf("position %d", x.Seq), err, p)
		}
		r, err := s.DeferredReply(ctx, x.Seq)
		say(fmt.Sprintf("reply %d", x.Seq), err, r)
	}
	for process := range counts {
		due, next, err := s.Due(ctx, process, now.Add(240*time.Hour), 100)
		say("due "+process, err, seqsOf(due), next)
		ready, err := s.Ready(ctx, process, 0, 100)
		say("ready "+process, err, seqsOf(ready))
		heads, err := s.Heads(ctx, process, 100, func(int64) bool { return false })
		say("heads "+process, err, seqsOf(heads))
		oldest, err := s.Oldest(ctx, process)
		say("oldest "+process, err, oldest)
	}
	groups, err := s.Groups(ctx, "", 100)
	say("groups", err, groups)
	problems, err := s.Problems(ctx)
	say("problems", err, problems)
	blocked, _, err := s.Blocked(ctx, "", 100)
	for i := range blocked {
		blocked[i].Since = blocked[i].Since.Round(0)
	}
	say("blocked", err, blocked)
	held, err := s.HeldFor(ctx)
	say("held", err, held)
	overdue, next, err := s.Overdue(ctx, 10)
	say("overdue", err, overdue, next)
	for _, origin := range []string{"origin short", "origin empty reply", "signal 1", "unknown"} {
		r, err := s.Origin(ctx, origin)
		r.Received = time.Time{} // of a signal: when it arrived
		say("origin "+origin, err, r)
	}
	p, err := s.State(ctx, "plain")
	say("state", err, p)
	digests, version, err := s.Snapshot(ctx, "plain", "customers", "", 5000)
	say("snapshot", err, digests, version)
	cursor, err := s.Cursor(ctx, "kafka/orders/0")
	say("cursor", err, cursor)
	for _, v := range []string{"7", "8"} {
		marked, err := s.Marked(ctx, "erp", "4711", v)
		say("marked "+v, err, marked)
	}
	writes, err := s.Writes(ctx)
	say("writes", err, writes)
	for _, hash := range []string{"plan@files", "files", "env", "unknown"} {
		content, err := s.Content(ctx, hash)
		say("content "+hash, err, content)
	}
	slices.Sort(lines)
	return lines
}

func seqsOf(rs []*store.Record) []int64 {
	seqs := []int64{}
	for _, r := range rs {
		seqs = append(seqs, r.Seq)
	}
	slices.Sort(seqs)
	return seqs
}

func wantLines(t testing.TB, what string, want, got []string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(got, line) {
			name, _, _ := strings.Cut(line, ": ")
			other := "nothing"
			for _, l := range got {
				if strings.HasPrefix(l, name+": ") {
					other = l
				}
			}
			t.Errorf("%s: got  %.600s\nwant %.600s", what, other, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: got %d facts, want %d", what, len(got), len(want))
	}
}

// exercise continues the work in a store, which consumes it.
func exercise(t testing.TB, f *filler, s store.Store) {
	t.Helper()
	ctx := t.Context()
	f.Store, f.TB = s, t
	if r, err := s.Accept(ctx, &store.Message{Process: "dedupe", Received: now, Dedupe: &store.Dedupe{Key: "short", Until: now.Add(time.Hour)}}); err != nil || !r.Duplicate || string(r.Holder) != "holder 0" {
		t.Errorf("a repeat: got %+v, %v, want the duplicate of holder 0", r, err)
	}
	for key, want := range map[string]string{"settled": "reply", strings.Repeat("k", 300): ""} {
		c, err := s.Claim(ctx, "dedupe", &store.Dedupe{Key: key, Until: now.Add(time.Hour)}, s.Reserve())
		if err != nil || c == nil || c.Reply == nil || string(c.Reply) != want {
			t.Errorf("claim %.10s: got %+v, %v, want the reply %q", key, c, err, want)
		}
	}
	if c, err := s.Claim(ctx, "dedupe", &store.Dedupe{Key: "running", Until: now.Add(time.Hour)}, s.Reserve()); err != nil || c != nil {
		t.Errorf("a claim whose program has ended: got %+v, %v, want none", c, err)
	}
	entry := store.Entry{Kind: "wake", At: now, Body: []byte("paid")}
	if got, err := s.Signal(ctx, &store.Signal{Match: []byte("\x00paid 1"), Entry: entry}); err != nil || got != store.SignalDelivered {
		t.Errorf("a signal by match: got %s, %v, want %s", got, err, store.SignalDelivered)
	}
	if got, err := s.Signal(ctx, &store.Signal{Match: []byte("\x00paid 1"), Entry: entry, Origin: "signal 1", Keep: now.Add(time.Hour)}); err != nil || got != store.SignalRepeated {
		t.Errorf("a repeated signal: got %s, %v, want %s", got, err, store.SignalRepeated)
	}
	early := f.accept(f.message("waits"))
	f.apply(&store.Change{Seq: early, Waits: []store.Wait{{Path: "5", ID: 5, Match: []byte("early")}}, Disposition: &store.Suspension{State: store.Waiting, Due: now.Add(time.Hour), Waits: []int64{5}}})
	if list, err := s.Entries(ctx, early); err != nil || len(list) != 1 || string(list[0].Body) != "0" {
		t.Errorf("a wait for early signals: got %v, %v, want the first of them", list, err)
	}
	if _, n, err := s.Release(ctx, "connection:erp", 0, 10); err != nil || n != 1 {
		t.Errorf("release: got %d, %v, want 1", n, err)
	}
	f.drain(s)
}

// drain ends the executions of all lanes but the blocked one, and checks their
// order.
func (f *filler) drain(s store.Store) {
	f.Helper()
	got := map[string][]int64{}
	for range 40 {
		heads, err := s.Heads(f.Context(), "orders", 100, func(int64) bool { return false })
		f.check("heads", err)
		due, _, err := s.Due(f.Context(), "orders", now.Add(240*time.Hour), 100)
		f.check("due", err)
		for _, r := range append(heads, due...) {
			got[r.Lane.Key] = append(got[r.Lane.Key], r.Seq)
			f.apply(&store.Change{Seq: r.Seq, Disposition: f.outcome(store.Completed)})
		}
	}
	for key, want := range f.lanes {
		if strings.HasPrefix(key, "blocked") {
			want = nil
		}
		if !slices.Equal(got[key], want) {
			f.Errorf("order of the key %q: got %v, want %v", key, got[key], want)
		}
	}
	blocked, _, err := s.Blocked(f.Context(), "", 10)
	f.check("blocked", err)
	if len(blocked) != 1 || blocked[0].Waiting != 2 {
		f.Errorf("blocked keys: got %+v, want one with 2 that wait", blocked)
	}
	next := f.message("orders")
	next.Lane = &store.Lane{Scope: "orders", Key: "blocked\x01", Block: true}
	f.accept(next)
	if p, err := s.Position(f.Context(), next.Seq, next.Lane); err != nil {
		f.Errorf("position: %+v, %v", p, err)
	}
	head, err := s.Unblock(f.Context(), "orders", "blocked\x01", false)
	f.check("unblock", err)
	if want := f.lanes["blocked\x01"][0]; head != want {
		f.Errorf("head of the blocked key: got %d, want %d", head, want)
	}
}
