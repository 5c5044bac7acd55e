package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/atomtest"
	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
	"valence/internal/store/sqlite"
)

func TestConforms(t *testing.T) {
	for _, c := range []struct {
		name        string
		tick, young time.Duration
		prints      int
	}{{"as it is", 0, 0, 0}, {"moving at once", time.Millisecond, 20 * time.Millisecond, 3}, {"with rows at once", time.Millisecond, 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			atomtest.Conform(t, func(t *testing.T) atom.Store {
				s := open(t, t.TempDir(), sqlite.Options{})
				if c.tick > 0 {
					s.Hurry(c.tick, c.young)
					s.AtOnce(c.prints)
				}
				return s
			})
		})
	}
}

func open(t testing.TB, dir string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func accept(t *testing.T, s *sqlite.Store, a *atom.Acceptance) int64 {
	t.Helper()
	r, err := s.Accept(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func apply(t *testing.T, s *sqlite.Store, c *atom.Change) {
	t.Helper()
	if err := s.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer running(t, s)()
	_, err := sqlite.Open(dir, sqlite.Options{})
	var held *sqlitedb.LockedError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	running(t, open(t, dir, sqlite.Options{}))()
	many := make([]sqlitedb.Migration, 50)
	for i := range many {
		many[i].SQL = "SELECT 1"
	}
	db, err := sqlitedb.Open(filepath.Join(dir, "hot.db"), sqlitedb.Options{Migrations: many})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err = sqlite.Open(dir, sqlite.Options{})
	var newer *sqlitedb.NewerSchemaError
	if !errors.As(err, &newer) || newer.Have != 50 {
		t.Fatal(err)
	}
	if _, err = sqlite.Open(dir, sqlite.Options{}); !errors.As(err, &newer) {
		t.Error("the folder stayed locked:", err)
	}
}

// What was there at a clean stop is there at the next start, and no crash is
// held against anybody.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	var seqs []int64
	for i := range 10 {
		seqs = append(seqs, accept(t, s, message(fmt.Appendf(nil, `{"n":%d}`, i))))
	}
	apply(t, s, &atom.Change{Seq: seqs[0], Entries: []atom.Entry{{Path: "0", Kind: "call", At: time.Now(), Body: []byte("x")}}})
	s.Started(seqs[0])
	apply(t, s, &atom.Change{Seq: seqs[1], Outcome: outcome()})
	apply(t, s, &atom.Change{Seq: seqs[2], Park: &atom.Park{State: atom.Held}})
	last := s.Reserve()
	stop()
	s = open(t, dir, sqlite.Options{})
	defer running(t, s)()
	if s.Stats().Unclean {
		t.Error("unclean")
	}
	if n := s.Reserve(); n != last+1 {
		t.Errorf("number %d after %d", n, last)
	}
	rs, err := s.Ready(ctx, "order-sync", 0, 100)
	if err != nil || len(rs) != 8 || rs[0].Unclean != 0 {
		t.Fatalf("%d ready, %v", len(rs), err)
	}
	if es, err := s.Entries(ctx, seqs[0]); err != nil || len(es) != 1 {
		t.Errorf("%d entries, %v", len(es), err)
	}
	counts, _ := s.Counts(ctx)
	if fmt.Sprint(counts) != "map[order-sync:map[accepted:8 held:1]]" {
		t.Error(counts)
	}
	if err := s.Apply(ctx, &atom.Change{Seq: seqs[1], Outcome: outcome()}); !errors.Is(err, atom.ErrEnded) {
		t.Error(err)
	}
}

// child is the test binary as a process that is killed: it runs a store in a
// folder and tells on its output what was acknowledged.
// A process that is killed and started again, again and again on one folder,
// loses nothing it acknowledged, and knows what ran.
// An execution that is found running at one unclean stop after the other has
// that counted; being parked in between clears it.
// A write that fails is answered with ErrUnavailable and leaves nothing, and
// the store goes on; three in a row end it.
// While the history cannot be written what ended stays where it is, and moves
// when it can.
// Acceptance stops first, then starting; what runs can end all the while.
// A disk that is really full, as far as this process is concerned.
// A backup taken while the store is in use is a store of a moment.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "data"), sqlite.Options{})
	s.Hurry(time.Millisecond, 10*time.Millisecond)
	stop := running(t, s)
	c := &scene{t: t, s: s, parents: map[string]int64{}, replies: map[string]fact{}}
	if c.disk, _ = faultdisk.New(t.TempDir()); c.disk == nil {
		t.Fatal("no disk")
	}
	c.worker(1, 120)
	known := len(c.facts)
	var wg sync.WaitGroup
	for id := range 3 {
		wg.Go(func() { c.worker(10+id, 120) })
	}
	to := filepath.Join(dir, "backup")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, to); err == nil {
		t.Error("over another one")
	}
	wg.Wait()
	stop()
	c.facts, c.replies, c.highest = c.facts[:known], nil, nil
	if err := c.verify(to, math.MaxInt); err != nil {
		t.Error(err)
	}
}

