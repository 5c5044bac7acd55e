package examples

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const folder = "../../examples"

// folders gives the folder of each example.
func folders(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() {
			all = append(all, filepath.Join(folder, e.Name()))
		}
	}
	if len(all) == 0 {
		t.Fatal("there are no examples")
	}
	return all
}

// TestExamples runs each example as its README describes it.
func TestExamples(t *testing.T) {
	for _, dir := range folders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			e, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), binary, "lint", dir).CombinedOutput(); err != nil {
				t.Fatalf("lint: %v\n%s", err, out)
			}
			systems, err := Start(e, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(systems.Close)
			own := t.TempDir()
			systems.Addresses["folder"] = own
			a := run(t, dir, e.Env(systems.Addresses)...)
			for i := range e.Requests {
				if e.Requests[i].Drop != "" {
					drop(t, e, own, &e.Requests[i])
					continue
				}
				send(t, a, e, systems, &e.Requests[i])
			}
			a.until("all executions have ended as expected", func() string {
				got, err := a.executions(t.Context())
				if err != nil {
					return err.Error()
				}
				if !reflect.DeepEqual(got, e.Executions) {
					return "there are " + show(countsOf(got)) + ", want " + show(countsOf(e.Executions))
				}
				return ""
			})
			for _, problem := range e.MatchCalls(systems.Got()) {
				t.Error(problem)
			}
			a.until("the folder is as expected", func() string { return e.MatchFiles(own) })
			if t.Failed() {
				t.Logf("the atom's output:\n%s", a.output)
			}
		})
	}
}

// send sends one request and holds the answer against what is expected.
func send(t *testing.T, a *atom, e *Example, systems *Systems, r *Request) {
	t.Helper()
	base := a.listen
	if r.Settled {
		a.settled()
	}
	if r.Callback != nil {
		a.until("a system is told where to call back", func() string {
			base = r.Callback.Find(systems.Got())
			if base == "" {
				return "no " + r.Callback.Call + " that holds " + r.Callback.Holds
			}
			return ""
		})
	}
	if r.Execute != "" {
		a.settled()
		base = a.admin + "/api/v1/processes/" + r.Execute + "/executions"
	}
	req, err := r.New(t.Context(), e, base, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if r.Execute != "" {
		req.Header.Set("Authorization", "Bearer "+a.token())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s: %v\n%s", r.About, err, a.output)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", r.About, err)
	}
	if d := r.Expect.MatchAnswer(e.Dir, resp.StatusCode, resp.Header, body); d != "" {
		t.Errorf("%s: %s", r.About, d)
	}
}

// drop puts a file into the example's folder, as somebody does who writes it
// where it belongs.
func drop(t *testing.T, e *Example, folder string, r *Request) {
	t.Helper()
	b, _, err := r.Bytes(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, r.Drop)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// countsOf makes counts showable in a fixed order.
func countsOf(counts map[string]map[string]int) any {
	lines := []any{}
	for _, process := range sortedKeys(counts) {
		for _, status := range sortedKeys(counts[process]) {
			lines = append(lines, []any{process, status, counts[process][status]})
		}
	}
	return lines
}

// TestExampleTexts holds each README against the example: whoever follows it
// by hand must find every variable, and every kind of request.
func TestExampleTexts(t *testing.T) {
	for _, dir := range folders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			e, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			addresses := map[string]string{}
			for name, s := range e.Systems {
				addresses[name] = "http://127.0.0.1:" + show(s.Port)
			}
			addresses["folder"] = Folder(dir)
			for _, pair := range e.Env(addresses) {
				if !strings.Contains(text, pair) && !strings.Contains(text, strings.Replace(pair, "=", "='", 1)+"'") {
					t.Errorf("README.md does not set %s", pair)
				}
			}
			for _, r := range e.Requests {
				path, _, _ := strings.Cut(r.Path, "?")
				switch {
				case r.Execute != "":
					path = "bin/valence exec " + r.Execute
				case r.Drop != "":
					path = Folder(dir) + "/" + r.Drop
				}
				if !strings.Contains(text, path) && r.Expect.Status < 400 {
					t.Errorf("README.md does not send to %s (%s)", path, r.About)
				}
			}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if f.Name() != "README.md" && !strings.Contains(text, f.Name()) {
					t.Errorf("README.md does not say what %s is", f.Name())
				}
			}
			if !strings.Contains(text, "go run ./internal/examples/systems examples/"+filepath.Base(dir)) {
				t.Error("README.md does not say how to play the other systems")
			}
		})
	}
}
