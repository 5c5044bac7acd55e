package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/sqlitedb/faultdisk"
	"valence/internal/store/sqlite"
	"valence/internal/store/sqlite/disk"
)

var ctx = context.Background()

// faulty is a faultdisk as the store's files.
type faulty struct{ *faultdisk.Disk }

func (f faulty) Create(path string) (disk.File, error) { return f.Disk.Create(path) }

// fact is something that was acknowledged: it holds from an operation of the
// disk on.
type fact struct {
	since int
	seq   int64
	say   string
	check func(x *atom.Execution) error
}

// scene does random things to a store, on several goroutines, and keeps what
// was acknowledged.
type scene struct {
	t    *testing.T
	s    *sqlite.Store
	disk *faultdisk.Disk

	mu      sync.Mutex
	facts   []fact
	parents map[string]int64 // origin of a hand-off → who handed it off
	replies map[string]fact
	highest []fact // numbers given

	acts    []*act
	seed    uint64
	failing bool // the disk is
	turns   map[int64]int
}

// told gives how often each execution was told to be ready.
func (c *scene) told() map[int64]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.turns)
}

// listen counts what a store tells.
func (c *scene) listen(s *sqlite.Store) {
	c.turns = map[int64]int{}
	s.OnReady(func(rs []atom.Ready) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range rs {
			c.turns[r.Seq]++
		}
	})
}

func (c *scene) fact(seq int64, say string, check func(*atom.Execution) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.facts = append(c.facts, fact{c.disk.Len(), seq, say, check})
}

func docOf(r *rand.Rand, id string) []byte {
	n := r.IntN(1500)
	if r.IntN(12) == 0 {
		n = 70<<10 + r.IntN(4000)
	}
	return append([]byte(id+" "), bytes.Repeat([]byte("x"), n)...)
}

// worker does n things.
func (c *scene) worker(id, n int) {
	r := rand.New(rand.NewPCG(uint64(id), 99))
	type mine struct {
		seq     int64
		entries int
	}
	var live []*mine
	for i := range n {
		name := fmt.Sprintf("w%d-%d", id, i)
		if len(live) == 0 || r.IntN(3) == 0 {
			a := &atom.Acceptance{Process: fmt.Sprint("p", r.IntN(2)), Plan: "plan", Env: "env", Received: time.Now().UTC(), Doc: docOf(r, name)}
			switch r.IntN(6) {
			case 0:
				a.Seq = c.s.Reserve()
				a.Due = time.Now().UTC()
				a.Entries = []atom.Entry{{Path: "early", Kind: "reply", At: time.Now()}}
			case 1:
				a.Dedupe = &atom.Dedupe{Key: name, Until: time.Now().Add(time.Hour)}
			}
			rec, err := c.s.Accept(ctx, a)
			if err != nil {
				c.t.Error(err)
				return
			}
			c.fact(rec.Seq, "accepted "+name, func(x *atom.Execution) error {
				if !bytes.Equal(x.Doc, a.Doc) || x.Process != a.Process || !x.Received.Equal(a.Received) {
					return fmt.Errorf("its message is %d bytes of %s, not %d of %s", len(x.Doc), x.Process, len(a.Doc), a.Process)
				}
				return nil
			})
			c.mu.Lock()
			c.highest = append(c.highest, fact{since: c.disk.Len(), seq: rec.Seq})
			c.mu.Unlock()
			live = append(live, &mine{rec.Seq, len(a.Entries)})
			continue
		}
		k := r.IntN(len(live))
		m := live[k]
		change := &atom.Change{Seq: m.seq}
		if r.IntN(4) > 0 {
			change.Entries = []atom.Entry{{Path: strconv.Itoa(m.entries), Kind: "call", At: time.Now(), Body: docOf(r, name)}}
			m.entries++
		}
		status := atom.Status("")
		switch r.IntN(6) {
		case 0:
			change.Park = &atom.Park{State: atom.Waiting, Due: time.Now().Add(time.Hour)}
		case 1:
			status = atom.Failed
		case 2, 3:
			status = atom.Completed
		case 4:
			h := &atom.Acceptance{Process: "child", Received: time.Now().UTC(), Origin: name, Doc: []byte(name)}
			change.Handoffs = []*atom.Acceptance{h}
			change.Entries = append(change.Entries, atom.Entry{Path: name, Kind: "handoff", At: time.Now()})
			m.entries++
			c.mu.Lock()
			c.parents[name] = m.seq
			c.mu.Unlock()
		}
		if status != "" {
			change.Outcome = &atom.Outcome{Status: status, Started: time.Now(), Ended: time.Now(), Trace: docOf(r, name)}
			live = append(live[:k], live[k+1:]...)
		}
		if err := c.s.Apply(ctx, change); err != nil {
			c.t.Errorf("%s: %v", name, err)
			return
		}
		n := m.entries
		c.fact(m.seq, "did "+name, func(x *atom.Execution) error {
			if len(x.Journal) < n {
				return fmt.Errorf("its journal has %d entries, not %d", len(x.Journal), n)
			}
			for i, e := range x.Journal {
				if e.Kind == "call" && len(e.Body) == 0 {
					return fmt.Errorf("entry %d has lost its body", i)
				}
			}
			if status != "" && (x.Outcome == nil || x.Outcome.Status != status || !bytes.Equal(x.Outcome.Trace, change.Outcome.Trace)) {
				return fmt.Errorf("it is not %s", status)
			}
			return nil
		})
		if r.IntN(5) == 0 {
			key, seq := "claim-"+name, c.s.Reserve()
			if ok, _, err := c.s.Claim(ctx, "p", key, seq, time.Now().Add(time.Hour)); err != nil || !ok {
				c.t.Error(ok, err)
			}
			if err := c.s.Settle(ctx, "p", key, seq, []byte(name)); err != nil {
				c.t.Error(err)
			}
			c.mu.Lock()
			c.replies[key] = fact{since: c.disk.Len(), say: name}
			c.highest = append(c.highest, fact{since: c.disk.Len(), seq: seq})
			c.mu.Unlock()
		}
	}
}

