package crash

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const callbackKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

const replyProject = `
process: quote
listen:
  path: /quotes
  output: json
  auth: none
  reply_modes: [sync, deferred, callback]
  callbacks: { allow: ["http://127.0.0.1:%s/hooks/"], secret: "${secret.CALLBACK_KEY}" }
  timeout: 20s
retry: { max_attempts: 200, backoff: 50ms..200ms }
steps:
  - emit: { state: asked }
  - call: sink.post
    with: { path: "/ask/${doc.id}" }
  - emit: { state: answered }
  - call: sink.post
    with: { path: "/book/${input.id}" }
    body: ${input}
  - if: ${input.id == "bad"}
    then:
      - throw: there is no such thing
        status: 422
        code: unknown_thing
  - reply: { quote: "${input.id}" }
    status: 201
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// slowSink holds its responses until it is released.
type slowSink struct {
	*httptest.Server
	open   atomic.Bool
	called chan string
	hooks  chan *hook
	refuse atomic.Int32 // number of callbacks to reject
}

type hook struct {
	header http.Header
	body   []byte
}

func newSlowSink(t *testing.T) *slowSink {
	s := &slowSink{called: make(chan string, 100), hooks: make(chan *hook, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.HasPrefix(r.URL.Path, "/hooks/") {
			s.hooks <- &hook{r.Header, body}
			if s.refuse.Add(-1) >= 0 {
				w.WriteHeader(500)
			}
			return
		}
		s.called <- r.URL.Path
		if strings.HasPrefix(r.URL.Path, "/book/") {
			for !s.open.Load() && r.Context().Err() == nil {
				pause(5 * time.Millisecond)
			}
		}
		fmt.Fprint(w, `{"ok":true}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// wait waits until all paths have been called.
func (s *slowSink) wait(t *testing.T, paths ...string) {
	t.Helper()
	over := time.After(20 * time.Second)
	for missing := slices.Clone(paths); len(missing) > 0; {
		select {
		case got := <-s.called:
			missing = slices.DeleteFunc(missing, func(p string) bool { return p == got })
		case <-over:
			t.Fatalf("%v are not called", missing)
		}
	}
}

func (s *slowSink) hook(t *testing.T) *hook {
	t.Helper()
	select {
	case h := <-s.hooks:
		return h
	case <-time.After(30 * time.Second):
		t.Fatal("nobody is called back")
	}
	return nil
}

func replyAtom(t *testing.T, s *slowSink) *atom {
	t.Helper()
	t.Setenv("CALLBACK_KEY", callbackKey)
	a := newAtom(t, strings.TrimPrefix(s.URL, "http://"))
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	a.runs(fmt.Sprintf(replyProject, port))
	a.start()
	return a
}

type receipt struct {
	Execution, Location, Status string
	ReplyToken                  string `json:"reply_token"`
	CorrelationID               string `json:"correlation_id"`
}

// ask sends a request and returns the response with its body.
func (a *atom) ask(method, path, body string, headers ...string) (*http.Response, []byte) {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://"+a.listen+path, bytes.NewReader([]byte(body)))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp, b
}

func (a *atom) deferred(id string, headers ...string) receipt {
	a.t.Helper()
	resp, body := a.ask("POST", "/quotes", `{"id":"`+id+`"}`, append([]string{"Prefer", "respond-async"}, headers...)...)
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil || resp.StatusCode != 202 || resp.Header.Get("Location") != r.Location || resp.Header.Get("Preference-Applied") != "respond-async" || resp.Header.Get("Retry-After") == "" {
		a.t.Fatalf("got %d %v %s %v, want status 202, Location %q, Preference-Applied respond-async, Retry-After set and no error", resp.StatusCode, resp.Header, body, err, r.Location)
	}
	return r
}

// eventsOf reads a stream until the event named until, and returns the ids.
func (a *atom) eventsOf(r receipt, after, until string) []string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+a.listen+r.Location, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	var ids []string
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			if ids = append(ids, id); id == until {
				return ids
			}
		}
	}
	a.t.Fatalf("the stream ended after %v", ids)
	return nil
}

// TestDeferredSurvivesKill checks that a deferred request survives SIGKILL. Its
// location returns the reply after the restart, and its event stream resumes
// after the last event id.
func TestDeferredSurvivesKill(t *testing.T) {
	s := newSlowSink(t)
	a := replyAtom(t, s)
	r := a.deferred("1", "Correlation-Id", "corr-1")
	s.wait(t, "/book/1")
	if got := a.eventsOf(r, "", "progress-2"); strings.Join(got, " ") != "accepted started progress-1 progress-2" {
		t.Errorf("before the kill: %v", got)
	}
	resp, body := a.ask("GET", r.Location, "")
	if resp.StatusCode != 202 || !bytes.Contains(body, []byte(`"status":"running"`)) {
		t.Errorf("while it runs: %d %s", resp.StatusCode, body)
	}
	a.kill()
	a.start()
	s.wait(t, "/book/1")
	var polls sync.WaitGroup
	polls.Go(func() {
		resp, body := a.ask("GET", r.Location, "", "Prefer", "wait=30")
		if resp.StatusCode != 201 || string(body) != `{"quote":"1"}` || resp.Header.Get("Correlation-Id") != "corr-1" || resp.Header.Get("Preference-Applied") != "wait=30" {
			t.Errorf(`collected: got %d %v %s, want status 201, {"quote":"1"}, Correlation-Id corr-1 and Preference-Applied wait=30`, resp.StatusCode, resp.Header, body)
		}
	})
	pause(50 * time.Millisecond)
	s.open.Store(true)
	polls.Wait()
	a.kill() // the message is on disk
	a.start()
	if resp, body := a.ask("GET", r.Location, ""); resp.StatusCode != 201 || string(body) != `{"quote":"1"}` {
		t.Errorf(`collected again: got %d %s, want status 201 and {"quote":"1"}`, resp.StatusCode, body)
	}
	if got := a.eventsOf(r, "progress-1", "reply"); strings.Join(got, " ") != "progress-2 reply" {
		t.Errorf("after the kill: %v", got)
	}
	if resp, _ := a.ask("GET", r.Location, "", "Accept", "text/event-stream", "Last-Event-ID", "reply"); resp.StatusCode != 204 {
		t.Errorf("a client that has seen all: %d", resp.StatusCode)
	}
	if resp, _ := a.ask("GET", r.Location+"x", ""); resp.StatusCode != 404 {
		t.Errorf("an unknown one: %d", resp.StatusCode)
	}
}

