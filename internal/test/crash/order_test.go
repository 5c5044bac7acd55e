package crash

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

const orderProject = `
process: skips
listen: { path: /skips, input: json, auth: none }
retry: { max_attempts: 4, backoff: 10ms..40ms }
sequence: { key: "${doc.key}", on_failure: skip }
steps:
  - call: sink.post
    with: { path: "/skips/${doc.key}/${doc.n}" }
---
process: blocks
listen: { path: /blocks, input: json, auth: none }
retry: { max_attempts: 4, backoff: 10ms..40ms }
sequence: { key: "${doc.key}" }
steps:
  - call: sink.post
    with: { path: "/blocks/${doc.key}/${doc.n}" }
---
process: thin
listen: { path: /thin, input: json, auth: none }
retry: { max_attempts: 50, backoff: 10ms..40ms }
coalesce: { key: "${doc.key}", window: 200ms }
steps:
  - call: sink.post
    with: { path: "/thin/${doc.key}/${doc.n}" }
---
process: ours
listen: { path: /ours, input: json, auth: none }
retry: { max_attempts: 50, backoff: 10ms..40ms }
steps:
  - call: sink.put
    with: { path: "/ours/${doc.key}/${doc.n}" }
    marks: { system: other, record: "${input.n}", version: "${doc.version}" }
---
process: theirs
listen: { path: /theirs, input: json, auth: none }
echo_guard: { system: other, record: "${doc.n}", version: "${doc.version}" }
steps:
  - call: sink.post
    with: { path: "/theirs/x/${doc.n}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
circuit: { failures: 0 }
`

// fatal reports whether message n always fails.
func fatal(n int) bool { return n%17 == 5 }

// orderly is a destination that checks the order of its calls. The messages of
// each lane are numbered in the order they were sent, so a number never follows
// a higher one and never overlaps another.
type orderly struct {
	atom string // receives the change events

	mu      sync.Mutex
	last    map[string]int          // number started last, by lane
	busy    map[string]map[int]bool // numbers in progress
	began   map[string]bool         // "lane/number"
	bad     []string
	fails   int
	written map[string]bool // idempotency keys received on /ours
	telling sync.WaitGroup
	told    map[string]int // status of receipts
}

func (s *orderly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // "", process, key, number
	lane := parts[1] + "/" + parts[2]
	n, err := strconv.Atoi(parts[3])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.began[lane+"/"+parts[3]] = true
	switch parts[1] {
	case "ours":
		if key := r.Header.Get("Idempotency-Key"); !s.written[key] {
			s.written[key] = true
			s.telling.Go(func() { s.tell(n) })
		}
	case "theirs":
		s.bad = append(s.bad, fmt.Sprintf("the event of our own write of record %d ran", n))
	default:
		if n < s.last[lane] {
			s.bad = append(s.bad, fmt.Sprintf("%s: %d began after %d", lane, n, s.last[lane]))
		}
		for other := range s.busy[lane] {
			if other != n && parts[1] != "thin" {
				s.bad = append(s.bad, fmt.Sprintf("%s: %d began while %d was under way", lane, n, other))
			}
		}
		s.last[lane] = max(s.last[lane], n)
	}
	if s.busy[lane] == nil {
		s.busy[lane] = map[int]bool{}
	}
	s.busy[lane][n] = true
	s.mu.Unlock()

	select {
	case <-time.After(rand.N(12 * time.Millisecond)):
	case <-r.Context().Done(): // the atom was killed
	}
	s.mu.Lock()
	delete(s.busy[lane], n)
	status := http.StatusOK
	switch {
	case parts[1] != "ours" && parts[1] != "thin" && fatal(n):
		status = http.StatusUnprocessableEntity
	case rand.IntN(12) == 0:
		status = http.StatusInternalServerError
		s.fails++
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprint(w, `{"version":"v1"}`)
}

// tell posts a change event until it is answered. The event arrives before the
// response to the call that made the change.
func (s *orderly) tell(n int) {
	for range 2000 {
		if code, status := post("http://"+s.atom+"/theirs", fmt.Sprintf(`{"n":%d,"version":"v1"}`, n)); code == http.StatusOK {
			s.mu.Lock()
			s.told[status]++
			s.mu.Unlock()
			return
		}
		pause(10 * time.Millisecond)
	}
}

// skipper skips every blocked key, as an operator would, until stop is closed.
func (a *atom) skipper(stop chan struct{}) (skipped int) {
	client := &http.Client{Timeout: 5 * time.Second}
	do := func(method, path string, into any) bool {
		token, err := os.ReadFile(filepath.Join(a.data, "admin.token"))
		if err != nil {
			return false
		}
		req, err := http.NewRequest(method, "http://"+a.admin+"/api/v1/sequences"+path, nil)
		if err != nil {
			return false
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(into) == nil && resp.StatusCode < 300
	}
	for {
		select {
		case <-stop:
			return skipped
		case <-time.After(20 * time.Millisecond):
		}
		var list struct {
			Sequences []struct{ Process, Key string }
		}
		do(http.MethodGet, "", &list)
		for _, k := range list.Sequences {
			var done any
			if do(http.MethodPost, "/"+k.Process+"/"+k.Key+"/skip", &done) {
				skipped++
			}
		}
	}
}

// sender posts numbered messages to its own keys, one after the other, and
// remembers the acknowledged ones.
type sender struct {
	path  string
	keys  []string
	next  map[string]int
	acked []string // "lane/number"
	last  map[string]int
}

func (s *sender) run(addr string, rest time.Duration, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(rand.N(rest)):
		}
		key := s.keys[rand.IntN(len(s.keys))]
		if rand.IntN(2) == 0 {
			key = s.keys[rand.IntN(3)] // hot keys with a long queue
		}
		s.next[key]++
		n := s.next[key]
		if s.path == "ours" {
			n = n*len(s.keys) + indexOf(s.keys, key) // each record is written once
		}
		if code, _ := post("http://"+addr+"/"+s.path, fmt.Sprintf(`{"key":%q,"n":%d}`, key, n)); code == http.StatusOK {
			s.acked = append(s.acked, fmt.Sprintf("%s/%s/%d", s.path, key, n))
			s.last[key] = n
		} else {
			pause(10 * time.Millisecond)
		}
	}
}

