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

	"valence/atom"
	"valence/internal/sqlitedb/faultdisk"
	"valence/internal/store/sqlite"
)

// facts are what is to be seen of what one goroutine did, by name.
type facts map[string]string

// moment is what is to be seen from an operation of the disk on, until the
// next. An operation is under way between begun and since.
type moment struct {
	begun, since int
	facts        facts
}

// act is one goroutine of a scene: it does one thing after the other to
// executions and keys of its own, and keeps a model of what they are then.
type act struct {
	c       *scene
	name    string
	r       *rand.Rand
	n       int
	plot    plot
	moments []moment
	xs      []*played
}

// plot is what an act is about.
type plot interface {
	step(a *act) error
	// expect gives what is to be seen besides the executions.
	expect(f facts)
	// see looks for that. It may change what it looks at.
	see(a *act, s *sqlite.Store, f facts) error
}

// played is an execution of an act as the model has it.
type played struct {
	id      string
	seq     int64
	process string
	doc     []byte
	status  string // "" before it was accepted
	journal []string
	drops   bool
}

func short(b []byte) string {
	if len(b) < 40 {
		return string(b)
	}
	return fmt.Sprintf("%s…%x", b[:12], sha256.Sum256(b))[:28]
}

func (p *played) String() string {
	doc := short(p.doc)
	if p.drops {
		doc = "dropped"
	}
	return p.status + " " + doc + " " + strings.Join(p.journal, ",")
}

func (p *played) live() bool {
	return p.status == "accepted" || p.status == "waiting" || p.status == "held"
}

// id gives a name of the act's own.
func (a *act) id() string {
	a.n++
	return fmt.Sprintf("%s-%d", a.name, a.n)
}

// newcomer gives an acceptance and the execution that comes of it.
func (a *act) newcomer(own bool) (*atom.Acceptance, *played) {
	id := a.id()
	p := &played{id: id, process: fmt.Sprint("p", a.r.IntN(2)), doc: docOf(a.r, id)}
	in := &atom.Acceptance{Process: p.process, Plan: "plan", Env: "env", Received: time.Now().UTC(), Doc: p.doc}
	if own {
		in.Seq, in.Due = a.c.s.Reserve(), time.Now().UTC()
	}
	return in, p
}

func (a *act) accept(in *atom.Acceptance, p *played, status string) (atom.Receipt, error) {
	r, err := a.c.s.Accept(ctx, in)
	if err == nil {
		p.seq, p.status = r.Seq, status
		a.xs = append(a.xs, p)
	}
	return r, err
}

// one gives an execution of the act that lives, nil if none does.
func (a *act) one() *played {
	lives := slices.DeleteFunc(slices.Clone(a.xs), func(p *played) bool { return !p.live() })
	if len(lives) == 0 {
		return nil
	}
	return lives[a.r.IntN(len(lives))]
}

