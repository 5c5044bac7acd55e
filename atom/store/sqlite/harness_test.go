package sqlite_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/atom/store/sqlite/disk"
	"valence/internal/sqlitedb/faultdisk"
)

var ctx = context.Background()

// faultFS is a faultdisk as the file system of a store.
type faultFS struct{ *faultdisk.Disk }

func (f faultFS) Create(path string) (disk.File, error) { return f.Disk.Create(path) }
func (f faultFS) Open(path string) (disk.File, error)   { return f.Disk.Open(path) }

// acknowledged is something that the store acknowledged: it must hold from an
// operation of the disk on.
type acknowledged struct {
	since int
	seq   int64
	what  string
	check func(x *store.Execution) error
}

// harness changes a store at random, on several goroutines, and records
// acknowledgements.
type harness struct {
	t     *testing.T
	store *sqlite.Store
	disk  *faultdisk.Disk

	mu      sync.Mutex
	facts   []acknowledged
	replies map[string]acknowledged
	numbers []acknowledged // assigned numbers

	workers []*worker
	seed    uint64
	failing bool // the disk may fail
	ready   map[int64]int
}

// readyCounts returns how often each execution was reported as ready.
func (c *harness) readyCounts() map[int64]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.ready)
}

// countReady counts the executions that a store reports as ready.
func (c *harness) countReady(s *sqlite.Store) {
	c.ready = map[int64]int{}
	s.OnReady(func(rs []store.Wakeup) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range rs {
			c.ready[r.Seq]++
		}
	})
}

func (c *harness) acknowledge(seq int64, say string, check func(*store.Execution) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.facts = append(c.facts, acknowledged{c.disk.OpCount(), seq, say, check})
}

func docOf(r *rand.Rand, id string) []byte {
	n := r.IntN(1500)
	if r.IntN(12) == 0 {
		n = 70<<10 + r.IntN(4000)
	}
	return append([]byte(id+" "), bytes.Repeat([]byte("x"), n)...)
}

// runHarness runs workers on a new store, and closes it.
func runHarness(t *testing.T, workers, n int) *harness { return runHarnessOn(t, workers, n, nil) }

// runHarnessOn is runHarness on a disk that may fail.
func runHarnessOn(t *testing.T, workers, n int, fail func(faultdisk.Op) error) *harness {
	dir := t.TempDir()
	d, err := faultdisk.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(dir, sqlite.Options{VFS: d.VFS(), FS: faultFS{d}})
	if err != nil {
		t.Fatal(err)
	}
	s.SetArchiveTimes(3*time.Millisecond, 40*time.Millisecond)
	s.SetDigestsPerCommit(1)
	c := &harness{t: t, store: s, disk: d, replies: map[string]acknowledged{}, seed: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", c.seed)
	c.facts = append(c.facts, acknowledged{since: d.OpCount()})
	c.countReady(s)
	c.addWorkers()
	c.failing = fail != nil
	stop := startStore(t, s)
	d.Fail(fail)
	var wg sync.WaitGroup
	for _, a := range c.workers {
		wg.Go(func() { a.run(n) })
	}
	for id := range workers {
		wg.Go(func() { c.randomWork(id, n) })
	}
	wg.Wait()
	d.Fail(nil)
	stop()
	return c
}

// verify opens the folder left by a crash at operation n, and compares it with
// the acknowledgements by then.
func (c *harness) verify(dir string, n int) error {
	s, err := sqlite.Open(dir, sqlite.Options{})
	if err != nil {
		return err
	}
	c.countReady(s)
	stop := startStore(c.t, s)
	defer stop()
	for _, f := range c.numbers {
		if f.since <= n {
			if next := s.Reserve(); next <= f.seq {
				return fmt.Errorf("got number %d after %d", next, f.seq)
			}
		}
	}
	for _, f := range c.facts {
		if f.since > n || f.seq == 0 {
			continue
		}
		x, err := s.Get(ctx, f.seq, time.Now())
		if err != nil {
			return fmt.Errorf("%d, %s: %w", f.seq, f.what, err)
		}
		if err := f.check(x); err != nil {
			return fmt.Errorf("%d, %s: %w", f.seq, f.what, err)
		}
	}
	for key, f := range c.replies {
		if f.since > n {
			continue
		}
		if taken, err := s.Claim(ctx, "p", &store.Dedupe{Key: key, Until: time.Now().Add(time.Hour)}, s.Reserve()); taken == nil || err != nil || string(taken.Reply) != f.what {
			return fmt.Errorf("a settled claim %s: got %+v, %v, want the reply %q", key, taken, err, f.what)
		}
	}
	if err := checkInvariants(s); err != nil {
		return err
	}
	for _, a := range c.workers {
		if err := a.check(s, n); err != nil {
			return fmt.Errorf("seed %d: %w", c.seed, err)
		}
	}
	return nil
}

// rounds is the number of crashes that a test tries; VALENCE_CRASHES sets it.
func rounds(t *testing.T, few int) int {
	n, err := strconv.Atoi(os.Getenv("VALENCE_CRASHES"))
	if err != nil {
		return few
	}
	return n
}

// TestPowerCut checks that after a power cut at any operation of the disk,
// everything acknowledged is there, and every change is there whole or not at
// all.
func TestPowerCut(t *testing.T) {
	c := runHarness(t, 4, 60)
	from, total := c.facts[0].since, c.disk.OpCount()
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

// TestKilledAtEachBoundary is TestPowerCut for a process that is killed at a
// write or a flush.
func TestKilledAtEachBoundary(t *testing.T) {
	c := runHarness(t, 2, 25)
	from, total := c.facts[0].since, c.disk.OpCount()
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

// TestCrashWhileRecovering crashes again during recovery.
func TestCrashWhileRecovering(t *testing.T) {
	c := runHarness(t, 3, 30)
	n := c.disk.OpCount() * 2 / 3
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
		begin := d.OpCount()
		s, err := sqlite.Open(dir, sqlite.Options{VFS: d.VFS(), FS: faultFS{d}})
		if err != nil {
			t.Fatal(err)
		}
		s.SetArchiveTimes(time.Millisecond, 0)
		startStore(t, s)()
		next := t.TempDir()
		if err := d.CutAt(begin+r.IntN(d.OpCount()-begin), r, next); err != nil {
			t.Fatal(err)
		}
		dir = next
	}
	if err := c.verify(dir, n); err != nil {
		t.Fatal(err)
	}
}