// play runs a scene to its end and closes the store.
func play(t *testing.T, workers, n int) *scene { return playOn(t, workers, n, nil) }

// playOn is play on a disk that may fail.
func playOn(t *testing.T, workers, n int, fail func(faultdisk.Op) error) *scene {
	dir := t.TempDir()
	d, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(dir, sqlite.Options{VFS: d.VFS(), FS: faulty{d}})
	if err != nil {
		t.Fatal(err)
	}
	s.Hurry(3*time.Millisecond, 40*time.Millisecond)
	s.AtOnce(1)
	c := &scene{t: t, s: s, disk: d, parents: map[string]int64{}, replies: map[string]fact{}, seed: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", c.seed)
	c.facts = append(c.facts, fact{since: d.Len()})
	c.listen(s)
	c.cast()
	c.failing = fail != nil
	stop := running(t, s)
	d.Fail(fail)
	var wg sync.WaitGroup
	for _, a := range c.acts {
		wg.Go(func() { a.play(n) })
	}
	for id := range workers {
		wg.Go(func() { c.worker(id, n) })
	}
	wg.Wait()
	d.Fail(nil)
	stop()
	return c
}

// verify opens what a crash at operation n left, and checks it against what
// had been acknowledged by then.
func (c *scene) verify(dir string, n int) error {
	s, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		return err
	}
	c.listen(s)
	stop := running(c.t, s)
	defer stop()
	for _, f := range c.highest {
		if f.since <= n {
			if next := s.Reserve(); next <= f.seq {
				return fmt.Errorf("number %d is given after %d", next, f.seq)
			}
		}
	}
	for _, f := range c.facts {
		if f.since > n || f.seq == 0 {
			continue
		}
		x, err := s.Get(ctx, f.seq, time.Now())
		if err != nil {
			return fmt.Errorf("%d, %s: %w", f.seq, f.say, err)
		}
		if err := f.check(x); err != nil {
			return fmt.Errorf("%d, %s: %w", f.seq, f.say, err)
		}
	}
	for key, f := range c.replies {
		if f.since > n {
			continue
		}
		if ok, reply, err := s.Claim(ctx, "p", key, s.Reserve(), time.Now().Add(time.Hour)); ok || err != nil || string(reply) != f.say {
			return fmt.Errorf("%s was settled: %v %q %v", key, ok, reply, err)
		}
	}
	if err := c.verifyWhole(s); err != nil {
		return err
	}
	for _, a := range c.acts {
		if err := a.check(s, n); err != nil {
			return fmt.Errorf("seed %d: %w", c.seed, err)
		}
	}
	return nil
}

