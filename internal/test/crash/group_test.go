package crash

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/servers"
)

const groupProject = `
project: shop
retry: { max_attempts: 200, backoff: 50ms..500ms }
---
process: orders
listen: { path: /orders, input: json, auth: none }
dedupe: { key: "${doc.customer}-${doc.n}", window: 1h }
sequence: { key: "${doc.customer}" }
steps:
  - call: sink.post
    with: { path: "/orders/${doc.customer}/${doc.n}" }
---
process: ask
listen: { path: /ask, input: json, output: json, auth: none, reply_modes: [deferred] }
steps:
  - emit: { state: asked }
  - wait: decision
    key: "${doc.id}"
    timeout: 1h
    into: decision
  - emit: { state: decided }
  - reply: { decision: "${vars.decision.ok}" }
---
process: decide
listen: { path: /decide, input: json, output: json, auth: none }
steps:
  - resume: decision
    key: "${doc.id}"
    body: { ok: yes }
  - reply: { done: true }
---
process: work
listen: { path: /work, input: json, auth: none }
steps:
  - try:
      - call: sink.post
        with: { path: "/hang/${doc.id}" }
    finally:
      - call: sink.post
        with: { path: "/cleanup/${input.id}" }
---
process: tick
schedule: { cron: "* * * * *", overlap: allow }
steps:
  - call: sink.post
    with: { path: "/tick/${props.scheduled_at}" }
---
process: broken
listen: { path: /broken, input: json, auth: none }
retry: { max_attempts: 1 }
steps:
  - call: sink.post
    with: { path: "/fail-once/${doc.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 60s
circuit: { failures: 0 }
`

// customers is a destination that checks the order of each customer's calls.
type customers struct {
	*httptest.Server
	mu       sync.Mutex
	last     map[string]int
	calls    map[string]int
	ticks    map[string]map[string]bool // keys of the calls of each scheduled run
	repeated int
	bad      []string
	hang     chan struct{} // closed to answer calls of /hang
	seen     timeline
}

func newCustomers(t *testing.T) *customers {
	c := &customers{last: map[string]int{}, calls: map[string]int{}, ticks: map[string]map[string]bool{}, hang: make(chan struct{}), seen: newTimeline()}
	c.Server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.Close)
	return c
}

func (c *customers) addr() string { return c.Listener.Addr().String() }

func (c *customers) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // then the end of the connection is noticed
	member := 0
	if rest, ok := strings.CutPrefix(r.URL.Path, "/member/"); ok { // see newGroup
		fmt.Sscanf(rest, "%d", &member)
		r.URL.Path = rest[strings.Index(rest, "/"):]
	}
	c.mu.Lock()
	c.calls[r.URL.Path]++
	first := c.calls[r.URL.Path] == 1
	if at, ok := strings.CutPrefix(r.URL.Path, "/tick/"); ok {
		if c.ticks[at] == nil {
			c.ticks[at] = map[string]bool{}
		}
		c.ticks[at][r.Header.Get("Idempotency-Key")] = true
	}
	customer, n := "", 0
	if _, err := fmt.Sscanf(strings.ReplaceAll(r.URL.Path, "/", " "), " orders %s %d", &customer, &n); err == nil {
		switch last := c.last[customer]; {
		case n == last:
			c.repeated++
		case n != last+1:
			c.bad = append(c.bad, fmt.Sprintf("order %d of %s after %d", n, customer, last))
		}
		c.last[customer] = max(c.last[customer], n)
		c.seen.add(customer, n, member)
	}
	c.mu.Unlock()
	switch {
	case strings.HasPrefix(r.URL.Path, "/hang/"):
		select {
		case <-c.hang:
		case <-r.Context().Done():
		}
	case strings.HasPrefix(r.URL.Path, "/fail-once/") && first:
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	fmt.Fprint(w, "{}")
}

// mark adds an event to the timeline.
func (c *customers) mark(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.mark(what)
}

// of returns the number of calls of a path.
func (c *customers) of(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[path]
}

