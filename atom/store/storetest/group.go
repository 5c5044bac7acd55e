package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"valence/atom/store"
)

// Group is a group of atoms without members, as a store provides it for the
// suite.
type Group interface {
	// Open returns a new member that is not running.
	Open(t *testing.T) store.Store
	// Stop makes a member behave like a process that is stopped: it renews
	// nothing until Continue.
	Stop(member store.Store)
	// Expire ends the lease of a stopped member now, and makes another one take
	// over.
	Expire(stopped, other store.Store) error
	// Continue makes a stopped member go on.
	Continue(member store.Store)
}

// ConformGroup runs the cases for a store with several members. open returns an
// empty group.
func ConformGroup(t *testing.T, open func(t *testing.T) Group) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, g Group)
	}{
		{"takeover at every commit", takeoverAtEveryCommit},
		{"fenced writer", fencedWriter},
		{"keys across members", keysAcrossMembers},
		{"a lane across members", laneAcrossMembers},
		{"a lane entered by several members at once", laneEnteredAtOnce},
		{"clean leave", cleanLeave},
		{"a name held by one member", nameHeldByOne},
		{"cancelled at another member", cancelledElsewhere},
		{"followed at another member", followedElsewhere},
		{"number of members", numberOfMembers},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// member is a running member.
type member struct {
	suite
	stop    func()
	adopted map[string]int64 // guarded by suite.mu, like the following
	lost    int

	changed, cancelled map[int64]int // by Seq
	settings, resized  int
}

// join opens and runs a member until the test ends. It returns when the member
// receives notifications: then it has read the settings, and nothing that was
// announced before is announced to it again.
func join(t *testing.T, g Group) *member {
	t.Helper()
	m := &member{suite: suite{T: t, Store: g.Open(t)}, adopted: map[string]int64{}, changed: map[int64]int{}, cancelled: map[int64]int{}}
	m.listen()
	count := func(n map[int64]int) func(int64) {
		return func(seq int64) {
			m.mu.Lock()
			defer m.mu.Unlock()
			n[seq]++
		}
	}
	one := func(n *int) func() {
		return func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			*n++
		}
	}
	m.OnNews(store.News{Changed: count(m.changed), Cancelled: count(m.cancelled), Settings: one(&m.settings), Resized: one(&m.resized)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Store.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, m.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(m.stop)
	err := m.Join(ctx, func(live map[string]int64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for process, n := range live {
			m.adopted[process] += n
		}
	}, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.lost++
	})
	if err != nil {
		t.Fatal(err)
	}
	m.until("the first notification of settings", func() bool { return m.settings > 0 })
	return m
}

// adoptedOf returns the number of adopted executions of a process.
func (m *member) adoptedOf(process string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.adopted[process]
}

// until waits for a condition of the member.
func (m *member) until(what string, holds func() bool) {
	m.Helper()
	for end := time.Now().Add(30 * time.Second); ; <-time.After(2 * time.Millisecond) {
		m.mu.Lock()
		ok := holds()
		m.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			m.Fatalf("%s does not become true", what)
		}
	}
}

// takeoverAtEveryCommit stops a member after each commit of an execution. The
// other member has the state of that commit, and the first changes nothing.
func takeoverAtEveryCommit(t *testing.T, g Group) {
	call := func(n int) []store.Entry {
		return []store.Entry{{Path: fmt.Sprint(n), Kind: "call", At: at(n), Body: []byte("x")}}
	}
	commits := []*store.Change{
		{Entries: call(0)},
		{Entries: call(1)},
		{Disposition: &store.Suspension{State: store.Waiting, Due: at(1)}},
		{Entries: call(2)},
		{Disposition: &store.Suspension{State: store.Held, For: []string{"connection erp"}}},
		{Disposition: completed()},
	}
	for n := range len(commits) + 1 {
		first, other := join(t, g), join(t, g)
		process := fmt.Sprint("p", n)
		seq := first.accept(first.message(process))
		epoch := first.accepted[0].Epoch
		for _, c := range commits[:n] {
			own := *c
			own.Seq, own.Epoch = seq, epoch
			first.apply(&own)
		}
		want, err := first.Get(ctx, seq, at(0))
		if err != nil {
			t.Fatal(err)
		}
		g.Stop(first.Store)
		if err := g.Expire(first.Store, other.Store); err != nil {
			t.Fatal(err)
		}
		live := int64(1)
		if n == len(commits) {
			live = 0
		}
		other.equal("adopted", other.adoptedOf(process), live)
		got, err := other.Get(ctx, seq, at(0))
		if err != nil {
			t.Fatal(err)
		}
		other.sameMessage("taken over", &got.Record, &want.Message)
		other.equal("state", fmt.Sprint(got.State, got.Attempt, got.Due, len(got.Journal), got.Outcome != nil), fmt.Sprint(want.State, want.Attempt, want.Due, len(want.Journal), want.Outcome != nil))
		other.equal("fresh", other.Fresh(seq), false)
		late := &store.Change{Seq: seq, Epoch: epoch, Entries: call(9), Disposition: failed()}
		first.wantErr("a change after the takeover", first.Apply(ctx, late), store.ErrFenced)
		other.equal("ready", len(other.ready(process, 0, 10)), map[bool]int{true: 1}[n <= 2])
		if rs := other.ready(process, 0, 10); len(rs) == 1 && !other.Holds(rs[0].Epoch) {
			t.Errorf("got a record of epoch %d, want one of the member's lease", rs[0].Epoch)
		}
		first.stop()
		other.stop()
	}
}

