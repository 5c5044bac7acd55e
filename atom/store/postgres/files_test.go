package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"valence/atom/store"
	"valence/atom/store/postgres"
	"valence/internal/blob"
)

// fileCount returns the files, chunks and references in a database.
func fileCount(t *testing.T, database string) (files, chunks, uses int) {
	t.Helper()
	err := connect(t, database).QueryRow(t.Context(), "SELECT (SELECT count(*) FROM atom_file), (SELECT count(*) FROM atom_file_chunk), (SELECT count(*) FROM atom_file_use)").Scan(&files, &chunks, &uses)
	if err != nil {
		t.Fatal(err)
	}
	return files, chunks, uses
}

func wantFiles(t *testing.T, when, database string, files, uses int) {
	t.Helper()
	if f, _, u := fileCount(t, database); f != files || u != uses {
		t.Errorf("%s: got %d files and %d references, want %d and %d", when, f, u, files, uses)
	}
}

func putFile(t *testing.T, s *postgres.Store, content string) string {
	t.Helper()
	name, size, err := s.PutFile(t.Context(), strings.NewReader(content))
	if err != nil || size != int64(len(content)) {
		t.Fatalf("got %d bytes, %v, want %d", size, err, len(content))
	}
	return name
}

// with returns a message that refers to a file.
func with(name string) *store.Message {
	m := message("p")
	m.Doc = []byte(`{"raw":"` + name + `"}`)
	return m
}

func accepted(t *testing.T, s *postgres.Store, m *store.Message) int64 {
	t.Helper()
	r, err := s.Accept(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func applied(t *testing.T, s *postgres.Store, c *store.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// ended is an outcome that drops the documents.
func ended() *store.Outcome {
	return &store.Outcome{Status: store.Completed, Started: time.Now(), Ended: time.Now(), DropDocuments: true}
}

// TestFilesInChunks stores files of sizes around those of a chunk, and damages one.
func TestFilesInChunks(t *testing.T) {
	database := server.Database(t)
	s := open(t, database, "a")
	defer run(t, s)()
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20} {
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
		name := putFile(t, s, string(content))
		r, n, err := s.OpenFile(name)
		if err != nil || n != int64(size) {
			t.Fatalf("%d bytes: got %d, %v", size, n, err)
		}
		if err := iotest.TestReader(r, content); size < 1<<20 && err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		_ = r.Close()
		if r, _, err = s.OpenFile(name); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes: got %d, %v, want the content", size, len(got), err)
		}
		_ = r.Close()
		s.ReleaseFiles([]string{name})
	}
	wantFiles(t, "released", database, 0, 0)
	if _, chunks, _ := fileCount(t, database); chunks != 0 {
		t.Errorf("released: got %d chunks, want 0", chunks)
	}
	lost := errors.New("lost")
	_, _, err := s.PutFile(t.Context(), io.MultiReader(strings.NewReader(strings.Repeat("x", 2<<20)), iotest.ErrReader(lost)))
	if read := (*blob.ReadError)(nil); !errors.As(err, &read) || !errors.Is(err, lost) {
		t.Errorf("a reader that fails: got %v, want a ReadError", err)
	}
	wantFiles(t, "not received", database, 0, 0)
	name := putFile(t, s, strings.Repeat("x", 3<<20))
	for _, sql := range []string{"UPDATE atom_file_chunk SET body = overlay(body placing 'y' from 5) WHERE n = 0", "DELETE FROM atom_file_chunk WHERE n = 2", "DELETE FROM atom_file"} {
		server.Exec(t, database, sql)
		r, _, err := s.OpenFile(name)
		n := 0
		if err == nil {
			var got []byte
			got, err = io.ReadAll(r)
			n = len(got)
			_ = r.Close()
		}
		if !errors.Is(err, blob.ErrLost) || n > 2<<20 {
			t.Errorf("%s: got %d bytes, %v, want ErrLost", sql, n, err)
		}
	}
	if _, _, err := s.OpenFile("../x"); !errors.Is(err, blob.ErrLost) {
		t.Errorf("an impossible name: got %v, want ErrLost", err)
	}
}

// TestFilesBelongToExecutions follows files until nobody has them.
func TestFilesBelongToExecutions(t *testing.T) {
	database := server.Database(t)
	s := open(t, database, "a")
	defer run(t, s)()
	name := putFile(t, s, "shared by two executions")
	invented := blob.NewName([16]byte{1}, [32]byte{1})
	first := accepted(t, s, with(name+invented))
	second := accepted(t, s, with(""))
	applied(t, s, &store.Change{Seq: second, Entries: []store.Entry{{Path: "1", Kind: "call", At: time.Now(), Body: []byte(name)}}, Handoffs: []*store.Message{with(invented)}})
	s.ReleaseFiles([]string{name})
	wantFiles(t, "released", database, 1, 2)
	applied(t, s, &store.Change{Seq: first, Disposition: ended()})
	if err := s.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "one has ended", database, 1, 1)
	// The last commit refers to it again, and drops the documents.
	applied(t, s, &store.Change{Seq: second, Entries: []store.Entry{{Path: "2", Kind: "call", At: time.Now(), Body: []byte(name)}}, Disposition: ended()})
	if err := s.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "both have ended", database, 0, 0)

	name = putFile(t, s, "of a failed execution")
	failed := with(name)
	failed.Seq = s.Reserve()
	o := ended()
	o.Status = store.Failed
	s.Record(&store.Finished{Record: store.Record{Message: *failed}, Outcome: *o})
	s.ReleaseFiles([]string{name}) // the record may not be stored yet
	for deadline := time.Now().Add(time.Minute); ; <-time.After(2 * time.Millisecond) {
		if f, _, u := fileCount(t, database); f == 1 && u == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the failed execution has no file after a minute")
		}
	}
	if err := s.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "failed", database, 1, 1)
	if err := s.Resolve(t.Context(), &store.Resolution{Seq: failed.Seq, Note: []byte("{}"), DropDocuments: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "resolved", database, 0, 0)
}

