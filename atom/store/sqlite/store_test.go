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

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/atom/store/storetest"
	"valence/internal/sqlitedb"
	"valence/internal/sqlitedb/faultdisk"
)

func TestConforms(t *testing.T) {
	for _, c := range []struct {
		name           string
		tick, packTime time.Duration
		digests        int
	}{{"as it is", 0, 0, 0}, {"moving at once", time.Millisecond, 20 * time.Millisecond, 3}, {"with rows at once", time.Millisecond, 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			storetest.Conform(t, func(t *testing.T) store.Store {
				s := open(t, t.TempDir(), sqlite.Options{})
				if c.tick > 0 {
					s.SetArchiveTimes(c.tick, c.packTime)
					s.SetDigestsPerCommit(c.digests)
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

func accept(t *testing.T, s *sqlite.Store, a *store.Message) int64 {
	t.Helper()
	r, err := s.Accept(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func apply(t *testing.T, s *sqlite.Store, c *store.Change) {
	t.Helper()
	if err := s.Apply(ctx, c); err != nil {
		t.Fatal(err)
	}
}

func TestOneProcessPerFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	_, err := sqlite.Open(dir, sqlite.Options{})
	var locked *sqlitedb.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir := t.TempDir()
	startStore(t, open(t, dir, sqlite.Options{}))()
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
		t.Error("the second attempt to open it: got", err, "want a newer schema")
	}
}

// TestRestart checks that everything is there after a clean stop, and no crash
// is counted.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	var seqs []int64
	for i := range 10 {
		seqs = append(seqs, accept(t, s, message(fmt.Appendf(nil, `{"n":%d}`, i))))
	}
	apply(t, s, &store.Change{Seq: seqs[0], Entries: []store.Entry{{Path: "0", Kind: "call", At: time.Now(), Body: []byte("x")}}})
	s.Started(seqs[0])
	apply(t, s, &store.Change{Seq: seqs[1], Disposition: outcome()})
	apply(t, s, &store.Change{Seq: seqs[2], Disposition: &store.Suspension{State: store.Held}})
	last := s.Reserve()
	stop()
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if s.Stats().Unclean {
		t.Error("got an unclean stop, want a clean one")
	}
	if n := s.Reserve(); n != last+1 {
		t.Errorf("got number %d after %d", n, last)
	}
	rs, err := s.Ready(ctx, "order-sync", 0, 100)
	if err != nil || len(rs) != 8 || rs[0].Crashes != 0 {
		t.Fatalf("got %d ready executions, %v, want 8 without crashes", len(rs), err)
	}
	if es, err := s.Entries(ctx, seqs[0]); err != nil || len(es) != 1 {
		t.Errorf("got %d entries, %v, want 1", len(es), err)
	}
	counts, _ := s.Counts(ctx)
	if fmt.Sprint(counts) != "map[order-sync:map[accepted:8 held:1]]" {
		t.Errorf("counts: got %v, want 8 accepted and 1 held", counts)
	}
	if err := s.Apply(ctx, &store.Change{Seq: seqs[1], Disposition: outcome()}); !errors.Is(err, store.ErrEnded) {
		t.Errorf("got %v, want store.ErrEnded", err)
	}
}

// TestBackup checks that a backup taken while the store is in use is
// consistent.
func TestBackup(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "data"), sqlite.Options{})
	s.SetArchiveTimes(time.Millisecond, 10*time.Millisecond)
	stop := startStore(t, s)
	c := &harness{t: t, store: s, replies: map[string]acknowledged{}}
	if c.disk, _ = faultdisk.New(t.TempDir()); c.disk == nil {
		t.Fatal("no disk")
	}
	c.randomWork(1, 120)
	known := len(c.facts)
	var wg sync.WaitGroup
	for id := range 3 {
		wg.Go(func() { c.randomWork(10+id, 120) })
	}
	to := filepath.Join(dir, "backup")
	if err := s.Backup(ctx, to); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(ctx, to); err == nil {
		t.Error("got no error from a backup to a folder in use")
	}
	wg.Wait()
	stop()
	c.facts, c.replies, c.numbers = c.facts[:known], nil, nil
	if err := c.verify(to, math.MaxInt); err != nil {
		t.Error(err)
	}
}

// TestDocumentsAreDeleted checks that a document's file is kept as long as the
// database refers to it.
func TestDocumentsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	files := func() int {
		list, _ := filepath.Glob(filepath.Join(dir, "documents", "*", "*"))
		return len(list)
	}
	s := open(t, dir, sqlite.Options{})
	s.SetArchiveTimes(time.Millisecond, 0)
	stop := startStore(t, s)
	big := bytes.Repeat([]byte("big"), 50_000)
	a, b := accept(t, s, message(big)), accept(t, s, message(big))
	if files() != 1 {
		t.Errorf("got %d files of one document, want 1", files())
	}
	apply(t, s, &store.Change{Seq: a, Disposition: outcome()})
	for n := int64(2); n != 1; {
		n, _ = s.CountRows("file")
	}
	if x, err := s.Get(ctx, b, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
		t.Errorf("the other execution: got %v, want its document", err)
	}
	apply(t, s, &store.Change{Seq: b, Disposition: outcome()})
	for files() != 0 {
	}
	for _, seq := range []int64{a, b} {
		if x, err := s.Get(ctx, seq, time.Now()); err != nil || !bytes.Equal(x.Doc, big) {
			t.Errorf("the history: got %v, want the document", err)
		}
	}
	stop()
	// The next start deletes the leftovers of a crash.
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
	stop = startStore(t, s)
	for files() != 0 {
	}
	stop()
}

// TestBacklogIsOnDisk checks that the memory for waiting messages is bounded;
// the rest is read when it is next.
func TestBacklogIsOnDisk(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	s.SetArchiveTimes(time.Millisecond, time.Second)
	defer startStore(t, s)()
	const n = 3000
	doc := bytes.Repeat([]byte("x"), 30<<10) // 90 MB in total
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
				if err := s.Apply(ctx, &store.Change{Seq: r.Seq, Disposition: outcome()}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if seen != n {
		t.Errorf("got %d messages, want %d", seen, n)
	}
	for _, table := range []string{"intake", "change", "execution", "journal"} {
		for left := int64(1); left > 0; {
			var err error
			if left, err = s.CountRows(table); err != nil {
				t.Fatal(err)
			}
		}
	}
}
