package sqlite_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
	"valence/internal/blob"
	"valence/internal/sqlitedb/faultdisk"
)

func putFile(t *testing.T, s *sqlite.Store, content string) string {
	t.Helper()
	name, size, err := s.PutFile(ctx, strings.NewReader(content))
	if err != nil || size != int64(len(content)) {
		t.Fatalf("got %d bytes, %v, want %d", size, err, len(content))
	}
	return name
}

// storedFiles returns the names of all files in the folder of stored files.
func storedFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, pattern := range []string{"new-*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, "blobs", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

func wantFiles(t *testing.T, when, dir string, want int) {
	t.Helper()
	if got := storedFiles(t, dir); len(got) != want {
		t.Errorf("%s: got the files %q, want %d", when, got, want)
	}
}

// TestFilesLiveAsLongAsTheirExecutions checks when a stored file is deleted.
func TestFilesLiveAsLongAsTheirExecutions(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	name := putFile(t, s, "shared by two executions")
	first := accept(t, s, message([]byte(`{"raw":"`+name+`"}`)))
	second := accept(t, s, message([]byte(`{}`)))
	apply(t, s, &store.Change{Seq: second, Entries: []store.Entry{{Path: "1", Kind: "call", At: time.Now(), Body: []byte(name)}}})
	s.ReleaseFiles([]string{name})
	unused := putFile(t, s, "of no execution")
	wantFiles(t, "before its scope ends", dir, 2)
	s.ReleaseFiles([]string{unused})
	wantFiles(t, "after its scope has ended", dir, 1)

	dropped := outcome()
	dropped.DropDocuments = true
	apply(t, s, &store.Change{Seq: first, Disposition: dropped})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "while one execution is live", dir, 1)
	stop()
	s = open(t, dir, sqlite.Options{})
	stop = startStore(t, s)
	kept := outcome()
	kept.Keep = 3 * anyDay
	apply(t, s, &store.Change{Seq: second, Disposition: kept})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		days time.Duration
		want int
	}{{0, 1}, {2, 1}, {6, 0}} {
		if err := s.PurgeAt(time.Now().Add(c.days * anyDay)); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, "after "+(c.days*anyDay).String(), dir, c.want)
	}
	if n, err := s.CountRows("stored_file"); n != 0 || err != nil {
		t.Errorf("got %d references, %v, want 0", n, err)
	}
	stop()
}

// TestFailedExecutionsKeepTheirFiles resubmits a failed execution.
func TestFailedExecutionsKeepTheirFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	name := putFile(t, s, "of a failed execution")
	failed := message([]byte(`{"raw":"` + name + `"}`))
	failed.Seq = s.Reserve()
	o := outcome()
	o.Status = store.Failed
	s.Record(&store.Finished{Record: store.Record{Message: *failed}, Outcome: *o})
	s.ReleaseFiles([]string{name}) // the record is not on disk yet
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "failed", dir, 1)
	next := message([]byte(`{"edited":true,"raw":"` + name + `"}`))
	next.Seq, next.Due = s.Reserve(), time.Now()
	if err := s.Resolve(ctx, &store.Resolution{Seq: failed.Seq, Note: []byte("{}"), Next: next, DropDocuments: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "resubmitted", dir, 1)
	end := outcome()
	end.DropDocuments = true
	apply(t, s, &store.Change{Seq: next.Seq, Disposition: end})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "completed", dir, 0)
}

// TestInventedNamesAreNotStored accepts, journals, signals and records documents
// with names that were not handed out. One that was handed out is stored for all
// executions that it is passed on to.
func TestInventedNamesAreNotStored(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	invented := blob.NewName([16]byte{1}, [32]byte{1})
	text := []byte(`{"raw":"` + invented + `","encoding":"valence-blob"}`)
	entry := store.Entry{Path: "1", Kind: "call", At: time.Now(), Body: text}
	seq := accept(t, s, message(text))
	apply(t, s, &store.Change{Seq: seq, Entries: []store.Entry{entry}, Handoffs: []*store.Message{message(text)}})
	apply(t, s, &store.Change{Seq: seq, Waits: []store.Wait{{Path: "x", ID: 1, Match: []byte("key")}}, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{1}}})
	if result, err := s.Signal(ctx, &store.Signal{Match: []byte("key"), Entry: entry}); err != nil || result != store.SignalDelivered {
		t.Fatalf("got %s, %v, want it delivered", result, err)
	}
	failed := message(text)
	failed.Seq = s.Reserve()
	o := outcome()
	o.Status = store.Failed
	failed.Entries = []store.Entry{entry}
	s.Record(&store.Finished{Record: store.Record{Message: *failed}, Outcome: *o})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CountRows("stored_file"); n != 0 || err != nil {
		t.Errorf("got %d references, %v, want 0", n, err)
	}
	name := putFile(t, s, "content")
	apply(t, s, &store.Change{Seq: seq, Entries: []store.Entry{{Path: "2", Kind: "call", At: time.Now(), Body: []byte(name)}}})
	s.ReleaseFiles([]string{name})
	apply(t, s, &store.Change{Seq: seq, Handoffs: []*store.Message{message([]byte(name + invented))}})
	if n, err := s.CountRows("stored_file"); n != 2 || err != nil {
		t.Errorf("handed on: got %d references, %v, want 2", n, err)
	}
	wantFiles(t, "handed on", dir, 1)
}

