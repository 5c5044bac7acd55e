package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"valence/internal/test/program"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(program.Test(suite{m}, &binary)) }

// atom is a running `valence run`.
type atom struct {
	t      *testing.T
	listen string // URL of the web services
	admin  string // URL of the admin API
	data   string
	output *program.Output
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
}

// run starts the program on a project and waits until it is ready. It is
// stopped when the test ends.
func run(t *testing.T, project string, env ...string) *atom {
	t.Helper()
	data := t.TempDir()
	cmd := exec.Command(binary, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data, project)
	cmd.Env = append(os.Environ(), env...)
	return start(t, cmd, data)
}

// start runs a command that starts an atom on a data folder, until it is ready.
func start(t *testing.T, cmd *exec.Cmd, data string) *atom {
	t.Helper()
	return startUntil(t, cmd, data, "/readyz")
}

// startUntil runs a command that starts an atom and waits until a path returns
// 200. An atom without a project is healthy but not ready.
func startUntil(t *testing.T, cmd *exec.Cmd, data, path string) *atom {
	t.Helper()
	a := &atom{t: t, data: data, output: &program.Output{}, cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = a.output, a.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(a.ended)
		_ = cmd.Wait() // stop checks the exit code
	}()
	t.Cleanup(a.stop)
	a.until("the atom is ready", func() string {
		b, err := os.ReadFile(filepath.Join(data, "running.json"))
		if err != nil {
			return err.Error()
		}
		var running struct{ Listen, Admin string }
		if err := json.Unmarshal(b, &running); err != nil {
			return err.Error()
		}
		a.listen, a.admin = running.Listen, running.Admin
		resp, err := http.Get(a.listen + path)
		if err != nil {
			return err.Error()
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return resp.Status
		}
		return ""
	})
	return a
}

// stop ends the program with SIGTERM, as a service manager does. It must exit
// with code 0 within 20 s.
func (a *atom) stop() {
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return // it has ended already
	}
	select {
	case <-a.ended:
	case <-time.After(20 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.ended
		a.t.Errorf("the atom is still running after SIGTERM:\n%s", a.output)
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		a.t.Errorf("exit code after SIGTERM: got %d, want 0:\n%s", code, a.output)
	}
}

// until repeats a check until it returns "".
func (a *atom) until(what string, check func() string) {
	a.t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	late := time.After(30 * time.Second)
	for {
		why := check()
		if why == "" {
			return
		}
		select {
		case <-again.C:
		case <-a.ended:
			a.t.Fatalf("the atom ended before this happened: %s\n%s", what, a.output)
		case <-late:
			a.t.Fatalf("timeout: %s: %s\n%s", what, why, a.output)
		}
	}
}

// token returns the token of the admin API.
func (a *atom) token() string {
	a.t.Helper()
	token, err := os.ReadFile(filepath.Join(a.data, "admin.token"))
	if err != nil {
		a.t.Fatal(err)
	}
	return strings.TrimSpace(string(token))
}

// ask reads an answer of the admin API.
func (a *atom) ask(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.admin+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("admin API: %s", resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// notListening returns a subscription that does not listen, or "".
func (a *atom) notListening(ctx context.Context) string {
	var list struct {
		Processes []struct {
			Name      string
			Subscribe *struct{ State, Error string }
		}
	}
	if err := a.ask(ctx, "/processes", &list); err != nil {
		return err.Error()
	}
	for _, p := range list.Processes {
		if s := p.Subscribe; s != nil && s.State != "up" {
			return p.Name + " is " + s.State + " " + s.Error
		}
	}
	return ""
}

// executions counts the executions by process and status.
func (a *atom) executions(ctx context.Context) (map[string]map[string]int, error) {
	var list struct {
		Executions []struct{ Process, Status string }
	}
	if err := a.ask(ctx, "/executions?limit=500", &list); err != nil {
		return nil, err
	}
	counted := map[string]map[string]int{}
	for _, e := range list.Executions {
		if counted[e.Process] == nil {
			counted[e.Process] = map[string]int{}
		}
		counted[e.Process][e.Status]++
	}
	return counted, nil
}

// settled waits until every execution has ended.
func (a *atom) settled() {
	a.t.Helper()
	a.until("every execution has ended", func() string {
		got, err := a.executions(a.t.Context())
		if err != nil {
			return err.Error()
		}
		for process, counts := range got {
			for _, status := range []string{"accepted", "running", "waiting", "held"} {
				if counts[status] > 0 {
					return fmt.Sprintf("%d of %s are %s", counts[status], process, status)
				}
			}
		}
		return ""
	})
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