// TestCallbackSurvivesKill checks that a callback is posted until it is
// accepted, across SIGKILL, with a constant id and a signature that the Standard
// Webhooks library accepts; also for failed executions.
func TestCallbackSurvivesKill(t *testing.T) {
	s := newSlowSink(t)
	s.open.Store(true)
	s.refuse.Store(1)
	a := replyAtom(t, s)
	verify, err := standardwebhooks.NewWebhook(callbackKey)
	if err != nil {
		t.Fatal(err)
	}
	r := a.deferred("2", "Callback-Url", s.URL+"/hooks/quotes?for=2", "Correlation-Id", "corr-2")
	check := func(h *hook, id, status, want string) {
		t.Helper()
		if err := verify.Verify(h.body, h.header); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if h.header.Get("Webhook-Id") != id || h.header.Get("X-Reply-Status") != status || !bytes.Contains(h.body, []byte(want)) {
			t.Errorf("got %v %s, want Webhook-Id %q, X-Reply-Status %q and body with %q", h.header, h.body, id, status, want)
		}
	}
	first := s.hook(t) // rejected; the next attempt is due in seconds
	check(first, r.Execution, "201", `{"quote":"2"}`)
	if first.header.Get("Correlation-Id") != "corr-2" || first.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %v, want Correlation-Id corr-2 and Content-Type application/json", first.header)
	}
	a.kill()
	a.start()
	check(s.hook(t), r.Execution, "201", `{"quote":"2"}`)

	bad := a.deferred("bad", "Callback-Url", s.URL+"/hooks/")
	h := s.hook(t)
	check(h, bad.Execution, "422", "there is no such thing")
	if h.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %v, want application/problem+json", h.header)
	}

	for _, url := range []string{s.URL + "/other", "http://169.254.169.254/hooks/", "http://127.0.0.1:1/hooks/", "http://u:p@" + strings.TrimPrefix(s.URL, "http://") + "/hooks/", "nonsense"} {
		resp, body := a.ask("POST", "/quotes", `{"id":"3"}`, "Prefer", "respond-async", "Callback-Url", url)
		if resp.StatusCode != 400 || !bytes.Contains(body, []byte("bad_callback")) {
			t.Errorf("%s: got %d %s, want status 400 and text with bad_callback", url, resp.StatusCode, body)
		}
	}
	if resp, body := a.ask("POST", "/quotes", `{"id":"4"}`, "Prefer", "respond-async, wait=20"); resp.StatusCode != 201 || resp.Header.Get("Preference-Applied") != "wait=20" {
		t.Errorf("bounded: got %d %v %s, want status 201 and Preference-Applied wait=20", resp.StatusCode, resp.Header, body)
	}
	if resp, body := a.ask("POST", "/quotes", `{"id":"5"}`, "Prefer", "handling=lenient"); resp.StatusCode != 201 || resp.Header.Get("Preference-Applied") != "" {
		t.Errorf(`sync: got %d %v %s, want status 201 and Preference-Applied ""`, resp.StatusCode, resp.Header, body)
	}
}

// TestNodeWebSocket follows an execution across SIGKILL with a third-party
// WebSocket client.
func TestNodeWebSocket(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("the WebSocket client of Node.js is needed, as one that others wrote: node is not in the PATH; make setup installs it where it may")
	}
	s := newSlowSink(t)
	a := replyAtom(t, s)
	r := a.deferred("7")
	s.wait(t, "/book/7")
	script := fmt.Sprintf(`
const ids = [];
const open = () => {
  const ws = new WebSocket("ws://%s%s?last_event_id=" + (ids.at(-1) ?? ""), ["valence", "reply-token-%s"]);
  ws.onmessage = e => { const m = JSON.parse(e.data); ids.push(m.id); console.log(m.id); if (m.event === "reply") { console.log(JSON.stringify(m.data.document)); process.exit(0); } };
  let again = () => { again = () => {}; setTimeout(open, 50); };
  ws.onclose = ws.onerror = () => again();
};
open();`, a.listen, r.Location, r.ReplyToken)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--experimental-websocket", "--no-warnings", "-e", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		got = append(got, lines.Text())
		if lines.Text() == "progress-2" {
			a.kill()
			a.start()
			s.open.Store(true)
		}
	}
	if err := cmd.Wait(); err != nil || strings.Join(got, " ") != `accepted started progress-1 progress-2 reply {"quote":"7"}` {
		t.Errorf(`got %v, %v, want accepted started progress-1 progress-2 reply {"quote":"7"} and no error`, got, err)
	}
}