// ending gives an outcome of one of several kinds.
func (a *act) ending(status atom.Status) *atom.Outcome {
	o := &atom.Outcome{Status: status, Started: time.Now(), Ended: time.Now(), Trace: docOf(a.r, "trace")}
	if status == atom.Failed || status == atom.Expired {
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

func (a *act) end(p *played, status atom.Status, more func(*atom.Change)) error {
	c := &atom.Change{Seq: p.seq, Outcome: a.ending(status)}
	if more != nil {
		more(c)
	}
	err := a.c.s.Apply(ctx, c)
	if err == nil {
		p.status, p.drops = string(status), c.Outcome.DropDocuments
	}
	return err
}

// play does n things. What the disk refuses has not happened.
func (a *act) play(n int) {
	for range n {
		begun := a.c.disk.Len()
		err := a.plot.step(a)
		if errors.Is(err, atom.ErrUnavailable) || errors.Is(err, atom.ErrFull) {
			if !a.c.failing {
				a.c.t.Errorf("%s: %v", a.name, err)
				return
			}
			for again := time.Now().Add(20 * time.Second); a.c.s.Err() != nil; runtime.Gosched() {
				if time.Now().After(again) {
					a.c.t.Errorf("%s: it stays so: %v", a.name, a.c.s.Err())
					return
				}
			}
		} else if err != nil {
			a.c.t.Errorf("%s: %v", a.name, err)
			return
		}
		f := facts{}
		for _, p := range a.xs {
			f[p.id] = p.String()
		}
		a.plot.expect(f)
		a.moments = append(a.moments, moment{begun, a.c.disk.Len(), f})
	}
}

// check compares what is to be seen after a crash at operation n: what was
// acknowledged, or that and what was under way.
func (a *act) check(s *sqlite.Store, n int) error {
	seen := facts{}
	for _, p := range a.xs {
		x, err := s.Get(ctx, p.seq, time.Now())
		if errors.Is(err, atom.ErrUnknown) {
			continue
		} else if err != nil {
			return fmt.Errorf("%s: %w", p.id, err)
		}
		q := played{status: string(x.State), doc: x.Doc, drops: x.Outcome != nil && x.Outcome.DropDocuments}
		if x.Outcome != nil {
			q.status = string(x.Outcome.Status)
			if x.Outcome.Resolved != nil {
				q.status += " " + string(x.Outcome.Resolved)
			}
		}
		for _, e := range x.Journal {
			q.journal = append(q.journal, e.Path+"="+short(e.Body))
		}
		if q.drops {
			q.journal = p.journal // there until it moves
		}
		seen[p.id] = q.String()
	}
	if err := a.plot.see(a, s, seen); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	maps.DeleteFunc(seen, func(_, v string) bool { return v == "" })
	last := facts{}
	differs := ""
	for _, m := range append(slices.Clone(a.moments), moment{begun: int(^uint(0) >> 1)}) {
		if m.since <= n && m.facts != nil {
			last = m.facts
			continue
		}
		differs = difference(last, seen)
		if differs == "" || m.begun <= n && difference(m.facts, seen) == "" {
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

// cast gives the acts of a scene.
func (c *scene) cast() {
	for i, p := range []plot{&waitsPlot{}, &waitsPlot{}, &lanePlot{block: true}, &lanePlot{}, &failurePlot{}, &statePlot{}, &coalescePlot{},
		&expiryPlot{}, &repliesPlot{}, &holdPlot{}, &journalPlot{}} {
		name := fmt.Sprintf("%s%d", strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", p), "*sqlite_test."), "Plot"), i)
		c.acts = append(c.acts, &act{c: c, name: name, r: rand.New(rand.NewPCG(c.seed, uint64(i))), plot: p})
	}
}

// What a disk refuses now and then has not happened, and nothing else is
// different; also after a power cut.
func TestDiskFailsNowAndThen(t *testing.T) {
	r := rand.New(rand.NewPCG(11, uint64(time.Now().UnixNano())))
	quiet, failed := 0, 0
	c := playOn(t, 0, 80, func(op faultdisk.Op) error {
		if quiet++; quiet < 300 || r.IntN(10) > 0 || op.Kind != faultdisk.Write && op.Kind != faultdisk.Sync || op.Path == "hot.db" {
			return nil // folding back is many writes, and given up after three failures
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
		t.Errorf("it failed %d times", failed)
	}
	for i := range rounds(t, 10) {
		n := c.disk.Len()
		if i > 0 {
			n = c.facts[0].since + r.IntN(n-c.facts[0].since)
		}
		dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := c.disk.CutAt(n, r, dir); err != nil {
			t.Fatal(err)
		}
		if err := c.verify(dir, n); err != nil {
			t.Fatalf("cut at operation %d of %d: %v", n, c.disk.Len(), err)
		}
		os.RemoveAll(dir)
	}
}

// TestActs makes sure of the model itself: without any crash all of it is seen.
func TestActs(t *testing.T) {
	c := play(t, 0, 120)
	dir := t.TempDir()
	if err := c.disk.CutAt(c.disk.Len(), nil, dir); err != nil {
		t.Fatal(err)
	}
	if err := c.verify(dir, c.disk.Len()); err != nil {
		t.Fatal(err)
	}
}