// fencedWriter checks that a member whose executions were taken over learns of
// it, commits nothing, and works again under another epoch.
func fencedWriter(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	seq, reserved := first.accept(first.message("p")), first.Reserve()
	epoch := first.accepted[0].Epoch
	first.equal("holds", first.Holds(epoch), true)
	first.Started(seq)
	g.Stop(first.Store)
	if err := g.Expire(first.Store, other.Store); err != nil {
		t.Fatal(err)
	}
	_, err := first.Accept(ctx, first.message("p"))
	first.wantErr("accept without a lease", err, store.ErrFenced)
	first.wantErr("that error", err, store.ErrUnavailable)
	first.until("the loss", func() bool { return first.lost == 1 })
	first.equal("holds the old epoch", first.Holds(epoch), false)
	first.equal("ready", seqs(first.ready("p", 0, 10)), []int64{})
	g.Continue(first.Store)
	var again int64
	for end := time.Now().Add(30 * time.Second); ; <-time.After(5 * time.Millisecond) {
		r, err := first.Accept(ctx, first.message("p"))
		if err == nil {
			again = r.Seq
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the member does not join again: %v", err)
		}
	}
	first.equal("ready of the new lease", seqs(first.ready("p", 0, 10)), []int64{again})
	first.equal("ready at the other", seqs(other.ready("p", 0, 10)), []int64{seq})
	late := first.message("p")
	late.Seq = reserved
	_, err = first.Accept(ctx, late)
	first.wantErr("a number of the old lease", err, store.ErrFenced)
	first.wantErr("a change of the old lease", first.Apply(ctx, &store.Change{Seq: seq, Epoch: epoch, Disposition: completed()}), store.ErrFenced)
	other.apply(&store.Change{Seq: seq, Epoch: other.ready("p", 0, 10)[0].Epoch, Disposition: completed()})
}

// keysAcrossMembers checks that members share origins, dedupe keys and claims,
// numbers, cursors, waits, and the view of executions.
func keysAcrossMembers(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	m := first.message("p")
	m.Origin, m.Dedupe = "o", &store.Dedupe{Key: "k", Until: time.Now().Add(time.Hour), Holder: []byte("h")}
	seq := first.accept(m)
	r, err := other.Accept(ctx, m)
	other.equal("a repeat at the other", fmt.Sprint(r.Seq, r.Duplicate, err), fmt.Sprint(seq, true, nil))
	if n := other.accept(other.message("p")); n == seq {
		t.Errorf("got the number %d twice", n)
	}
	other.equal("ready of the first", seqs(first.ready("p", 0, 10)), []int64{seq})
	claimed, err := first.Claim(ctx, "q", &store.Dedupe{Key: "c", Until: time.Now().Add(time.Hour), Holder: []byte("h")}, first.Reserve())
	first.equal("claim", fmt.Sprint(claimed == nil, err), "true <nil>")
	again := &store.Dedupe{Key: "c", Until: time.Now().Add(time.Hour)}
	claimed, err = other.Claim(ctx, "q", again, other.Reserve())
	other.equal("claim at the other", fmt.Sprint(claimed != nil, err), "true <nil>")
	waits := first.acceptWaiting("w", time.Time{}, store.Wait{Path: "1", ID: 1, Match: []byte("m")})
	other.signal(&store.Signal{Match: []byte("m"), Entry: entry(1)}, store.SignalDelivered)
	first.until("the notification of the signal", func() bool { return len(first.woken) > 0 && first.woken[0] == waits })
	first.wantDue("due after the signal", "w", time.Now(), waits)
	g.Stop(first.Store)
	if err := g.Expire(first.Store, other.Store); err != nil {
		t.Fatal(err)
	}
	claimed, err = other.Claim(ctx, "q", again, other.Reserve())
	other.equal("claim after the first has gone", fmt.Sprint(claimed == nil, err), "true <nil>")
	g.Continue(first.Store)
}

