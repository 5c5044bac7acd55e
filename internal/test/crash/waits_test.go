package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const waitProject = `
process: approval
listen: { path: /orders, input: json, auth: none }
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - call: sink.post
    with: { path: "/ask/${doc.id}" }
    body: ${callback("approved")}
  - wait: approved
    key: ${input.id}
    timeout: 1h
  - call: sink.post
    with: { path: "/done/${input.id}" }
---
process: decide
listen: { path: /decisions, input: json, auth: none }
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - resume: approved
    key: ${doc.id}
    keep: 1h
---
process: nap
listen: { path: /naps, input: json, auth: none }
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - sleep: ${doc.nap}
  - call: sink.post
    with: { path: "/done/${input.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// approver records the requests and results it receives. It can hold back its
// responses to /ask.
type approver struct {
	*httptest.Server
	mu   sync.Mutex
	urls map[string]string   // callback URLs by order
	done map[string][]string // bodies by order
	hold chan struct{}
}

func newApprover(t *testing.T) *approver {
	s := &approver{urls: map[string]string{}, done: map[string][]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, what, _ := strings.Cut(r.URL.Path, "/")
		what, id, _ := strings.Cut(what, "/")
		s.mu.Lock()
		hold := s.hold
		if what == "ask" {
			s.urls[id] = strings.Trim(string(body), `"`)
		} else {
			s.done[id] = append(s.done[id], string(body))
		}
		s.mu.Unlock()
		if what == "ask" && hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// until waits for a condition of the approver, up to a limit.
func (s *approver) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for over := time.Now().Add(30 * time.Second); time.Now().Before(over); pause(2 * time.Millisecond) {
		s.mu.Lock()
		yes := ok()
		s.mu.Unlock()
		if yes {
			return
		}
	}
	t.Fatal(what)
}

func (s *approver) url(t *testing.T, id string) (url string) {
	t.Helper()
	s.until(t, "nobody is asked about "+id, func() bool { url = s.urls[id]; return url != "" })
	return url
}

func (s *approver) finished(t *testing.T, id string) (body string) {
	t.Helper()
	s.until(t, id+" does not go on", func() bool {
		if len(s.done[id]) > 0 {
			body = s.done[id][0]
		}
		return body != ""
	})
	return body
}

func waitAtom(t *testing.T, s *approver) *atom {
	t.Helper()
	a := newAtom(t, strings.TrimPrefix(s.URL, "http://"))
	a.runs(waitProject)
	a.start()
	return a
}

