package examples

import (
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"valence/processes"
	"valence/processes/loader"
)

const folder = "../../../examples"

// folders returns the folder of each example.
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
		t.Fatal("got no examples, want at least one")
	}
	return all
}

// TestExamples runs each example as its README describes.
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
			systems := startSystems(t, e)
			own := systems.Addresses["folder"]
			a := run(t, dir, e.Env(systems.Addresses)...)
			a.until("all subscriptions listen", func() string { return a.notListening(t.Context()) })
			for i := range e.Requests {
				switch r := &e.Requests[i]; {
				case r.Drop != "":
					drop(t, e, own, r)
				case r.Mail != "":
					deliver(t, e, systems, r)
				default:
					send(t, a, e, systems, r)
				}
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
			for _, problem := range e.MatchCalls(systems.Received()) {
				t.Error(problem)
			}
			a.until("the folder is as expected", func() string { return e.MatchFiles(own) })
			if t.Failed() {
				t.Logf("the atom's output:\n%s", a.output)
			}
		})
	}
}

// TestExamplesTests runs the tests of each example. Every process has at least one.
func TestExamplesTests(t *testing.T) {
	for _, dir := range folders(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			files, err := loader.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			tested := map[string]bool{}
			var targets []string
			for _, line := range strings.Split(joined(files), "\n") {
				if name, ok := strings.CutPrefix(line, "target: "); ok {
					tested[name] = true
				}
				if name, ok := strings.CutPrefix(line, "process: "); ok {
					targets = append(targets, name)
				}
			}
			for _, name := range targets {
				if !tested[name] && !startedByOthers[name] {
					t.Errorf("the process %s has no test", name)
				}
			}
			for _, project := range projectsIn(files) {
				if out, err := exec.CommandContext(t.Context(), binary, "test", project).CombinedOutput(); err != nil {
					t.Errorf("valence test %s: %v\n%s", project, err, out)
				}
			}
		})
	}
}

// startedByOthers are processes that the tests of their callers run.
var startedByOthers = map[string]bool{"bring-together": true, "label-parcel": true}

// joined returns the text of all files.
func joined(files []processes.File) string {
	var b strings.Builder
	for _, f := range files {
		b.Write(f.Content)
		b.WriteByte('\n')
	}
	return b.String()
}

// projectsIn returns the folders that have tests.
func projectsIn(files []processes.File) []string {
	var dirs []string
	for _, f := range files {
		if filepath.Base(f.Name) == "tests.yaml" {
			dirs = append(dirs, filepath.Dir(f.Name))
		}
	}
	return dirs
}

// send sends one request and compares the response with the expected one.
func send(t *testing.T, a *atom, e *Example, systems *Systems, r *Request) {
	t.Helper()
	base := a.listen
	if r.Settled {
		a.settled()
	}
	if r.Callback != nil {
		a.until("a system receives the callback URL", func() string {
			base = r.Callback.Find(systems.Received())
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
		t.Errorf(`%s: got %s, want ""`, r.About, d)
	}
}

// drop writes a file directly into the example's folder.
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

// deliver adds a message to a mailbox.
func deliver(t *testing.T, e *Example, systems *Systems, r *Request) {
	t.Helper()
	b, _, err := r.Bytes(e.Dir)
	if err == nil {
		err = systems.Append(r.Mail, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startSystems starts the systems of an example until the test ends. Its folder is
// empty.
func startSystems(t *testing.T, e *Example) *Systems {
	t.Helper()
	systems, err := Start(e, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(systems.Close)
	systems.Addresses["folder"] = t.TempDir()
	for name, b := range brokers {
		if e.Uses(name) {
			systems.Addresses[name] = b.address(t)
		}
	}
	if e.Uses("sshd") {
		maps.Copy(systems.Addresses, sshd)
	}
	return systems
}

// countsOf formats counts in a fixed order.
func countsOf(counts map[string]map[string]int) any {
	lines := []any{}
	for _, process := range slices.Sorted(maps.Keys(counts)) {
		for _, status := range slices.Sorted(maps.Keys(counts[process])) {
			lines = append(lines, []any{process, status, counts[process][status]})
		}
	}
	return lines
}

// TestExampleTexts checks that each README mentions every variable, every kind
// of request and every file of the example.
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
				addresses[name] = s.address(s.Port)
			}
			addresses["folder"] = Folder(dir)
			for name, b := range brokers {
				addresses[name] = b.reader
			}
			for _, pair := range e.Env(addresses) {
				if name, _, _ := strings.Cut(pair, "="); ownLogin(e, name) {
					pair = name + "=" // of the reader's broker
				}
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
					t.Errorf("README.md has no request to %s (%s)", path, r.About)
				}
			}
			files, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if f.Name() != "README.md" && !strings.Contains(text, f.Name()) {
					t.Errorf("README.md does not mention %s", f.Name())
				}
			}
			if !strings.Contains(text, "go run ./internal/test/examples/systems examples/"+filepath.Base(dir)) {
				t.Error("README.md does not say how to start the other systems")
			}
		})
	}
}
