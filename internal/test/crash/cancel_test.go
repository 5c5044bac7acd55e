package crash

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// adminCall sends a request to the admin API and decodes the answer. It returns
// status 0 without an answer.
func (a *atom) adminCall(method, path string, into any) int {
	a.t.Helper()
	token, err := os.ReadFile(filepath.Join(a.data, "admin.token"))
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest(method, "http://"+a.admin+"/api/v1"+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	json.NewDecoder(resp.Body).Decode(into)
	return resp.StatusCode
}

// shown is an execution as the admin API shows it.
type shown struct {
	Status string
	Error  struct{ Code, Message string }
}

// ended waits until an execution has ended.
func (a *atom) ended(id string) (v shown) {
	a.t.Helper()
	for over := time.Now().Add(60 * time.Second); time.Now().Before(over); pause(20 * time.Millisecond) {
		v = shown{}
		if a.adminCall("GET", "/executions/"+id, &v) == 200 {
			switch v.Status {
			case "accepted", "running", "waiting", "held":
			default:
				return v
			}
		}
	}
	a.t.Errorf("execution %s does not end: %+v", id, v)
	return v
}

// accept posts a message and returns the execution; "" without an answer.
func (a *atom) accept(path, body string) string {
	resp, err := http.Post("http://"+a.listen+path, "application/json", strings.NewReader(body))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var receipt struct{ Execution string }
	json.NewDecoder(resp.Body).Decode(&receipt)
	return receipt.Execution
}

// calls counts the calls that a destination received, by path. Calls of /slow
// take a while.
type calls struct {
	*httptest.Server
	mu sync.Mutex
	by map[string]int
}

func newCalls(t *testing.T, slow time.Duration) *calls {
	c := &calls{by: map[string]int{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.by[r.URL.Path]++
		n := c.by[r.URL.Path]
		c.mu.Unlock()
		if strings.HasPrefix(r.URL.Path, "/slow") {
			pause(slow)
		}
		if strings.HasPrefix(r.URL.Path, "/flaky") && n == 1 {
			w.WriteHeader(503)
			return
		}
		fmt.Fprint(w, `{}`)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *calls) of(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[path]
}

const cancelProject = `
project: cancelling
retry: { max_attempts: 200, backoff: 20ms..100ms }
---
process: work
listen: { path: /work, input: json, auth: none }
workers: 16
steps:
  - try:
      - call: sink.post
        with: { path: "/begin/${doc.id}" }
      - switch: ${input.id % 3}
        cases:
          "0": [{ wait: approval, key: "${string(input.id)}" }]
          "1": [{ repeat: { max: 10000, until: "${false}", steps: [{ sleep: 5ms }] } }]
        default:
          - call: sink.post
            with: { path: "/slow/${input.id}" }
    finally:
      - sleep: 20ms
      - call: sink.post
        with: { path: "/flaky/${input.id}" }
  - call: sink.post
    with: { path: "/after/${input.id}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
circuit: { failures: 0 } # else the first failures of all together can open it for longer than a finally may take
`

// A cancellation that was answered with 202 is honored, whatever the execution
// does and whenever the program is killed: it ends as cancelled, its `finally`
// runs, and nothing after it.
func TestCancelAndKill(t *testing.T) {
	sink := newCalls(t, 3*time.Second)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	a.runs(cancelProject)
	random, n := seeded(t), rounds(t)
	a.start()
	accepted := map[string]int{} // requests answered with 202, by execution
	next := 0
	for range n {
		var live []string
		number := map[string]int{}
		for range 12 {
			if id := a.accept("/work", fmt.Sprintf(`{"id":%d}`, next)); id != "" {
				live = append(live, id)
				number[id] = next
			}
			next++
		}
		pause(time.Duration(random.IntN(100)) * time.Millisecond)
		killed := time.AfterFunc(time.Duration(random.IntN(120))*time.Millisecond, func() { a.cmd.Process.Kill() })
		for _, id := range live {
			if a.adminCall("POST", "/executions/"+id+"/cancel", nil) == 202 {
				accepted[id] = number[id]
			}
			pause(time.Duration(random.IntN(10)) * time.Millisecond)
		}
		killed.Stop()
		a.kill()
		a.start()
		for _, id := range live { // the others end as well
			if _, ok := accepted[id]; !ok && a.adminCall("POST", "/executions/"+id+"/cancel", nil) == 202 {
				accepted[id] = number[id]
			}
		}
	}
	cleaned := 0
	for id, i := range accepted {
		if v := a.ended(id); v.Status != "cancelled" {
			t.Errorf("execution %d: the cancellation was accepted, got %+v, want status cancelled", i, v)
		}
		if after := sink.of(fmt.Sprintf("/after/%d", i)); after != 0 {
			t.Errorf("execution %d: %d calls of the step after `finally`, want none", i, after)
		}
		begun, flaky := sink.of(fmt.Sprintf("/begin/%d", i)), sink.of(fmt.Sprintf("/flaky/%d", i))
		if begun > 0 && flaky < 2 {
			t.Errorf("execution %d: it began, got %d calls of its `finally`, want 2", i, flaky)
		}
		if begun > 0 {
			cleaned++
		}
	}
	t.Logf("%d kills, %d cancellations accepted, %d of begun executions", n, len(accepted), cleaned)
	if cleaned == 0 {
		t.Error("no begun execution was cancelled: the campaign shows nothing")
	}
	if code := a.stop(); code != 0 {
		t.Errorf("after SIGTERM the atom exited with %d:\n%s", code, a.out.String())
	}
}

// highest returns the highest element that was called; 0 for none.
func (c *calls) highest(elements int) int {
	for e := elements; e > 0; e-- {
		if c.of(fmt.Sprintf("/slow/%d", e)) > 0 {
			return e
		}
	}
	return 0
}

const loopProject = `
process: loop
listen: { path: /loop, input: json, auth: none }
steps:
  - for_each: ${1..24}
    as: e
    steps:
      - call: sink.post
        with: { path: "/slow/${e}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 20s
`

// An execution that makes progress between kills is not taken for the cause of
// them, however many there are.
func TestProgressBetweenKills(t *testing.T) {
	sink := newCalls(t, 150*time.Millisecond)
	a := newAtom(t, strings.TrimPrefix(sink.URL, "http://"))
	a.runs(loopProject)
	a.start()
	id := a.accept("/loop", `{}`)
	for range 5 {
		done := sink.highest(24)
		for over := time.Now().Add(20 * time.Second); sink.of(fmt.Sprintf("/slow/%d", done+2)) == 0 && time.Now().Before(over); {
			pause(10 * time.Millisecond)
		}
		a.kill()
		a.start()
	}
	if v := a.ended(id); v.Status != "completed" {
		t.Errorf("after five kills: got %+v, want status completed", v)
	}
	for e := range 24 {
		if n := sink.of(fmt.Sprintf("/slow/%d", e+1)); n == 0 || n > 6 {
			t.Errorf("element %d: got %d calls, want at least one", e+1, n)
		}
	}
}
