package crash

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestBackupKilledAtRandomInstants kills backups at random instants. The folder
// exists only if the backup is complete, nothing starts on an unfinished one,
// and the next backup replaces it.
func TestBackupKilledAtRandomInstants(t *testing.T) {
	a := newAtom(t, freeAddr(t))
	fillStore(t, a.data)
	dest := filepath.Join(filepath.Dir(a.data), "backup")
	r := seeded(t)
	interrupted := 0
	for range 4 * rounds(t) {
		cmd := exec.Command(binary, "backup", dest, "--data", a.data)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); !there(dest+".unfinished") && !there(dest) && time.Now().Before(deadline); {
			pause(time.Millisecond)
		}
		pause(time.Duration(r.IntN(int(100 * time.Millisecond))))
		cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if there(dest) {
			if out, err := exec.Command(binary, "check", "--data", dest).CombinedOutput(); err != nil {
				t.Fatalf("a backup that has its name is not whole: %v\n%s", err, out)
			}
			if err := os.RemoveAll(dest); err != nil {
				t.Fatal(err)
			}
			continue
		}
		interrupted++
		out, err := exec.Command(binary, "run", a.project, "--data", dest+".unfinished", "--listen", a.listen, "--admin", a.admin).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is an unfinished backup") {
			t.Fatalf("start on an interrupted backup: got %v\n%s", err, out)
		}
	}
	if interrupted == 0 {
		t.Error("no backup was interrupted")
	}
	if out, err := exec.Command(binary, "backup", dest, "--data", a.data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if there(dest + ".unfinished") {
		t.Error("the interrupted backup is still there")
	}
	if out, err := exec.Command(binary, "check", "--data", dest).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// fillStore writes a store with large documents, so that a backup is
// slow.
func fillStore(t *testing.T, data string) {
	t.Helper()
	s, err := sqlite.Open(data, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for range 100 {
		doc := make([]byte, 100<<10)
		rand.Read(doc) // never fails: crypto/rand
		if _, err := s.Accept(ctx, &store.Message{Process: "events", Plan: "p", Env: "e", Doc: doc, DocType: "application/octet-stream", Received: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
