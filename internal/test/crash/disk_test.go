package crash

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFullDisk fills the disk of the data folder while events are posted. The
// atom rejects with 503 before it acknowledges, finishes accepted messages, and
// accepts again once there is space.
func TestFullDisk(t *testing.T) {
	dest := newSink(t)
	a := newAtom(t, dest.addr)
	if err := os.MkdirAll(a.data, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", a.data).CombinedOutput(); err != nil {
		t.Fatalf("this test mounts a small disk and needs root: %v %s", err, out)
	}
	t.Cleanup(func() {
		if a.cmd.ProcessState == nil {
			a.kill()
		}
		if out, err := exec.Command("umount", a.data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	a.start()
	l := startLoad(a.listen)
	pause(500 * time.Millisecond)

	ballast := filepath.Join(a.data, "filled-by-test")
	fill(t, ballast)
	refused := false
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline) && !refused; pause(50 * time.Millisecond) {
		resp, err := http.Post("http://"+a.listen+"/events", "application/json", strings.NewReader(`{"id":`+strconv.FormatInt(l.next.Add(1), 10)+`}`))
		if err != nil {
			continue
		}
		resp.Body.Close()
		refused = resp.StatusCode == 503
		if refused && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	if !refused {
		t.Error("the disk is full and events are still acknowledged")
	}
	if resp, err := http.Get("http://" + a.listen + "/readyz"); err != nil || resp.StatusCode != 503 {
		t.Errorf("readiness with a full disk: %v %v", resp, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before := len(l.acked())
	accepted := false
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && !accepted; pause(50 * time.Millisecond) {
		accepted = len(l.acked()) > before
	}
	if !accepted {
		t.Errorf("there is room again and nothing is acknowledged:\n%s", tail(a.out.String()))
	}
	a.kill()
	a.start()
	l.finish()
	awaitAll(t, dest, l)
	check(t, a, dest, l, 1)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}

func (l *load) acked() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int64(nil), l.events...)
}

func tail(s string) string {
	if len(s) > 4000 {
		return "…" + s[len(s)-4000:]
	}
	return s
}
