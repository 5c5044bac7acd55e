package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestLostDocuments checks that a document that is missing or damaged affects
// its own execution only, which can be read, ended, resolved and archived.
func TestLostDocuments(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, s *sqlite.Store, dir string){
		"missing file": func(t *testing.T, _ *sqlite.Store, dir string) {
			for _, path := range documents(t, dir) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
		},
		"damaged file": func(t *testing.T, _ *sqlite.Store, dir string) {
			for _, path := range documents(t, dir) {
				if err := os.Truncate(path, 100); err != nil {
					t.Fatal(err)
				}
			}
		},
		"damaged row": func(t *testing.T, s *sqlite.Store, _ string) {
			if err := s.Exec("UPDATE execution SET docs = x'00010203'"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, laned := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " laned ", laned), func(t *testing.T) {
				dir := t.TempDir()
				s := open(t, dir, sqlite.Options{})
				s.SetArchiveTimes(time.Hour, 0)
				stop := startStore(t, s)
				m := message(bytes.Repeat([]byte("big"), 50_000))
				if name == "damaged row" {
					m = message([]byte(`{"n":1}`))
				}
				if laned {
					m.Lane = &store.Lane{Scope: m.Process, Key: "k", Block: true}
				}
				lost := accept(t, s, m)
				if name == "damaged row" { // executions get a row when they are suspended
					apply(t, s, &store.Change{Seq: lost, Disposition: &store.Suspension{State: store.Accepted}})
				}
				lose(t, s, dir)
				stop()
				s = open(t, dir, sqlite.Options{})
				s.SetArchiveTimes(time.Millisecond, 0)
				defer startStore(t, s)()
				well := accept(t, s, message([]byte(`{"n":2}`)))
				found := map[int64]*store.Record{}
				read := func(list []*store.Record, err error) {
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range list {
						found[r.Seq] = r
					}
				}
				read(s.Ready(ctx, m.Process, 0, 10))
				due, _, err := s.Due(ctx, m.Process, time.Now(), 10)
				read(due, err)
				read(s.Heads(ctx, m.Process, 10, func(int64) bool { return false }))
				if r := found[lost]; r == nil || !errors.Is(r.DocumentErr, store.ErrDocumentLost) || len(r.Doc) > 0 {
					t.Fatalf("got %+v, want it without its document", r)
				}
				if r := found[well]; r == nil || r.DocumentErr != nil || string(r.Doc) != `{"n":2}` {
					t.Fatalf("the other: got %+v, want it with its document", r)
				}
				x, err := s.Get(ctx, lost, time.Now())
				if err != nil || !errors.Is(x.DocumentErr, store.ErrDocumentLost) {
					t.Fatalf("got %+v, %v, want it without its document", x, err)
				}
				failed := &store.Outcome{Status: store.Failed, Started: time.Now(), Ended: time.Now(), Fingerprint: "f", Error: []byte(`{}`)}
				apply(t, s, &store.Change{Seq: lost, Disposition: failed})
				if x, err = s.Get(ctx, lost, time.Now()); err != nil || x.Outcome == nil || x.DocumentErr == nil {
					t.Fatalf("failed: got %+v, %v, want its outcome and still no document", x, err)
				}
				if err := s.Resolve(ctx, &store.Resolution{Seq: lost, Note: []byte(`{}`), DropDocuments: true}); err != nil {
					t.Fatal(err)
				}
				apply(t, s, &store.Change{Seq: well, Disposition: outcome()})
				for n := int64(1); n != 0; {
					if n, err = s.CountRows("execution"); err != nil {
						t.Fatal(err)
					}
				}
				for _, seq := range []int64{lost, well} {
					if x, err := s.Get(ctx, seq, time.Now()); err != nil || x.Outcome == nil {
						t.Errorf("archived: got %+v, %v, want it in the history", x, err)
					}
				}
				if err := s.Archive(); err != nil {
					t.Errorf("archiving: got %v, want no error", err)
				}
			})
		}
	}
}

// documents returns the files of documents.
func documents(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "documents", "*", "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("got %v, %v, want files", list, err)
	}
	return list
}