func indexOf(list []string, s string) int {
	for i, x := range list {
		if x == s {
			return i
		}
	}
	return -1
}

// TestOrderThroughKills sends messages of 1,000 keys, some of which fail, while
// the atom is killed at random. The messages of a key run one at a time in the
// order of their receipts, the newest of a window runs, and events of our own
// writes do not run.
func TestOrderThroughKills(t *testing.T) {
	s := &orderly{last: map[string]int{}, busy: map[string]map[int]bool{}, began: map[string]bool{}, written: map[string]bool{}, told: map[string]int{}}
	sink := httptest.NewServer(s)
	t.Cleanup(sink.Close)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	s.atom = a.listen
	a.runs(orderProject)
	random, n := seeded(t), rounds(t)
	a.start()

	stop, over := make(chan struct{}), make(chan struct{})
	var senders []*sender
	var posting, operating sync.WaitGroup
	add := func(path string, number, keys int, rest time.Duration) {
		for i := range number {
			x := &sender{path: path, next: map[string]int{}, last: map[string]int{}}
			for k := range keys {
				x.keys = append(x.keys, fmt.Sprintf("%d-%d", i, k))
			}
			senders = append(senders, x)
			posting.Go(func() { x.run(a.listen, rest, stop) })
		}
	}
	add("skips", 5, 100, 5*time.Millisecond)
	add("blocks", 5, 100, 5*time.Millisecond)
	add("thin", 1, 4, 10*time.Millisecond)
	add("ours", 1, 4, 30*time.Millisecond)
	skipped := 0
	operating.Go(func() { skipped = a.skipper(over) })
	for range n {
		pause(time.Duration(200+random.IntN(700)) * time.Millisecond)
		a.kill()
		a.start()
	}
	pause(200 * time.Millisecond)
	close(stop)
	posting.Wait()

	left := func() (lost []string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, x := range senders {
			for _, m := range x.acked {
				if !s.began[m] && x.path != "thin" {
					lost = append(lost, m)
				}
			}
			for key, n := range x.last {
				if lane := x.path + "/" + key; x.path == "thin" && s.last[lane] < n {
					lost = append(lost, fmt.Sprintf("%s/%d", lane, n))
				}
			}
		}
		return lost
	}
	for end := time.Now().Add(30 * time.Second); len(left()) > 0 && time.Now().Before(end); {
		pause(50 * time.Millisecond)
	}
	s.telling.Wait()
	close(over)
	operating.Wait()
	if lost := left(); len(lost) > 0 {
		t.Errorf("%d acknowledged messages never began, such as %s", len(lost), lost[0])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, bad := range s.bad {
		if i == 10 {
			break
		}
		t.Error(bad)
	}
	acked := map[string]int{}
	for _, x := range senders {
		acked[x.path] += len(x.acked)
	}
	t.Logf("%d kills, acknowledged %v, %d attempts failed, %d keys skipped, receipts of our own writes' events %v, %d out of order",
		n, acked, s.fails, skipped, s.told, len(s.bad))
	if acked["skips"] == 0 || acked["blocks"] == 0 || skipped == 0 || s.told["echo"] == 0 {
		t.Error("the campaign shows nothing")
	}
	if len(s.told) != 1 {
		t.Errorf("the events of our own writes got %v", s.told)
	}
}
