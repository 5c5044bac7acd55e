package sqlite_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/internal/sqlitedb/faultdisk"
)

// facts are the expected observations of a worker, by name.
type facts map[string]string

// snapshot is the expected state from one operation of the disk until the next
// snapshot. The change is in progress between started and done.
type snapshot struct {
	started, done int
	facts         facts
}

// worker is a goroutine of the harness. It changes its own executions and keys,
// one after the other, and tracks their expected state.
type worker struct {
	h          *harness
	name       string
	r          *rand.Rand
	n          int
	model      model
	snapshots  []snapshot
	executions []*trackedExecution
}

// model is the behavior of a worker.
type model interface {
	step(a *worker) error
	// expect adds expected facts about everything but the executions.
	expect(f facts)
	// observe adds these facts as the store shows them. It may change the
	// store.
	observe(a *worker, s *sqlite.Store, f facts) error
}

// trackedExecution is the expected state of an execution.
type trackedExecution struct {
	id      string
	seq     int64
	process string
	doc     []byte
	status  string // "" before it is accepted
	journal []string
	dropped bool
}

func short(b []byte) string {
	if len(b) < 40 {
		return string(b)
	}
	return fmt.Sprintf("%s…%x", b[:12], sha256.Sum256(b))[:28]
}

func (p *trackedExecution) String() string {
	doc := short(p.doc)
	if p.dropped {
		doc = "dropped"
	}
	return p.status + " " + doc + " " + strings.Join(p.journal, ",")
}

func (p *trackedExecution) live() bool {
	return p.status == "accepted" || p.status == "waiting" || p.status == "held"
}

// id returns a new name.
func (a *worker) id() string {
	a.n++
	return fmt.Sprintf("%s-%d", a.name, a.n)
}

// newExecution returns a message and the execution that it starts.
func (a *worker) newExecution(own bool) (*store.Message, *trackedExecution) {
	id := a.id()
	p := &trackedExecution{id: id, process: fmt.Sprint("p", a.r.IntN(2)), doc: docOf(a.r, id)}
	in := &store.Message{Process: p.process, Plan: "plan", Env: "env", Received: time.Now().UTC(), Doc: p.doc}
	if own {
		in.Seq, in.Due = a.h.store.Reserve(), time.Now().UTC()
	}
	return in, p
}

func (a *worker) accept(in *store.Message, p *trackedExecution, status string) (store.Receipt, error) {
	r, err := a.h.store.Accept(ctx, in)
	if err == nil {
		p.seq, p.status = r.Seq, status
		a.executions = append(a.executions, p)
	}
	return r, err
}

// pickLive returns a random live execution of the worker, or nil.
func (a *worker) pickLive() *trackedExecution {
	lives := slices.DeleteFunc(slices.Clone(a.executions), func(p *trackedExecution) bool { return !p.live() })
	if len(lives) == 0 {
		return nil
	}
	return lives[a.r.IntN(len(lives))]
}

// randomOutcome returns an outcome with random retention.
func (a *worker) randomOutcome(status store.Status) *store.Outcome {
	o := &store.Outcome{Status: status, Started: time.Now(), Ended: time.Now(), Trace: docOf(a.r, "trace")}
	if status == store.Failed || status == store.Expired {
		o.Fingerprint, o.Error = a.name, []byte(`{}`)
		return o
	}
	switch a.r.IntN(4) {
	case 0:
		o.DropDocuments = true
	case 1:
		o.Keep, o.Documents = 20*24*time.Hour, 24*time.Hour
	}
	return o
}

func (a *worker) end(p *trackedExecution, status store.Status, more func(*store.Change)) error {
	c := &store.Change{Seq: p.seq, Disposition: a.randomOutcome(status)}
	if more != nil {
		more(c)
	}
	err := a.h.store.Apply(ctx, c)
	if err == nil {
		p.status, p.dropped = string(status), c.Outcome().DropDocuments
	}
	return err
}

// run makes n steps. A step that the disk rejects has no effect.
func (a *worker) run(n int) {
	for range n {
		begun := a.h.disk.OpCount()
		err := a.model.step(a)
		if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) {
			if !a.h.failing {
				a.h.t.Errorf("%s: %v", a.name, err)
				return
			}
			for again := time.Now().Add(20 * time.Second); a.h.store.Err() != nil; runtime.Gosched() {
				if time.Now().After(again) {
					a.h.t.Errorf("%s: the store did not recover: %v", a.name, a.h.store.Err())
					return
				}
			}
		} else if err != nil {
			a.h.t.Errorf("%s: %v", a.name, err)
			return
		}
		f := facts{}
		for _, p := range a.executions {
			f[p.id] = p.String()
		}
		a.model.expect(f)
		a.snapshots = append(a.snapshots, snapshot{begun, a.h.disk.OpCount(), f})
	}
}

