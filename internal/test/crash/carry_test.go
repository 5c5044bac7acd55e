package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const carryProject = `
process: carry
listen: { path: /carry, input: json, auth: none, limits: { body: 64MiB } }
workers: 2
steps:
  - call: sink.post
    with: { path: "/carried" }
    body: ${doc}
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 60s
`

// Large documents of TestLargeDocumentsInBoundedMemory, and the most memory that
// the program may need for them. It usually needs about 1,300 MiB.
const (
	carried     = 8
	carriedSize = 59 << 20
	carryMemory = 1792 << 20
)

// TestLargeDocumentsInBoundedMemory sends large documents through a process that
// only carries them, and reports how much memory the program needed at most.
func TestLargeDocumentsInBoundedMemory(t *testing.T) {
	for name, c := range map[string]struct {
		senders int
		limit   string // of the bodies in memory
	}{
		"one after the other":  {1, "1GiB"},
		"at once":              {carried, "1GiB"},
		"at once with a limit": {carried, "192MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("VALENCE_MAX_REQUEST_MEMORY", c.limit)
			idle, peak := carry(t, c.senders)
			t.Logf("%d documents of %d MiB: %d MiB of memory at most, %d MiB before", carried, carriedSize>>20, peak>>20, idle>>20)
			if peak > carryMemory {
				t.Errorf("got %d MiB of memory, want at most %d MiB", peak>>20, carryMemory>>20)
			}
		})
	}
}

// carry sends the documents, and returns the memory that the program needed at
// most, before them and with them.
func carry(t *testing.T, parallel int) (idle, peak int64) {
	t.Helper()
	var mu sync.Mutex
	arrived := map[string]int{}
	dest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			return
		}
		mu.Lock()
		arrived[hex.EncodeToString(sum.Sum(nil))]++
		mu.Unlock()
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(dest.Close)
	a := newAtom(t, strings.TrimPrefix(dest.URL, "http://"))
	a.runs(carryProject)
	a.start()
	idle = peakMemory(t, a.cmd.Process.Pid)
	var senders sync.WaitGroup
	turn := make(chan struct{}, parallel)
	for n := range carried {
		senders.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			line := fmt.Sprintf(`{"order":%d,"text":"%s"},`, n, strings.Repeat("large document ", 60))
			doc := `{"rows":[` + strings.Repeat(line, carriedSize/len(line)) + `{}]}`
			for end := time.Now().Add(time.Minute); ; pause(100 * time.Millisecond) {
				if status, _ := post("http://"+a.listen+"/carry", doc); status == http.StatusOK {
					return
				} else if status != http.StatusServiceUnavailable || time.Now().After(end) { // the limit of bodies in memory
					t.Errorf("got status %d, want 200", status)
					return
				}
			}
		})
	}
	senders.Wait()
	for end := time.Now().Add(2 * time.Minute); len(a.executions("completed")) < carried && time.Now().Before(end); {
		pause(50 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	if n := len(a.executions("completed")); n != carried || len(arrived) != carried {
		t.Errorf("got %d completed and %d documents, want %d; failed: %s", n, len(arrived), carried, a.executions("failed"))
	}
	return idle, peakMemory(t, a.cmd.Process.Pid)
}

// peakMemory returns the most memory that a process has had resident.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("got no VmHWM in %s", text)
	}
	kib, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return kib << 10
}