// laneAcrossMembers checks that a lane has one order, with any member that runs its
// executions, also after a takeover.
func laneAcrossMembers(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	a, b, c := first.accept(first.messageInLane("p", "p", "k")), other.accept(other.messageInLane("p", "p", "k")), first.accept(first.messageInLane("p", "p", "k"))
	first.equal("head", first.heads("p"), []int64{a})
	other.equal("head at the other", other.heads("p"), []int64{})
	first.apply(&store.Change{Seq: a, Disposition: completed()})
	other.until("the notification of the next head", func() bool { return len(other.woken) > 0 && other.woken[0] == b })
	other.equal("next head", other.heads("p"), []int64{b})
	g.Stop(other.Store)
	if err := g.Expire(other.Store, first.Store); err != nil {
		t.Fatal(err)
	}
	first.equal("head after the takeover", first.heads("p"), []int64{b})
	first.equal("position", first.position(c), fmt.Sprintf("1 after %d", b))
	first.apply(&store.Change{Seq: b, Epoch: first.headEpoch("p"), Disposition: completed()})
	first.equal("the last head", first.heads("p"), []int64{c})
	g.Continue(other.Store)
}

// headEpoch returns the epoch under which the first head is read.
// laneEnteredAtOnce checks that a lane has one head while members enter it and
// leave it at once.
func laneEnteredAtOnce(t *testing.T, g Group) {
	members := []*member{join(t, g), join(t, g), join(t, g)}
	const lanes = 20
	type entered struct {
		member *member
		seq    int64
		waits  bool
	}
	for i := range lanes {
		key := fmt.Sprint("k", i)
		results := make(chan entered, len(members))
		var all sync.WaitGroup
		for _, m := range members {
			all.Go(func() {
				r, err := m.Accept(ctx, m.messageInLane("p", "p", key))
				if err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
				if !r.WaitsInLane { // it ends while others may still enter
					m.apply(&store.Change{Seq: r.Seq, Disposition: completed()})
				}
				results <- entered{m, r.Seq, r.WaitsInLane}
			})
		}
		all.Wait()
		close(results)
		waiting := map[int64]bool{}
		for r := range results {
			if r.waits {
				waiting[r.seq] = true
			}
		}
		for n := len(waiting); n > 0; n-- { // the others follow one by one
			var heads []int64
			var owner *member
			for _, m := range members {
				for _, seq := range m.heads("p") {
					heads, owner = append(heads, seq), m
				}
			}
			if len(heads) != 1 || !waiting[heads[0]] {
				t.Fatalf("%s: got the heads %v of %v, want one", key, heads, waiting)
			}
			delete(waiting, heads[0])
			owner.apply(&store.Change{Seq: heads[0], Disposition: completed()})
		}
	}
}

func (m *member) headEpoch(process string) int64 {
	rs, err := m.Heads(ctx, process, 1, func(int64) bool { return false })
	if err != nil || len(rs) == 0 {
		m.Fatalf("got no head, %v", err)
	}
	return rs[0].Epoch
}

// cleanLeave checks that the executions of a member that leaves are adopted
// without waiting for its lease.
func cleanLeave(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	seq := first.accept(first.message("p"))
	first.stop()
	other.until("the takeover", func() bool { return other.adopted["p"] == 1 })
	other.equal("ready", seqs(other.ready("p", 0, 10)), []int64{seq})
}

// nameHeldByOne checks that one member at a time has a name, and who has it after that
// member releases it, is stopped, or leaves.
func nameHeldByOne(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	claim := func(m *member, name string, want bool) (epoch int64) {
		t.Helper()
		epoch, got, err := m.ClaimName(t.Context(), name)
		if err != nil || got != want || got && !m.Holds(epoch) {
			t.Fatalf("claim %s: got %v (%v), want %v, held", name, got, err, want)
		}
		return epoch
	}
	epoch := claim(first, "inbox", true)
	if again := claim(first, "inbox", true); again != epoch {
		t.Errorf("got the epoch %d for the same claim, want %d", again, epoch)
	}
	claim(other, "inbox", false)
	claim(other, "outbox", true)
	if err := first.ReleaseName(t.Context(), "outbox"); err != nil { // it is not its own
		t.Fatal(err)
	}
	claim(first, "outbox", false)
	if err := other.ReleaseName(t.Context(), "outbox"); err != nil {
		t.Fatal(err)
	}
	claim(first, "outbox", true)

	g.Stop(first.Store)
	if err := g.Expire(first.Store, other.Store); err != nil {
		t.Fatal(err)
	}
	claim(other, "inbox", true)
	g.Continue(first.Store)
	first.until("the loss of its lease", func() bool { return first.lost > 0 && !first.Holds(epoch) })
	again := func(name string) func() bool {
		return func() bool {
			_, got, err := first.ClaimName(t.Context(), name)
			return err == nil && got
		}
	}
	first.until("its new lease", again("another"))
	claim(first, "inbox", false)
	other.stop()
	first.until("the claim after the other member has left", again("inbox"))
}