// TestSignalsOwnTheirFiles delivers a signal with a stored file, whose sender has
// ended.
func TestSignalsOwnTheirFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	seq := accept(t, s, message([]byte(`{}`)))
	apply(t, s, &store.Change{Seq: seq, Waits: []store.Wait{{Path: "x", ID: 1, Match: []byte("key")}}, Disposition: &store.Suspension{State: store.Waiting, Waits: []int64{1}}})
	name := putFile(t, s, "of a signal")
	result, err := s.Signal(ctx, &store.Signal{Match: []byte("key"), Entry: store.Entry{Kind: "signal", At: time.Now(), Body: []byte(name)}})
	if err != nil || result != store.SignalDelivered {
		t.Fatalf("got %s, %v, want it delivered", result, err)
	}
	s.ReleaseFiles([]string{name})
	wantFiles(t, "delivered", dir, 1)
	end := outcome()
	end.DropDocuments = true
	apply(t, s, &store.Change{Seq: seq, Disposition: end})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "ended", dir, 0)
}

// TestDamagedFilesAreNotRead checks the errors of stored files.
func TestDamagedFilesAreNotRead(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	name := putFile(t, s, "content")
	path := filepath.Join(dir, "blobs", blob.Sum(name)[:2], name)
	r, size, err := s.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || string(got) != "content" || size != 7 {
		t.Errorf("got %q of %d bytes, %v, want the content", got, size, err)
	}
	if err := os.WriteFile(path, []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, _, err = s.OpenFile(name); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, blob.ErrLost) || n >= size {
		t.Errorf("damaged: got %d bytes, %v, want fewer than %d and ErrLost", n, err, size)
	}
	_ = r.Close()
	for _, name := range []string{name[:len(name)-1] + "x", "../../hot.db", ""} {
		if _, _, err := s.OpenFile(name); !errors.Is(err, blob.ErrLost) {
			t.Errorf("%q: got %v, want ErrLost", name, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.OpenFile(name); !errors.Is(err, blob.ErrLost) {
		t.Errorf("missing: got %v, want ErrLost", err)
	}
}

// endless is a reader without an end, or with an error after a number of bytes.
type endless struct {
	left int
	err  error
}

func (e *endless) Read(b []byte) (int, error) {
	if e.left <= 0 && e.err != nil {
		return 0, e.err
	}
	e.left -= len(b)
	return len(b), nil
}

// TestUnstoredFilesLeaveNothing fails in the middle of files.
func TestUnstoredFilesLeaveNothing(t *testing.T) {
	errSource := errors.New("the source is gone")
	free := int64(64 << 30)
	for name, c := range map[string]struct {
		source io.Reader
		fail   func(faultdisk.Op) error
		full   bool
		want   error
	}{
		"source": {source: &endless{left: 1 << 20, err: errSource}, want: errSource},
		"disk full": {source: &endless{}, want: blob.ErrFull, fail: func(o faultdisk.Op) error {
			if strings.Contains(o.Path, "new-") {
				return syscall.ENOSPC
			}
			return nil
		}},
		"disk nearly full": {source: &endless{}, full: true, want: blob.ErrFull},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := faultdisk.New(dir)
			if err != nil {
				t.Fatal(err)
			}
			left := free
			s := open(t, dir, sqlite.Options{VFS: d.VFS(), FS: faultFS{d}, Free: func(string) (int64, int64, error) {
				if c.full {
					left -= 31 << 30
				}
				return left, free, nil
			}})
			defer startStore(t, s)()
			d.Fail(c.fail)
			_, _, err = s.PutFile(ctx, c.source)
			d.Fail(nil)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			wantFiles(t, "after the error", dir, 0)
		})
	}
}

// TestFilesOfACrashAreSwept leaves files that no commit refers to.
func TestFilesOfACrashAreSwept(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	used := putFile(t, s, "used")
	accept(t, s, message([]byte(`{"raw":"`+used+`"}`)))
	orphan := putFile(t, s, "orphan")
	if err := s.SweepBlobs(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "while the scope is open", dir, 2)
	if err := os.WriteFile(filepath.Join(dir, "blobs", "new-0"), bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if err := s.SweepBlobs(); err != nil {
		t.Fatal(err)
	}
	if got := storedFiles(t, dir); len(got) != 1 || got[0] != used {
		t.Errorf("got %q, want only %q, not %q", got, used, orphan)
	}
}
