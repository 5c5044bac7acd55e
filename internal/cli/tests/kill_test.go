package tests

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
	"sync"
	"testing"
	"time"

	"valence/internal/test/program"
)

var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(m, &binary)) }

// invoice calls two systems. %[1]s is the output of its listener, %[2]s a step at
// its end, and %[3]s the address of the systems.
const invoice = `process: invoice
listen: { path: /invoices, input: json, %[1]s auth: none }
dedupe: { key: "${doc.id}", window: 1d }
steps:
  - call: erp.post
    with: { path: /erp }
  - call: shop.put
    with: { path: /shop }
%[2]s---
connection: erp
connector: http
url: %[3]s
---
connection: shop
connector: http
idempotent: natural
url: %[3]s
---
test: an invoice
target: invoice
input: { id: 1 }
mocks: { erp.post: {}, shop.put: {} }
`

// system counts the requests by path, and kills the atom once, during the
// first request of the ERP.
type system struct {
	mu       sync.Mutex
	requests map[string]int
	keys     map[string]bool // idempotency keys at the ERP
	atom     *exec.Cmd
}

func (s *system) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests[r.URL.Path]++; r.URL.Path == "/erp" {
		s.keys[r.Header.Get("Idempotency-Key")] = true
		if s.requests["/erp"] == 1 {
			_ = s.atom.Process.Kill()
			_, _ = s.atom.Process.Wait()
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *system) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[path]
}

// start starts an atom and returns it with the address of its listeners.
func start(t *testing.T, project, data string) (*exec.Cmd, string) {
	t.Helper()
	file := filepath.Join(data, "running.json")
	_ = os.Remove(file)
	cmd := exec.Command(binary, "run", project, "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var running struct{ Listen string }
	waitFor(t, "the start of the atom", func() bool {
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &running) != nil || running.Listen == "" {
			return false
		}
		r, err := http.Get(running.Listen + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return cmd, running.Listen
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// TestKillAtFindsWhatSIGKILLDoes kills the program during the first call. Each
// system then sees the finding of `valence test --kill-at=every-step`.
func TestKillAtFindsWhatSIGKILLDoes(t *testing.T) {
	for _, test := range []struct {
		name, output, last, finding string
		line, erp, shop             int // the finding, and the requests that the systems receive
	}{
		{"durable", "", "", "repeatable-call", 5, 2, 1},
		{"in memory", "output: json,", "  - reply: { ok: true }\n", "lost-call", 7, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &system{requests: map[string]int{}, keys: map[string]bool{}}
			server := httptest.NewServer(s)
			defer server.Close()
			dir := t.TempDir()
			project, data := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "data")
			if err := os.WriteFile(project, fmt.Appendf(nil, invoice, test.output, test.last, server.URL), 0o644); err != nil {
				t.Fatal(err)
			}
			report, _ := exec.Command(binary, "test", project, "--kill-at=every-step", "--format=json").Output()
			var found struct {
				Tests []struct {
					Failures []struct {
						Field string
						Line  int
					}
				}
			}
			if err := json.Unmarshal(report, &found); err != nil || len(found.Tests) != 1 || len(found.Tests[0].Failures) != 1 {
				t.Fatalf("got %s (%v), want one finding", report, err)
			}
			if f := found.Tests[0].Failures[0]; f.Field != test.finding || f.Line != test.line {
				t.Errorf("got the finding %+v, want %s in line %d", f, test.finding, test.line)
			}

			s.mu.Lock()
			var listen string
			s.atom, listen = start(t, project, data)
			s.mu.Unlock()
			if r, err := http.Post(listen+"/invoices", "application/json", strings.NewReader(`{"id":1}`)); err == nil {
				r.Body.Close()
			}
			waitFor(t, "the call", func() bool { return s.count("/erp") == 1 })
			start(t, project, data)
			if test.shop > 0 {
				waitFor(t, "the last call", func() bool { return s.count("/shop") == test.shop })
			}
			if erp, shop := s.count("/erp"), s.count("/shop"); erp != test.erp || shop != test.shop {
				t.Errorf("got %d requests to the ERP and %d to the shop, want %d and %d", erp, shop, test.erp, test.shop)
			}
			if len(s.keys) != 1 {
				t.Errorf("got %d idempotency keys, want 1", len(s.keys))
			}
		})
	}
}