// post sends JSON and returns the response's HTTP status and `status` field; 0
// without a response.
func post(url, body string) (int, string) {
	resp, err := http.Post(url, "application/json", bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	var answer struct {
		Status any `json:"status"`
	}
	json.NewDecoder(resp.Body).Decode(&answer)
	return resp.StatusCode, fmt.Sprint(answer.Status)
}

func (a *atom) order(id string) {
	a.t.Helper()
	if status, _ := post("http://"+a.listen+"/orders", `{"id":"`+id+`"}`); status != 200 {
		a.t.Fatalf("got %d, want 200", status)
	}
}

func (a *atom) waiting(n int) {
	a.t.Helper()
	for range 3000 {
		if len(a.executions("waiting")) == n {
			return
		}
		pause(5 * time.Millisecond)
	}
	a.t.Fatalf("%d wait, want %d", len(a.executions("waiting")), n)
}

func (a *atom) restart() {
	a.t.Helper()
	a.kill()
	a.start()
}

func expectAnswer(t *testing.T, what, url, body string, status int, word string) {
	t.Helper()
	if got, text := post(url, body); got != status || word != "" && text != word {
		t.Errorf("%s: %d %s, want %d %s", what, got, text, status, word)
	}
}

func TestWaitsSurviveSIGKILL(t *testing.T) {
	t.Parallel()
	s := newApprover(t)
	a := waitAtom(t, s)

	a.order("between")
	a.waiting(1)
	a.restart()
	url := s.url(t, "between")
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} { // a mail scanner
		req, _ := http.NewRequest(method, url, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != 405 {
			t.Fatalf("got %+v %v, want status 405 and no error", resp, err)
		}
		resp.Body.Close()
	}
	a.waiting(1)
	expectAnswer(t, "between", url, `{"yes":1}`, 202, "accepted")
	if got := s.finished(t, "between"); got != `{"yes":1}` {
		t.Errorf(`got %q, want {"yes":1}`, got)
	}

	a.order("stored")
	a.waiting(1)
	expectAnswer(t, "stored", s.url(t, "stored"), `{"yes":2}`, 202, "accepted")
	a.restart()
	if got := s.finished(t, "stored"); got != `{"yes":2}` {
		t.Errorf(`got %q, want {"yes":2}`, got)
	}
	expectAnswer(t, "after its end", s.url(t, "stored"), `{"yes":3}`, 202, "duplicate")

	s.mu.Lock()
	s.hold = make(chan struct{})
	s.mu.Unlock()
	a.order("early") // the other system calls back before it responds
	url = s.url(t, "early")
	expectAnswer(t, "early", url, `{"yes":4}`, 202, "accepted")
	a.restart()
	expectAnswer(t, "early again", url, `{"yes":5}`, 202, "duplicate")
	close(s.hold)
	if got := s.finished(t, "early"); got != `{"yes":4}` {
		t.Errorf(`got %q, want {"yes":4}`, got)
	}

	if status, _ := post("http://"+a.listen+"/decisions", `{"id":"kept"}`); status != 200 {
		t.Fatalf("got %v, want 200", status)
	}
	a.restart()
	a.order("kept")
	if got := s.finished(t, "kept"); got != `{"id":"kept"}` {
		t.Errorf(`got %q, want {"id":"kept"}`, got)
	}

	begin := time.Now()
	post("http://"+a.listen+"/naps", `{"id":"nap","nap":"2s"}`)
	a.waiting(1)
	a.restart()
	s.finished(t, "nap")
	if took := time.Since(begin); took < 2*time.Second {
		t.Errorf("a sleep of 2s was over after %s", took)
	}
	expectAnswer(t, "made up", "http://"+a.listen+"/callbacks/0000000000000000000000000000000000000000000000000", `{}`, 404, "")
	a.waiting(0)
	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, a.out.String())
	}
}

// TestCallbacksCountOnceThroughKills sends each order two callbacks with
// different answers while the atom is killed. Exactly one takes effect, and only
// its sender gets the response that it was accepted.
func TestCallbacksCountOnceThroughKills(t *testing.T) {
	t.Parallel()
	s := newApprover(t)
	a := waitAtom(t, s)
	const orders = 40
	for n := range orders {
		a.order(fmt.Sprint(n))
	}
	told := make([]string, orders) // the accepted answer
	var mu sync.Mutex
	var callers sync.WaitGroup
	for n := range orders {
		for _, answer := range []string{"yes", "no"} {
			callers.Go(func() {
				url := s.url(t, fmt.Sprint(n))
				pause(rand.N(1500 * time.Millisecond))
				for range 1000 {
					status, word := post(url, `"`+answer+`"`)
					switch {
					case status == 202 && word == "accepted":
						mu.Lock()
						if told[n] != "" {
							t.Errorf("order %d: both answers were accepted", n)
						}
						told[n] = answer
						mu.Unlock()
						return
					case status == 202 && word == "duplicate":
						return
					case status != 0 && status != 503:
						t.Errorf("order %d: %d %s", n, status, word)
						return
					}
					pause(10 * time.Millisecond)
				}
			})
		}
	}
	for range 3 {
		pause(100*time.Millisecond + rand.N(400*time.Millisecond))
		a.restart()
	}
	callers.Wait()
	for n := range orders {
		s.finished(t, fmt.Sprint(n))
	}
	a.waiting(0)
	for n := range orders {
		for _, body := range s.done[fmt.Sprint(n)] {
			if told[n] != "" && body != `"`+told[n]+`"` || body != s.done[fmt.Sprint(n)][0] {
				t.Errorf("order %d went on with %v, accepted was %q", n, s.done[fmt.Sprint(n)], told[n])
			}
		}
	}
	if code := a.stop(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}