// verifyWhole checks what must hold of any store at any time.
func (c *scene) verifyWhole(s *sqlite.Store) error {
	live, toRun := map[int64]bool{}, map[int64]bool{}
	states, failures := map[string]int64{}, map[string]int64{}
	children := map[string]int{}
	handedOff := map[string]bool{}
	seen := map[int64]bool{}
	processes := map[string]bool{}
	for cursor := ""; ; {
		page, next, err := s.List(ctx, atom.Filter{}, cursor, 100)
		if err != nil {
			return err
		}
		for _, x := range page {
			if seen[x.Seq] {
				return fmt.Errorf("%d is listed twice", x.Seq)
			}
			seen[x.Seq] = true
			processes[x.Process] = true
			if o := x.Outcome; o != nil && o.Resolved == nil && (o.Status == atom.Failed || o.Status == atom.Expired) {
				failures[x.Process+" "+o.Fingerprint]++
			}
			if x.Process == "child" {
				children[x.Origin]++
			}
			whole, err := s.Get(ctx, x.Seq, x.Received)
			if err != nil {
				return fmt.Errorf("%d is listed: %w", x.Seq, err)
			}
			if (x.Outcome == nil) != (whole.Outcome == nil) {
				return fmt.Errorf("%d is listed as ended or not: %v, %v", x.Seq, x.Outcome, whole.Outcome)
			}
			if x.Outcome == nil { // what a lane blocks is listed as held
				live[x.Seq] = true
				states[x.Process+" "+string(whole.State)]++
				place, err := s.Place(ctx, x.Seq, whole.Lane)
				if err != nil {
					return err
				}
				toRun[x.Seq] = (place == nil || place.Head == x.Seq) && (whole.State == atom.Accepted || !whole.Due.IsZero())
			}
			for _, e := range whole.Journal {
				if e.Kind == "handoff" {
					handedOff[e.Path] = true
				}
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for name, n := range children {
		if n != 1 || !handedOff[name] {
			return fmt.Errorf("hand-off %s was made %d times, noted %v", name, n, handedOff[name])
		}
	}
	for name := range handedOff {
		if children[name] != 1 {
			return fmt.Errorf("hand-off %s was noted and made %d times", name, children[name])
		}
	}
	given := map[int64]bool{}
	for p := range processes {
		ready, err := s.Ready(ctx, p, 0, math.MaxInt32)
		if err != nil {
			return err
		}
		due, _, err := s.Due(ctx, p, time.Now().Add(24*time.Hour), math.MaxInt32)
		if err != nil {
			return err
		}
		heads, err := s.Heads(ctx, p, math.MaxInt32, func(int64) bool { return false })
		if err != nil {
			return err
		}
		for _, x := range slices.Concat(ready, due, heads) {
			if given[x.Seq] || !toRun[x.Seq] {
				return fmt.Errorf("%d is given twice, or is not to run", x.Seq)
			}
			given[x.Seq] = true
		}
	}
	for seq := range live {
		if toRun[seq] != given[seq] {
			return fmt.Errorf("%d is to run: %v, and is given: %v", seq, toRun[seq], given[seq])
		}
	}
	groups, err := s.Groups(ctx, "", math.MaxInt32)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if failures[g.Process+" "+g.Fingerprint] != g.Count {
			return fmt.Errorf("%d failures of %s by %s, counted %d", failures[g.Process+" "+g.Fingerprint], g.Process, g.Fingerprint, g.Count)
		}
		delete(failures, g.Process+" "+g.Fingerprint)
	}
	if len(failures) > 0 {
		return fmt.Errorf("failures without a group: %v", failures)
	}
	counts, err := s.Counts(ctx)
	if err != nil {
		return err
	}
	for process, c := range counts {
		for state, n := range c {
			if states[process+" "+string(state)] != n {
				return fmt.Errorf("%d of %s are %s, counted %d", states[process+" "+string(state)], process, state, n)
			}
			delete(states, process+" "+string(state))
		}
	}
	if len(states) > 0 {
		return fmt.Errorf("not counted: %v", states)
	}
	return nil
}

// rounds is how many crashes a test tries; VALENCE_CRASHES asks for more.
func rounds(t *testing.T, few int) int {
	n, err := strconv.Atoi(os.Getenv("VALENCE_CRASHES"))
	if err != nil {
		return few
	}
	return n
}

// A power cut at any operation of the disk leaves all that was acknowledged,
// and nothing by halves.
func TestPowerCut(t *testing.T) {
	c := play(t, 4, 60)
	from, total := c.facts[0].since, c.disk.Len()
	r := rand.New(rand.NewPCG(3, uint64(time.Now().UnixNano())))
	for i := range rounds(t, 25) {
		n := from + r.IntN(total-from)
		seed := r.Uint64()
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := c.disk.CutAt(n, rand.New(rand.NewPCG(seed, 0)), dir); err != nil {
			t.Fatal(err)
		}
		if err := c.verify(dir, n); err != nil {
			t.Fatalf("cut at operation %d of %d: %v", n, total, err)
		}
		os.RemoveAll(dir)
	}
}

// So does the death of the process at each write and each flush.
func TestKilledAtEachBoundary(t *testing.T) {
	c := play(t, 2, 25)
	from, total := c.facts[0].since, c.disk.Len()
	step := max(1, (total-from)/rounds(t, 40))
	for n := from; n < total; n += step {
		dir := filepath.Join(t.TempDir(), fmt.Sprint(n))
		if err := c.disk.CutAt(n, nil, dir); err != nil {
			t.Fatal(err)
		}
		if err := c.verify(dir, n); err != nil {
			t.Fatalf("killed at operation %d of %d: %v", n, total, err)
		}
		os.RemoveAll(dir)
	}
}

// A crash while recovering from a crash is no different.
func TestCrashWhileRecovering(t *testing.T) {
	c := play(t, 3, 30)
	n := c.disk.Len() * 2 / 3
	r := rand.New(rand.NewPCG(5, 5))
	dir := t.TempDir()
	if err := c.disk.CutAt(n, r, dir); err != nil {
		t.Fatal(err)
	}
	for range rounds(t, 6) {
		d, err := faultdisk.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		begin := d.Len()
		s, err := sqlite.Open(dir, sqlite.Options{VFS: d.VFS(), FS: faulty{d}})
		if err != nil {
			t.Fatal(err)
		}
		s.Hurry(time.Millisecond, 0)
		running(t, s)()
		next := t.TempDir()
		if err := d.CutAt(begin+r.IntN(d.Len()-begin), r, next); err != nil {
			t.Fatal(err)
		}
		dir = next
	}
	if err := c.verify(dir, n); err != nil {
		t.Fatal(err)
	}
}
