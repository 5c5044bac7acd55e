package replay_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/internal/test/program"
)

var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(m, &binary)) }

// old is the version that runs. %s is the address of the systems.
const old = `process: order-sync
listen: { path: /orders, input: json, auth: none }
steps:
  - call: shop.get
    with: { path: "/orders/${doc.id}" }
  - if: ${doc.total > 50}
    then:
      - log: large
  - set: { id: "${uuid()}" }
  - map: { order: "${doc.id}", total: "${doc.total}", at: "${now()}", key: "${vars.id}", again: "${vars.id}" }
  - call: erp.post
    with: { path: /invoices }
---
process: price
listen: { path: /price, input: json, output: json, auth: none }
steps:
  - call: shop.get
    with: { path: "/orders/${doc.id}" }
  - reply: { total: "${doc.total}" }
---
process: report
listen: { path: /report, input: json, output: json, auth: none }
steps:
  - call: shop.get
    with: { path: "/orders/${doc.id}" }
    accept: [2xx, 404]
  - reply: { total: "${response.status}" }
---
connection: shop
connector: http
idempotent: natural
url: %[1]s
---
connection: erp
connector: http
idempotent: key
url: %[1]s
`

// report is the output of the command.
type report struct {
	Replayed, Changed int
	Changes           []struct {
		Kind    string
		Count   int
		Example struct {
			Execution string
			Was, Now  any
		}
	}
	Skipped []struct {
		Kind  string
		Count int
	} `json:"not_replayed"`
}

// TestReplay runs 20 orders through an atom, and replays them on the same
// version and on others. Nothing is called.
func TestReplay(t *testing.T) {
	var calls atomic.Int64
	systems := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			fmt.Fprint(w, `{"number":"INV"}`)
			return
		}
		id := strings.TrimPrefix(r.URL.Path, "/orders/")
		fmt.Fprintf(w, `{"id":%s,"total":%s0}`, id, id)
	}))
	defer systems.Close()
	dir := t.TempDir()
	text := fmt.Sprintf(old, systems.URL)
	project := func(name, text string) string {
		t.Helper()
		folder := filepath.Join(dir, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "p.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	data := filepath.Join(dir, "data")
	listen := startAtom(t, project("old", text), data)
	for i := 1; i <= 20; i++ {
		for _, path := range []string{"/orders", "/price", "/report"} {
			r, err := http.Post(listen+path, "application/json", strings.NewReader(fmt.Sprintf(`{"id":%d}`, i)))
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
		}
	}
	run := func(name, text, process string, args ...string) (report, int) {
		t.Helper()
		args = append([]string{"replay", project(name, text), "--process", process, "--data", data, "--json"}, args...)
		cmd := exec.Command(binary, args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, _ := cmd.Output()
		var r report
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s%s", err, out, &errs)
		}
		return r, cmd.ProcessState.ExitCode()
	}
	deadline := time.Now().Add(30 * time.Second)
	for _, process := range []string{"order-sync", "price", "report"} { // requests are recorded after their responses
		for {
			r, _ := run("old", text, process)
			n := r.Replayed
			for _, s := range r.Skipped {
				n += s.Count
			}
			if n == 20 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: got %d finished executions, want 20", process, n)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	made := calls.Load()
	for _, test := range []struct {
		name, from, to, process string
		replayed, changed       int
		kinds                   string
	}{
		{"same", "x", "x", "order-sync", 20, 0, ""},
		{"same price", "x", "x", "price", 20, 0, ""},
		{"not recorded", "x", "x", "report", 0, 0, ""},
		{"limit", "doc.total > 50", "doc.total > 100", "order-sync", 20, 5, "decisions 5"},
		{"total", `total: "${doc.total}", at`, `total: "${doc.total * 2}", at`, "order-sync", 20, 20, "documents 20"},
		{"reply", `reply: { total: "${doc.total}" }`, `reply: { sum: "${doc.total}" }`, "price", 20, 20, "reply 20"},
		{"reply status", "  - reply: { total: \"${doc.total}\" }\n", "  - reply: { total: \"${doc.total}\" }\n    status: 201\n", "price", 20, 20, "reply_status 20"},
		{"another UUID", `again: "${vars.id}"`, `again: "${uuid()}"`, "order-sync", 20, 20, "documents 20"},
		{"no call", "  - call: erp.post\n    with: { path: /invoices }\n", "", "order-sync", 20, 20, "calls 20"},
		{"new call", "  - if: ${doc.total", "  - call: erp.get\n  - if: ${doc.total", "order-sync", 20, 20, "calls 20"},
		{"fails", "      - log: large\n", "      - throw: too large\n", "order-sync", 20, 15, "calls 15, documents 15, status 15"},
	} {
		t.Run(test.name, func(t *testing.T) {
			changed := strings.Replace(text, test.from, test.to, 1)
			if test.process != "report" { // it reads the response, which requests in memory do not record
				i := strings.Index(changed, "process: report")
				j := strings.Index(changed, "connection: shop")
				changed = changed[:i] + changed[j:]
			}
			r, code := run(strings.ReplaceAll(test.name, " ", "-"), changed, test.process, "--fail-on-change")
			var kinds []string
			for _, c := range r.Changes {
				kinds = append(kinds, fmt.Sprint(c.Kind, " ", c.Count))
				if c.Example.Execution == "" {
					t.Errorf("%s: got no example", c.Kind)
				}
			}
			if got := strings.Join(kinds, ", "); r.Replayed != test.replayed || r.Changed != test.changed || got != test.kinds {
				t.Errorf("got %d replayed, %d changed: %s; want %d, %d: %s\n%+v", r.Replayed, r.Changed, got, test.replayed, test.changed, test.kinds, r)
			}
			want := 0
			if test.changed > 0 || test.replayed == 0 { // nothing replayed is no success of the check
				want = 1
			}
			if code != want {
				t.Errorf("got exit code %d, want %d", code, want)
			}
			if test.process == "report" && (len(r.Skipped) != 1 || r.Skipped[0].Count != 20) {
				t.Errorf("got %+v, want a reason for 20 executions", r.Skipped)
			}
		})
	}
	if got := calls.Load(); got != made {
		t.Errorf("got %d calls during the replays, want none", got-made)
	}
}

// startAtom starts an atom and returns the address of its listeners.
func startAtom(t *testing.T, project, data string) string {
	t.Helper()
	cmd := exec.Command(binary, "run", project, "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var running struct{ Listen string }
		text, err := os.ReadFile(filepath.Join(data, "running.json"))
		if err != nil || json.Unmarshal(text, &running) != nil || running.Listen == "" {
			continue
		}
		if r, err := http.Get(running.Listen + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return running.Listen
			}
		}
	}
	t.Fatalf("the atom does not start: %s", &log)
	return ""
}
