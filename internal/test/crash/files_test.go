package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const fileProject = `
process: inbox-files
workers: 8
retry: { max_attempts: 200, backoff: 50ms..200ms }
subscribe: { connection: inbox, pattern: "*.json", every: 10ms, stable_for: 0s, archive: done }
steps:
  - call: sink.post
    with: { path: /version/0 }
  - call: sink.post
    with: { path: "/a/${input.id}" }
---
connection: inbox
connector: file
root: ${env.INBOX}
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
`

// TestFilesAreTakenOnceThroughKills drops files while the program is killed.
// Each file starts one execution, identified by its calls' idempotency keys, and
// ends up in the archive.
func TestFilesAreTakenOnceThroughKills(t *testing.T) {
	random := seeded(t)
	takeFiles(t, func(a *atom, _ *sink, _ string) {
		for range 6 {
			pause(time.Duration(50+random.IntN(300)) * time.Millisecond)
			a.restart()
		}
	})
}

// TestFilesAreTakenOnceThroughDeployments drops files while new versions are
// deployed: with changed steps, subscription and connection, and one that does
// not lint.
func TestFilesAreTakenOnceThroughDeployments(t *testing.T) {
	t.Parallel()
	takeFiles(t, func(a *atom, dest *sink, text string) {
		for n, change := range []func(string) string{
			func(s string) string { return s },
			func(s string) string { return strings.Replace(s, "every: 10ms", "every: 20ms", 1) },
			func(s string) string { return strings.Replace(s, "timeout: 5s", "timeout: 6s", 1) },
			func(s string) string { return strings.Replace(s, "  - call", "  - cal", 1) },
			func(s string) string { return strings.ReplaceAll(s, "connection: inbox", "connection: box") },
		} {
			version := fmt.Sprint("/version/", n+1)
			a.runs(strings.Replace(change(text), "/version/0", version, 1))
			if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			if n == 3 { // does not lint; the previous version keeps running
				pause(100 * time.Millisecond)
				continue
			}
			for end := time.Now().Add(20 * time.Second); !dest.called(version); pause(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("no file is taken by %s", version)
				}
			}
		}
		if dest.called("/version/4") {
			t.Error("a version with a mistake runs")
		}
	})
}

// takeFiles drops files while disturb runs and checks the result.
func takeFiles(t *testing.T, disturb func(a *atom, dest *sink, text string)) {
	const files = 400
	dest := newSink(t)
	a := newAtom(t, dest.addr)
	inbox := t.TempDir()
	text := strings.Replace(fileProject, "${env.INBOX}", inbox, 1)
	a.runs(text)
	a.start()
	dropped := make(chan error, 1)
	go func() {
		for n := range files {
			name := filepath.Join(inbox, fmt.Sprintf("%d.json", n))
			if err := os.WriteFile(name+".part", fmt.Appendf(nil, `{"id":%d}`, n), 0o600); err != nil {
				dropped <- err
				return
			}
			if err := os.Rename(name+".part", name); err != nil {
				dropped <- err
				return
			}
			pause(5 * time.Millisecond)
		}
		dropped <- nil
	}()
	disturb(a, dest, text)
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
	archived := func() int {
		list, err := os.ReadDir(filepath.Join(inbox, "done"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	for over := time.Now().Add(30 * time.Second); time.Now().Before(over); pause(20 * time.Millisecond) {
		if archived() == files && len(a.executions("accepted"))+len(a.executions("running"))+len(a.executions("waiting")) == 0 {
			break
		}
	}
	if n := archived(); n != files {
		t.Errorf("%d files are in the archive, want %d", n, files)
	}
	dest.mu.Lock()
	defer dest.mu.Unlock()
	for n := range files {
		if keys := dest.calls[fmt.Sprintf("/a/%d", n)]; len(keys) != 1 {
			t.Errorf("the file %d started %d executions", n, len(keys))
		}
	}
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}
