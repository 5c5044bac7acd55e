package migrate_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const approval = `process: order-approval
listen: { path: /orders, input: json, auth: none }
track: { order: "${doc.id}" }
steps:
  - if: ${doc.total < 0}
    then: [{ throw: a negative total }]
  - wait: decision
    key: ${doc.id}
    timeout: 2d
    into: decision
---
process: decide
listen: { path: "/orders/{id}/decision", input: json, output: json, auth: none }
steps:
  - resume: decision
    key: ${request.params.id}
    body: ${doc}
  - reply: { ok: true }
`

// project creates a project in a new folder.
func project(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "approval.yaml"), []byte(approval), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// atom is a running valence.
type atom struct {
	*testing.T
	cmd  *exec.Cmd
	data string
	url  string
}

func start(t *testing.T, project, data string, flags ...string) *atom {
	t.Helper()
	a := &atom{T: t, data: data, cmd: exec.Command(binary, append([]string{"run", project, "--data", data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags...)...)}
	var out writer
	a.cmd.Stdout, a.cmd.Stderr = &out, &out
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.cmd.Process.Kill() })
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var at struct {
			PID    int
			Listen string
		}
		text, err := os.ReadFile(filepath.Join(data, "running.json"))
		if err == nil && json.Unmarshal(text, &at) == nil && at.PID == a.cmd.Process.Pid {
			a.url = at.Listen
			return a
		}
	}
	t.Fatalf("the atom did not start: %s", out)
	return nil
}

func (a *atom) stop() {
	a.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		a.Fatal(err)
	}
}

func (a *atom) post(path, body string) {
	a.Helper()
	r, err := http.Post(a.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	defer r.Body.Close()
	if text, _ := io.ReadAll(r.Body); r.StatusCode >= 300 {
		a.Fatalf("POST %s: %s %s", path, r.Status, text)
	}
}

// ids returns the ids of executions by order, once there are n with a status; -1:
// at once.
func (a *atom) ids(status string, n int) map[string]string {
	a.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var list struct {
			Executions []struct {
				ID    string `json:"execution"`
				Track map[string]string
			}
		}
		out, err := exec.Command(binary, "executions", "--process", "order-approval", "--status", status, "--data", a.data, "--json").Output()
		if err != nil {
			a.Fatalf("%v: %s", err, out)
		}
		if err := json.Unmarshal(out, &list); err != nil {
			a.Fatalf("%v: %s", err, out)
		}
		if n < 0 || len(list.Executions) == n {
			all := map[string]string{}
			for _, x := range list.Executions {
				all[x.Track["order"]] = x.ID
			}
			return all
		}
	}
	a.Fatalf("there are not %d executions with the status %s", n, status)
	return nil
}

// Ids stay valid when the data of an atom moves to a group and back, and its
// executions continue there.
func TestProgram(t *testing.T) {
	folder := t.TempDir()
	data, back, database, files := filepath.Join(folder, "data"), filepath.Join(folder, "back"), pg.Database(t), project(t)
	a := start(t, files, data)
	for i := range 3 {
		a.post("/orders", fmt.Sprintf(`{"id":"%d","total":5000}`, i))
	}
	a.post("/orders", `{"id":"bad","total":-1}`)
	waiting, failed := a.ids("waiting", 3), a.ids("failed", 1)
	if code, _, errs := run(t, "migrate", "--from", data, "--to", address(t, database), "--group", "shop"); code != 3 || !contains(errs, "an atom is running") {
		t.Errorf("while the atom runs: got exit code %d, %s", code, errs)
	}
	a.stop()
	mustRun(t, "migrate", "--from", data, "--to", address(t, database), "--group", "shop")
	a = start(t, files, filepath.Join(folder, "member"), "--store", address(t, database), "--group", "shop")
	a.wantShown(waiting, failed)
	a.decide(waiting, "0")
	a.post("/orders", `{"id":"3","total":5000}`)
	waiting["3"] = a.ids("waiting", 3)["3"]
	a.stop()
	mustRun(t, "migrate", "--from", address(t, database), "--to", back, "--group", "shop")
	a = start(t, files, back)
	defer a.stop()
	a.wantShown(waiting, failed)
	a.decide(waiting, "1", "2", "3")
}

// wantShown checks that the atom knows ids.
func (a *atom) wantShown(all ...map[string]string) {
	a.Helper()
	for _, ids := range all {
		for order, id := range ids {
			if out := mustRun(a.T, "executions", "show", id, "--data", a.data); !contains(out, id) {
				a.Errorf("order %s: got %s, want the execution %s", order, out, id)
			}
		}
	}
}

// decide ends waits, and checks that the executions complete with their ids.
func (a *atom) decide(ids map[string]string, orders ...string) {
	a.Helper()
	before := len(a.ids("waiting", -1))
	for _, order := range orders {
		a.post("/orders/"+order+"/decision", `{"approved":true}`)
	}
	a.ids("waiting", before-len(orders))
	for order, id := range a.ids("completed", -1) {
		if ids[order] != id {
			a.Errorf("order %s: got %s, want %s", order, id, ids[order])
		}
	}
}