// TestFilesOfEndedLeases adopts from a member: its executions still have their files,
// which the other member reads. Those that it has only received are deleted, also
// unfinished ones, and the member accepts nothing that refers to them.
func TestFilesOfEndedLeases(t *testing.T) {
	g := group{server.Database(t)}
	first, second := g.Open(t).(*postgres.Store), g.Open(t).(*postgres.Store)
	for _, s := range []*postgres.Store{first, second} {
		s.Pause(true)
		if err := s.Join(t.Context(), func(map[string]int64) {}, func() {}); err != nil {
			t.Fatal(err)
		}
		defer run(t, s)()
	}
	kept := putFile(t, first, "kept")
	accepted(t, first, with(kept))
	received := putFile(t, first, "received")
	reading, writing := io.Pipe()
	unfinished := make(chan error, 1)
	go func() {
		_, _, err := first.PutFile(context.Background(), reading)
		unfinished <- err
	}()
	if _, err := writing.Write(make([]byte, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := second.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "while the lease lasts", g.database, 3, 1)
	if err := g.Expire(first, second); err != nil {
		t.Fatal(err)
	}
	if err := second.PurgeNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, "after the takeover", g.database, 1, 1)
	_ = writing.Close()
	if err := <-unfinished; err == nil {
		t.Error("got no error for a file that was received after the takeover")
	}
	r, _, err := second.OpenFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "kept" {
		t.Errorf("got %q, %v, want the file of the adopted execution", got, err)
	}
	_ = r.Close()
	first.Pause(false)
	for deadline := time.Now().Add(time.Minute); ; <-time.After(2 * time.Millisecond) { // it joins again
		_, err = first.Accept(t.Context(), with(received))
		if err == nil || !errors.Is(err, store.ErrFenced) || time.Now().After(deadline) {
			break
		}
	}
	if err == nil || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("accept of a deleted file: got %v, want ErrUnavailable", err)
	}
	if _, err := first.Accept(t.Context(), message("p")); err != nil {
		t.Errorf("accept of another message: %v", err)
	}
	wantFiles(t, "after it has joined again", g.database, 1, 1)
}

// TestLargeFilesUseLittleMemory stores and reads a file of 128 MiB.
func TestLargeFilesUseLittleMemory(t *testing.T) {
	s := open(t, server.Database(t), "a")
	defer run(t, s)()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	grown := uint64(0)
	measure := func(b []byte) {
		if rand.IntN(64) == 0 {
			runtime.ReadMemStats(&now)
			grown = max(grown, now.HeapInuse-min(before.HeapInuse, now.HeapInuse))
		}
	}
	const size = 128 << 20
	name, n, err := s.PutFile(t.Context(), io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{1}), size), writer(measure)))
	if err != nil || n != size {
		t.Fatalf("got %d bytes, %v", n, err)
	}
	r, _, err := s.OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(writer(measure), r); err != nil || n != size {
		t.Errorf("got %d bytes, %v, want %d", n, err, size)
	}
	_ = r.Close()
	t.Logf("the heap grew by %d KiB", grown>>10)
	if grown > 40<<20 {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, 40<<20)
	}
	s.ReleaseFiles([]string{name})
}

// writer is called with everything that is written.
type writer func(b []byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