// newGroup starts a database and the members of a group on it. The first one calls
// the destination below /member/1, and so on.
func newGroup(t *testing.T, members int, sink string) (*servers.Postgres, []*atom) {
	t.Helper()
	return newGroupOf(t, members, sink, groupProject)
}

// newGroupOf does the same with another project.
func newGroupOf(t *testing.T, members int, sink, project string) (*servers.Postgres, []*atom) {
	t.Helper()
	server, err := servers.NewPostgres()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Remove)
	url := groupURL(t, server)
	all := make([]*atom, members)
	for i := range all {
		all[i] = startMember(t, i+1, sink, url, project)
	}
	return server, all
}

// groupURL returns the URL of a new database, without the password.
func groupURL(t *testing.T, server *servers.Postgres) string {
	return strings.Replace(server.URL(server.Database(t)), ":"+servers.PostgresPassword+"@", "@", 1)
}

func startMember(t *testing.T, number int, sink, url, project string) *atom {
	t.Helper()
	a := newAtom(t, fmt.Sprint(sink, "/member/", number))
	a.store = []string{"--store", url, "--group", "shop", "--max-connections-per-address", "0"}
	a.runs(project)
	a.start()
	return a
}

// within fails the test unless a condition becomes true in time.
func within(t *testing.T, d time.Duration, what string, holds func() bool) {
	t.Helper()
	for over := time.Now().Add(d); !holds(); pause(20 * time.Millisecond) {
		if time.Now().After(over) {
			t.Fatalf("%s: not within %s", what, d)
		}
	}
}

