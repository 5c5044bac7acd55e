package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	records  = 100_000
	pageSize = 2000
	batch    = 10
	parallel = 4
)

const syncProject = `
process: nightly-sync
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - for_each:
      call: sink.get
      with:
        path: /orders
        query: { since: '${state.watermark ?? "0"}', limit: 2000 }
        pages: { items: items, cursor: next }
    as: orders
    batch: 10
    parallel: 4
    steps:
      - call: sink.post
        with: { path: "/batch/${index}" }
  - state:
      set: { watermark: "${props.until}" }
      if_version: ${state.version}
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// archive is the paged source and the destination of its records.
type archive struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string       // since and cursor of each requested page
	batchs map[string]int // number of calls by Idempotency-Key
	seen   []int          // number of different batches by record
	took   int            // batches in all
}

func newArchive(t *testing.T) *archive {
	s := &archive{batchs: map[string]int{}, seen: make([]int, records)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			s.page(w, r)
			return
		}
		var got []struct{ ID int }
		if json.NewDecoder(r.Body).Decode(&got) != nil {
			return // the program was killed while sending
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.took++
		key := r.Header.Get("Idempotency-Key")
		if s.batchs[key]++; s.batchs[key] == 1 {
			for _, x := range got {
				s.seen[x.ID]++
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *archive) page(w http.ResponseWriter, r *http.Request) {
	since, cursor := r.FormValue("since"), r.FormValue("cursor")
	s.mu.Lock()
	s.asked = append(s.asked, since+" "+cursor)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if since != "0" { // no record is newer than the watermark
		fmt.Fprint(w, `{"items":[]}`)
		return
	}
	from, _ := strconv.Atoi(cursor)
	var b bytes.Buffer
	b.WriteString(`{"items":[`)
	for i := from; i < from+pageSize; i++ {
		fmt.Fprintf(&b, `{"id":%d,"customer":"C%d","text":"%s"},`, i, i%1000, strings.Repeat("x", 200))
	}
	b.Truncate(b.Len() - 1)
	b.WriteString(`]`)
	if from+pageSize < records {
		fmt.Fprintf(&b, `,"next":%d`, from+pageSize)
	}
	b.WriteString(`}`)
	w.Write(b.Bytes())
}

func (s *archive) batches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}

// execute starts a process through the admin API.
func (a *atom) execute(process, body string) {
	a.t.Helper()
	token, err := os.ReadFile(filepath.Join(a.data, "admin.token"))
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest("POST", "http://"+a.admin+"/api/v1/processes/"+process+"/executions", strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 202 {
		a.t.Fatalf("the admin plane answered %d", resp.StatusCode)
	}
}

// memory returns the peak memory of the program in KiB.
func (a *atom) memory() int {
	a.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.cmd.Process.Pid))
	if err != nil {
		a.t.Skip("the memory of the atom is read from /proc, which this machine does not have: ", err)
	}
	_, text, _ := strings.Cut(string(b), "VmHWM:")
	text, _, _ = strings.Cut(text, "kB")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// TestPagesSurviveSIGKILL runs over 100,000 records. The execution holds one
// page in memory, resumes at its cursor after each kill, handles every record,
// repeats only calls in flight, and stores its watermark.
func TestPagesSurviveSIGKILL(t *testing.T) {
	s := newArchive(t)
	random := seeded(t)
	a := newAtom(t, strings.TrimPrefix(s.URL, "http://"))
	a.runs(syncProject)
	a.start()
	idle, most := a.memory(), 0
	a.execute("nightly-sync", `{"props":{"until":"2026-11-22"}}`)
	const kills = 4
	for i := range kills {
		mark := (i+1)*records/batch/(kills+1) + random.IntN(records/batch/20)
		for over := time.Now().Add(60 * time.Second); s.batches() < mark; pause(2 * time.Millisecond) {
			if time.Now().After(over) {
				t.Fatalf("after %d kills it stays at %d of %d batches\n%s", i, s.batches(), records/batch, a.out.String())
			}
		}
		most = max(most, a.memory())
		a.restart()
	}
	for over := time.Now().Add(60 * time.Second); len(a.executions("completed")) < 1; pause(10 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatalf("the run does not end\n%s", a.out.String())
		}
	}
	most = max(most, a.memory())
	a.execute("nightly-sync", `{"props":{"until":"2026-11-23"}}`)
	for over := time.Now().Add(30 * time.Second); len(a.executions("completed")) < 2 && time.Now().Before(over); {
		pause(10 * time.Millisecond)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.seen {
		if n != 1 {
			t.Fatalf("the record %d was in %d batches", id, n)
		}
	}
	again := s.took - len(s.batchs)
	if again > kills*parallel {
		t.Errorf("%d batches came again, %d kills with %d at once allow %d", again, kills, parallel, kills*parallel)
	}
	last := 0
	for _, x := range s.asked[:len(s.asked)-1] {
		since, cursor, _ := strings.Cut(x, " ")
		at, _ := strconv.Atoi(cursor)
		if since != "0" || at < last {
			t.Errorf("it asked for the page of %d (since %s) after that of %d", at, since, last)
		}
		last = max(last, at)
	}
	if pages := len(s.asked) - 1; pages > records/pageSize+kills {
		t.Errorf("it asked for %d pages, there are %d", pages, records/pageSize)
	}
	if x := s.asked[len(s.asked)-1]; x != "2026-11-22 " {
		t.Errorf("the next run asked %q, it should begin at the watermark", x)
	}
	if most-idle > 120<<10 {
		t.Errorf("it had %d MiB, idle %d MiB: that is more than a page", most>>10, idle>>10)
	}
	t.Logf("%d kills, %d batches again, %d pages, %d MiB at most, %d idle", kills, again, len(s.asked)-1, most>>10, idle>>10)
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}