// Files of documents live as long as something in the database needs them.
func TestDocumentsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	files := func() int {
		list, _ := filepath.Glob(filepath.Join(dir, "documents", "*", "*"))
		return len(list)
	}
	s := open(t, dir, sqlite.Options{})
	s.Hurry(time.Millisecond, 0)
	stop := running(t, s)
	big := bytes.Repeat([]byte("big"), 50_000)
	a, b := accept(t, s, message(big)), accept(t, s, message(big))
	if files() != 1 {
		t.Errorf("%d files of one document", files())
	}
	apply(t, s, &atom.Change{Seq: a, Outcome: outcome()})
	for n := int64(2); n != 1; {
		n, _ = s.Count("file")
	}
	if x, err := s.Get(ctx, b, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
		t.Error("the other one lost its document:", err)
	}
	apply(t, s, &atom.Change{Seq: b, Outcome: outcome()})
	for files() != 0 {
	}
	for _, seq := range []int64{a, b} {
		if x, err := s.Get(ctx, seq, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
			t.Error("the history lost a document:", err)
		}
	}
	stop()
	// What a crash left is swept at the next start.
	orphan := filepath.Join(dir, "documents", "ab", strings.Repeat("ab", 32))
	torn := filepath.Join(dir, "documents", "ab", "new-1-1")
	if err := os.MkdirAll(filepath.Dir(orphan), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	for _, path := range []string{orphan, torn} {
		if err := errors.Join(os.WriteFile(path, big, 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, sqlite.Options{})
	stop = running(t, s)
	for files() != 0 {
	}
	stop()
}

// A clock that jumps purges nothing, and is told of.
// Messages that nothing is done to are in memory only up to a bound, and the
// rest is read when its turn comes.
func TestBacklogIsOnDisk(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	s.Hurry(time.Millisecond, time.Second)
	defer running(t, s)()
	const n = 3000
	doc := bytes.Repeat([]byte("x"), 30<<10) // 90 MB in all
	var wg sync.WaitGroup
	for g := range 30 {
		wg.Go(func() {
			for i := range n / 30 {
				a := message(append(fmt.Appendf(nil, "%d-%d ", g, i), doc...))
				if _, err := s.Accept(ctx, a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen, after := 0, int64(0)
	for {
		rs, err := s.Ready(ctx, "order-sync", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(rs) == 0 {
			break
		}
		for _, r := range rs {
			seen++
			after = r.Seq
			wg.Go(func() {
				if err := s.Apply(ctx, &atom.Change{Seq: r.Seq, Outcome: outcome()}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if seen != n {
		t.Errorf("%d of %d", seen, n)
	}
	for _, table := range []string{"intake", "change", "execution", "journal"} {
		for left := int64(1); left > 0; {
			var err error
			if left, err = s.Count(table); err != nil {
				t.Fatal(err)
			}
		}
	}
}
