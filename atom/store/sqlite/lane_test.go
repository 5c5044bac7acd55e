package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// laneModel tracks the order of accepted executions, and which of them may run.
type laneModel struct {
	t       *testing.T
	waiting map[string][]int64 // by key; the first may run
	blocked map[string]bool
	ended   int
}

func (m *laneModel) first(key string, seq int64) {
	m.t.Helper()
	if q := m.waiting[key]; len(q) == 0 || q[0] != seq {
		m.t.Fatalf("key %s: %d may run, want the first of %v", key, seq, q)
	}
	if m.blocked[key] {
		m.t.Fatalf("key %s is blocked, but %d may run", key, seq)
	}
}

// TestLanesNeverBreakOrder accepts, retries, ends, fails, skips and resubmits
// executions of 1,000 keys at random, and reopens the store. It compares the
// executions that may run with a model.
func TestLanesNeverBreakOrder(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := &laneModel{t: t, waiting: map[string][]int64{}, blocked: map[string]bool{}}
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("key-", i)
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for round := range 4 {
		s, err := sqlite.Open(dir, sqlite.Options{})
		ok(err)
		runs, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		s.OnReady(func(list []store.Wakeup) {
			for _, r := range list {
				if r.HeadOfLane && r.Record != nil && r.Record.Lane == nil {
					t.Error("got a head without a lane")
				}
			}
		})
		go func() { done <- s.Run(runs) }()
		for range 1500 {
			key := keys[rnd.IntN(len(keys))]
			if rnd.IntN(4) == 0 {
				key = keys[rnd.IntN(20)] // some keys are busy
			}
			process := fmt.Sprint("p", rnd.IntN(2))
			accept := func() *store.Message {
				return &store.Message{Process: process, Plan: "p", Env: "e", Received: time.Now().UTC(), Doc: []byte(key), Lane: &store.Lane{Scope: "/all", Key: key, Block: true}}
			}
			q := m.waiting[key]
			switch n := rnd.IntN(10); {
			case n < 4 || len(q) == 0:
				r, err := s.Accept(ctx, accept())
				ok(err)
				if r.WaitsInLane != (len(q) > 0) {
					t.Fatalf("WaitsInLane: got %v with %v ahead", r.WaitsInLane, q)
				}
				m.waiting[key] = append(q, r.Seq)
			case m.blocked[key] && n < 6:
				x, err := s.Get(ctx, q[0], time.Now())
				ok(err)
				_, err = s.Unblock(ctx, x.Process, key, false)
				ok(err)
				m.waiting[key], m.blocked[key] = q[1:], false
			case m.blocked[key]:
				next := accept()
				next.Seq, next.Due = s.Reserve(), time.Now()
				ok(s.Resolve(ctx, &store.Resolution{Seq: q[0], Note: []byte("x"), Next: next}))
				m.waiting[key], m.blocked[key] = append([]int64{next.Seq}, q[1:]...), false
			case n == 4: // a retry stays in its position
				ok(s.Apply(ctx, &store.Change{Seq: q[0], Disposition: &store.Suspension{State: store.Waiting, Due: time.Now()}}))
			case n == 5:
				ok(s.Apply(ctx, &store.Change{Seq: q[0], Disposition: &store.Outcome{Status: store.Failed, Started: time.Now(), Ended: time.Now()}}))
				m.blocked[key] = true
			case n == 6: // canceled, anywhere in the lane
				i := rnd.IntN(len(q))
				ok(s.Apply(ctx, &store.Change{Seq: q[i], Disposition: &store.Outcome{Status: store.Cancelled, Started: time.Now(), Ended: time.Now()}}))
				m.waiting[key] = append(q[:i:i], q[i+1:]...)
			default:
				ok(s.Apply(ctx, &store.Change{Seq: q[0], Disposition: &store.Outcome{Status: store.Completed, Started: time.Now(), Ended: time.Now()}}))
				m.waiting[key] = q[1:]
				m.ended++
			}
		}
		m.check(ctx, s)
		stop()
		ok(<-done)
		if round%2 == 0 {
			ok(s.Close())
		} else { // like a kill
			ok(s.Abandon())
		}
	}
	if m.ended == 0 {
		t.Error("no execution ended")
	}
}

// check compares the executions that the store returns as ready with the model.
func (m *laneModel) check(ctx context.Context, s *sqlite.Store) {
	m.t.Helper()
	may := map[int64]bool{}
	for _, process := range []string{"p0", "p1"} {
		heads, err := s.Heads(ctx, process, 100_000, func(int64) bool { return false })
		if err != nil {
			m.t.Fatal(err)
		}
		due, _, err := s.Due(ctx, process, time.Now().Add(time.Hour), 100_000)
		if err != nil {
			m.t.Fatal(err)
		}
		ready, err := s.Ready(ctx, process, 0, 100)
		if err != nil || len(ready) > 0 {
			m.t.Fatalf("Ready: got %d executions in lanes, %v, want none", len(ready), err)
		}
		for _, r := range append(heads, due...) {
			m.first(r.Lane.Key, r.Seq)
			if string(r.Doc) != r.Lane.Key {
				m.t.Fatalf("got the message %q of another key, want %q", r.Doc, r.Lane.Key)
			}
			may[r.Seq] = true
		}
	}
	for key, q := range m.waiting {
		if len(q) > 0 && !m.blocked[key] && !may[q[0]] {
			m.t.Errorf("key %s: the head %d is not returned", key, q[0])
		}
	}
	lanes, cursor := map[string]int64{}, ""
	for {
		list, next, err := s.Blocked(ctx, cursor, 50)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, l := range list {
			lanes[l.Key] = l.Waiting
		}
		if cursor = next; next == "" {
			break
		}
	}
	for key := range m.blocked {
		n, there := lanes[key]
		if m.blocked[key] != there || there && n != int64(len(m.waiting[key])-1) {
			m.t.Errorf("%s: blocked %v with %d, want %v with %d", key, there, n, m.blocked[key], len(m.waiting[key])-1)
		}
	}
	if _, err := s.Unblock(ctx, "p0", "no such key", false); !errors.Is(err, store.ErrUnknown) {
		m.t.Errorf("got %v, want store.ErrUnknown", err)
	}
}