// cancelledElsewhere checks that the member that runs an execution learns of a cancellation,
// that its runs cannot end or suspend it without knowing, and that a takeover
// passes the cancellation on.
func cancelledElsewhere(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	seq := first.accept(first.message("p"))
	epoch := first.accepted[0].Epoch
	suspended := first.acceptWaiting("w", at(1).Add(1000*time.Hour))
	cancel := []store.Entry{{Kind: "cancel", At: at(0)}}
	if _, own := other.Lease(seq); own {
		t.Error("the other member has the lease")
	}
	if e, own := first.Lease(seq); !own || e != epoch {
		t.Errorf("got the lease %d, %v, want %d", e, own, epoch)
	}
	for _, s := range []int64{seq, suspended} {
		other.apply(&store.Change{Seq: s, Cancel: true, Entries: cancel})
		first.until("the notification of the cancellation", func() bool { return first.cancelled[s] > 0 })
	}
	first.until("the wakeup of the suspended execution", func() bool { return len(first.woken) > 0 && first.woken[0] == suspended })
	first.wantDue("due after the cancellation", "w", time.Now(), suspended)
	for _, d := range []store.Disposition{completed(), &store.Suspension{State: store.Waiting, Due: at(9)}} {
		first.wantErr("an end without knowing", first.Apply(ctx, &store.Change{Seq: seq, Epoch: epoch, Entries: cancel, Disposition: d}), store.ErrCancelled)
	}
	first.mu.Lock()
	before := first.cancelled[seq]
	first.mu.Unlock()
	first.apply(&store.Change{Seq: seq, Epoch: epoch, Entries: []store.Entry{{Path: "0", Kind: "call", At: at(0)}}})
	first.until("the news with a commit of the run", func() bool { return first.cancelled[seq] > before })
	g.Stop(first.Store)
	if err := g.Expire(first.Store, other.Store); err != nil {
		t.Fatal(err)
	}
	other.until("the news after the takeover", func() bool { return other.cancelled[seq] > 0 && other.cancelled[suspended] > 0 })
	x, err := other.Get(ctx, seq, at(0))
	if err != nil || len(x.Journal) != 2 {
		t.Errorf("got the journal %v, %v, want the cancellation and the call", x, err)
	}
	own, _ := other.Lease(seq)
	other.apply(&store.Change{Seq: seq, Epoch: own, Cancelled: true, Disposition: completed()})
	first.stop()
}

// followedElsewhere checks that a member learns of the commits of another one that it
// follows, and of changed settings.
func followedElsewhere(t *testing.T, g Group) {
	first, other := join(t, g), join(t, g)
	seq := first.accept(first.message("p"))
	runs := func(m *member) bool {
		x, err := m.Get(ctx, seq, at(0))
		if err != nil {
			t.Error(err)
		}
		return x.Elsewhere
	}
	other.equal("running before the start", runs(other), false)
	first.Started(seq)
	other.until("the start", func() bool { return runs(other) })
	first.equal("running elsewhere at the first", runs(first), false)
	stop := other.Follow(seq)
	other.until("the first news", func() bool { return other.changed[seq] > 0 })
	first.apply(&store.Change{Seq: seq, Disposition: completed()})
	other.mu.Lock()
	before := other.changed[seq]
	other.mu.Unlock()
	other.until("the news of the end", func() bool { return other.changed[seq] > before })
	stop()
	stop() // again, without effect
	other.mu.Lock()
	settings := other.settings
	other.mu.Unlock()
	first.AnnounceSettings()
	other.until("the settings", func() bool { return other.settings > settings })
}

// numberOfMembers checks that members know how many they are.
func numberOfMembers(t *testing.T, g Group) {
	first := join(t, g)
	other := join(t, g)
	first.until("two members", func() bool { return first.Members() == 2 && first.resized > 0 })
	other.until("two members at the other", func() bool { return other.Members() == 2 })
	other.stop()
	first.until("one member", func() bool { return first.Members() == 1 })
}