// check compares the store after a crash at operation n with the last
// acknowledged snapshot, or with the one in progress.
func (a *worker) check(s *sqlite.Store, n int) error {
	seen := facts{}
	for _, p := range a.executions {
		x, err := s.Get(ctx, p.seq, time.Now())
		if errors.Is(err, store.ErrUnknown) {
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.id, err)
		}
		q := trackedExecution{status: string(x.State), doc: x.Doc, dropped: x.Outcome != nil && x.Outcome.DropDocuments}
		if x.Outcome != nil {
			q.status = string(x.Outcome.Status)
			if x.Outcome.Resolved != nil {
				q.status += " " + string(x.Outcome.Resolved)
			}
		}
		for _, e := range x.Journal {
			q.journal = append(q.journal, e.Path+"="+short(e.Body))
		}
		if q.dropped {
			q.journal = p.journal // kept until it is archived
		}
		seen[p.id] = q.String()
	}
	if err := a.model.observe(a, s, seen); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	maps.DeleteFunc(seen, func(_, v string) bool { return v == "" })
	last := facts{}
	differs := ""
	for _, m := range append(slices.Clone(a.snapshots), snapshot{started: int(^uint(0) >> 1)}) {
		if m.done <= n && m.facts != nil {
			last = m.facts
			continue
		}
		differs = difference(last, seen)
		if differs == "" || m.started <= n && difference(m.facts, seen) == "" {
			return nil
		}
		break
	}
	return fmt.Errorf("%s: %s", a.name, differs)
}

func difference(want, got facts) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if want[k] != got[k] {
			fmt.Fprintf(&b, "\n%s is\n  %s, not\n  %s", k, got[k], want[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if want[k] == "" {
			fmt.Fprintf(&b, "\n%s is %s, and should not be", k, got[k])
		}
	}
	return b.String()
}

// addWorkers adds a worker for each model.
func (c *harness) addWorkers() {
	for i, p := range []model{&waitsModel{}, &waitsModel{}, &laneQueueModel{block: true}, &laneQueueModel{}, &failureModel{}, &stateModel{}, &coalesceModel{},
		&expiryModel{}, &repliesModel{}, &holdModel{}, &journalModel{}} {
		name := fmt.Sprintf("%s%d", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", p), "*sqlite_test."), "Model"), i)
		c.workers = append(c.workers, &worker{h: c, name: name, r: rand.New(rand.NewPCG(c.seed, uint64(i))), model: p})
	}
}

// TestDiskFailsNowAndThen checks that a change that the disk rejects has no
// effect, also after a power cut.
func TestDiskFailsNowAndThen(t *testing.T) {
	r := rand.New(rand.NewPCG(11, uint64(time.Now().UnixNano())))
	quiet, failed := 0, 0
	c := runHarnessOn(t, 0, 80, func(op faultdisk.Op) error {
		if quiet++; quiet < 300 || r.IntN(10) > 0 || op.Kind != faultdisk.Write && op.Kind != faultdisk.Sync || op.Path == "hot.db" {
			return nil // a checkpoint writes a lot, and the store stops after three failures
		}
		quiet = 0
		failed++
		if op.Kind == faultdisk.Write && r.IntN(8) == 0 {
			return syscall.ENOSPC
		}
		return syscall.EIO
	})
	c.disk.Fail(nil)
	if failed < 3 {
		t.Errorf("the disk failed %d times, want at least 3", failed)
	}
	for i := range rounds(t, 10) {
		n := c.disk.OpCount()
		if i > 0 {
			n = c.facts[0].since + r.IntN(n-c.facts[0].since)
		}
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := c.disk.CutAt(n, r, dir); err != nil {
			t.Fatal(err)
		}
		if err := c.verify(dir, n); err != nil {
			t.Fatalf("cut at operation %d of %d: %v", n, c.disk.OpCount(), err)
		}
		os.RemoveAll(dir)
	}
}

// TestModels checks the models themselves: without a crash everything is
// observed.
func TestModels(t *testing.T) {
	c := runHarness(t, 0, 120)
	dir := t.TempDir()
	if err := c.disk.CutAt(c.disk.OpCount(), nil, dir); err != nil {
		t.Fatal(err)
	}
	if err := c.verify(dir, c.disk.OpCount()); err != nil {
		t.Fatal(err)
	}
}