// send sends a request and returns the status and the body.
func (a *atom) send(method, path, body string, header ...string) (int, http.Header, string) {
	a.t.Helper()
	req, err := http.NewRequest(method, "http://"+a.listen+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// Whatever one member accepted can be followed, resumed, cancelled, resubmitted and paused at
// the other.
func TestGroupServesAtAnyMember(t *testing.T) {
	sink := newCustomers(t)
	_, members := newGroup(t, 2, sink.addr())
	for i, at := range members {
		other := members[1-i]
		id := fmt.Sprint("m", i)
		t.Run("reply "+id, func(t *testing.T) {
			status, header, body := at.send("POST", "/ask", `{"id":"`+id+`"}`, "Prefer", "respond-async")
			if status != 202 {
				t.Fatalf("got %d %s, want status 202", status, body)
			}
			location := header.Get("Location")
			events, poll := make(chan string, 1), make(chan string, 1)
			begin := time.Now()
			go func() {
				resp, err := http.DefaultClient.Do(request(t, other.listen, location, "Accept", "text/event-stream"))
				if err != nil {
					events <- err.Error()
					return
				}
				defer resp.Body.Close()
				var names []string
				for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
					if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
						names = append(names, name)
					}
				}
				events <- strings.Join(names, " ")
			}()
			go func() {
				resp, err := http.DefaultClient.Do(request(t, other.listen, location, "Prefer", "wait=30"))
				if err != nil {
					poll <- err.Error()
					return
				}
				defer resp.Body.Close()
				text, _ := io.ReadAll(resp.Body)
				poll <- fmt.Sprint(resp.StatusCode, " ", string(text))
			}()
			within(t, 20*time.Second, "the wait", func() bool {
				var v shown
				return other.adminCall("GET", "/executions/"+filepath.Base(location), &v) == 200 && v.Status == "waiting"
			})
			if status, _, body := other.send("POST", "/decide", `{"id":"`+id+`"}`); status != 200 {
				t.Fatalf("resume at the other: got %d %s", status, body)
			}
			if got, want := <-events, "accepted started progress progress reply"; got != want {
				t.Errorf("events at the other: got %q, want %q", got, want)
			}
			if got := <-poll; !strings.HasPrefix(got, "200 ") || !strings.Contains(got, "decision") {
				t.Errorf("long poll at the other: got %q, want the reply", got)
			}
			if took := time.Since(begin); took > 25*time.Second {
				t.Errorf("the followers learned of the reply after %s", took)
			}
		})
		t.Run("cancel "+id, func(t *testing.T) {
			execution := at.accept("/work", `{"id":"`+id+`"}`)
			within(t, 20*time.Second, "the call", func() bool { return sink.of("/hang/"+id) > 0 })
			if status := other.adminCall("POST", "/executions/"+execution+"/cancel", &struct{}{}); status != 202 {
				t.Fatalf("cancel at the other: got %d, want 202", status)
			}
			if v := other.ended(execution); v.Status != "cancelled" || sink.of("/cleanup/"+id) != 1 || sink.of("/hang/"+id) != 1 {
				t.Errorf("got %+v, %d calls of finally and %d before, want it cancelled and one of each", v, sink.of("/cleanup/"+id), sink.of("/hang/"+id))
			}
		})
		t.Run("failure "+id, func(t *testing.T) {
			execution := at.accept("/broken", `{"id":"`+id+`"}`)
			if v := other.ended(execution); v.Status != "failed" {
				t.Fatalf("got %+v, want it failed", v)
			}
			var again struct{ Execution string }
			if status := other.adminCall("POST", "/failed/"+execution+"/resubmit", &again); status != 202 {
				t.Fatalf("resubmit at the other: got %d", status)
			}
			if v := at.ended(again.Execution); v.Status != "completed" {
				t.Errorf("got %+v, want it completed", v)
			}
		})
		t.Run("pause "+id, func(t *testing.T) {
			post := func() int { status, _, _ := at.send("POST", "/orders", `{"customer":"p`+id+`","n":1}`); return status }
			other.adminCall("POST", "/processes/orders/pause", &struct{}{})
			within(t, 20*time.Second, "the pause", func() bool { return post() == 503 })
			other.adminCall("POST", "/processes/orders/resume", &struct{}{})
			within(t, 20*time.Second, "the end of the pause", func() bool { return post() == 202 || post() == 200 })
		})
	}
	var tokens [2]string
	for i, m := range members {
		text, err := os.ReadFile(filepath.Join(m.data, "admin.token"))
		if err != nil {
			t.Fatal(err)
		}
		tokens[i] = string(text)
	}
	if tokens[0] != tokens[1] {
		t.Error("the members have different tokens")
	}
	for i, m := range members {
		out, err := exec.Command(binary, "group", "--json", "--data", m.data).Output()
		var g struct {
			Group   string
			Members []struct {
				Name         string
				This         bool
				LeaseSeconds float64 `json:"lease_seconds"`
			}
		}
		if err != nil || json.Unmarshal(out, &g) != nil || g.Group != "shop" || len(g.Members) != 2 || !g.Members[i].This || g.Members[1-i].This || g.Members[0].LeaseSeconds == 0 {
			t.Errorf("valence group: got %s, %v, want two members, of which number %d answers", out, err, i)
		}
		if out, err := exec.Command(binary, "group", "--data", m.data).Output(); err != nil || strings.Count(string(out), m.data) != 1 {
			t.Errorf("valence group: got %s, %v, want the member with the data folder %s", out, err, m.data)
		}
	}
}

func request(t *testing.T, listen, path, name, value string) *http.Request {
	req, err := http.NewRequest("GET", "http://"+listen+path, nil)
	if err != nil {
		t.Error(err)
	}
	req.Header.Set(name, value)
	return req
}

// A member is killed, one is stopped for longer than its lease, and the database is killed, while
// 1,000 orders arrive: all are delivered, in the order of each customer.
func TestGroupDeliversInOrder(t *testing.T) {
	const shoppers, each = 20, 50
	sink := newCustomers(t)
	server, members := newGroup(t, 2, sink.addr())
	minute := time.Now().Truncate(time.Minute).Add(time.Minute) // of the first scheduled run
	senders := sendOrders(members, shoppers, each, 600*time.Millisecond)
	within(t, 60*time.Second, "the first orders", func() bool { return sink.total() > 100 })

	dead, alive := members[0], members[1]
	hang := dead.accept("/work", `{"id":"taken-over"}`) // runs at the member that dies
	within(t, 20*time.Second, "its call", func() bool { return sink.of("/hang/taken-over") == 1 })
	sink.mark("member 1 is killed")
	dead.kill()
	killed := time.Now()
	within(t, 15*time.Second, "the takeover", func() bool { return sink.of("/hang/taken-over") == 2 })
	sink.mark("member 2 has taken over, after " + time.Since(killed).Round(100*time.Millisecond).String())
	if status := alive.adminCall("POST", "/executions/"+hang+"/cancel", &struct{}{}); status != 202 {
		t.Errorf("cancel after the takeover: got %d, want 202", status)
	}
	dead.start()

	sink.mark("member 1 is back; member 2 is stopped for 12 s")
	_ = alive.cmd.Process.Signal(syscall.SIGSTOP)
	pause(12 * time.Second)
	_ = alive.cmd.Process.Signal(syscall.SIGCONT)
	within(t, 20*time.Second, "the stopped member", func() bool { return alive.posted("/orders", `{"customer":"rejoined","n":1}`) })

	sink.mark("member 2 is back; the database is killed")
	server.Kill(syscall.SIGKILL)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	senders.Wait()
	within(t, 60*time.Second, "all orders", func() bool { return sink.total() >= shoppers*each+1 })
	if v := dead.ended(hang); v.Status != "cancelled" || sink.of("/cleanup/taken-over") != 1 {
		t.Errorf("got %+v and %d calls of finally, want it cancelled, and one", v, sink.of("/cleanup/taken-over"))
	}
	if time.Until(minute) < 0 {
		within(t, 30*time.Second, "the scheduled run", func() bool {
			sink.mu.Lock()
			defer sink.mu.Unlock()
			return len(sink.ticks) > 0
		})
	}
	sink.check(t, 4*shoppers) // one for each lane and disturbance
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for at, keys := range sink.ticks {
		if len(keys) != 1 {
			t.Errorf("the run of %s was started %d times, want once", at, len(keys))
		}
	}
}

// posted posts a message, and reports whether it was acknowledged in time.
func (a *atom) posted(path, body string) bool {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Post("http://"+a.listen+path, "application/json", strings.NewReader(body))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var receipt struct{ Execution string }
	return json.NewDecoder(resp.Body).Decode(&receipt) == nil && receipt.Execution != ""
}

// An atom that was moved to a database continues there as a member: under the
// same ids, with the executions that waited.
func TestMovedAtomContinuesInGroup(t *testing.T) {
	sink := newCustomers(t)
	server, _ := newGroup(t, 0, sink.addr())
	url := groupURL(t, server)
	alone := newAtom(t, sink.addr())
	alone.runs(groupProject)
	alone.start()
	_, header, _ := alone.send("POST", "/ask", `{"id":"moved"}`, "Prefer", "respond-async")
	location := header.Get("Location")
	within(t, 20*time.Second, "the wait", func() bool {
		var v shown
		return alone.adminCall("GET", "/executions/"+filepath.Base(location), &v) == 200 && v.Status == "waiting"
	})
	alone.stop()
	move := exec.Command(binary, "migrate", "--from", alone.data, "--to", url, "--group", "shop")
	move.Env = append(os.Environ(), "PGPASSWORD="+servers.PostgresPassword)
	if out, err := move.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	member := newAtom(t, sink.addr())
	member.store = []string{"--store", url, "--group", "shop"}
	member.runs(groupProject)
	member.start()
	if status, _, body := member.send("POST", "/decide", `{"id":"moved"}`); status != 200 {
		t.Fatalf("resume: got %d %s", status, body)
	}
	if status, _, body := member.send("GET", location, "", "Prefer", "wait=20"); status != 200 || !strings.Contains(body, "decision") {
		t.Errorf("got %d %s, want the reply at %s", status, body, location)
	}
}
