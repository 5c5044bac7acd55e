package crash

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// versionOf returns a project whose two calls name the version that made them.
func versionOf(n int) string {
	return fmt.Sprintf(`process: relay
retry: { max_attempts: 200, backoff: 50ms..500ms }
steps:
  - call: sink.post
    with: { path: "/%[1]d/a/${props.n}" }
  - call: sink.post
    with: { path: "/%[1]d/b/${props.n}" }
---
connection: sink
connector: http
url: ${env.SINK}
timeout: 5s
`, n)
}

// line is the connection between an atom and its control plane, with faults.
type line struct {
	*httptest.Server
	cut     atomic.Int64 // one in so many responses is cut off; 0: none
	silent  atomic.Bool  // reports are dropped
	twice   atomic.Bool  // messages are delivered twice
	altered atomic.Bool  // packages are altered
	random  func(n int64) int64
}

func newLine(t *testing.T, to string, r *rand.Rand) *line {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	l := &line{random: func(n int64) int64 { mu.Lock(); defer mu.Unlock(); return r.Int64N(n) }}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host },
		ModifyResponse: l.meddle,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l.silent.Load() && r.URL.Path == wire.PathReports {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(l.Close)
	return l
}

// meddle alters a response in transit. It also sets the response's date five
// minutes back, which must have no effect.
func (l *line) meddle(resp *http.Response) error {
	resp.Header.Set("Date", time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat))
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	path := resp.Request.URL.Path
	if l.twice.Load() && path == wire.PathPoll && resp.StatusCode == 200 {
		var p wire.PollResponse
		if json.Unmarshal(body, &p) == nil {
			p.Instructions = append(p.Instructions, p.Instructions...)
			if body, err = json.Marshal(p); err != nil {
				return err
			}
		}
	}
	if l.altered.Load() && strings.HasPrefix(path, wire.PathPackages) {
		body = []byte(strings.Replace(string(body), "/b/", "/x/", 1))
	}
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", fmt.Sprint(len(body)))
	if n := l.cut.Load(); n > 0 && l.random(n) == 0 {
		body = body[:len(body)/2]
	}
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	return nil
}

// joined is an atom that has joined a control plane through a line.
type joined struct {
	*atom
	plane       *cloudtest.Plane
	line        *line
	id          string
	environment string
}

func newJoined(t *testing.T, r *rand.Rand) (*joined, *sink) {
	dest := newSink(t)
	p := cloudtest.Start(t, cloudtest.Options{})
	e := p.Environment(t, "prod")
	l := newLine(t, p.URL, r)
	j := &joined{atom: newAtom(t, dest.addr), plane: p, line: l, environment: e.ID}
	j.project = "" // it runs its deployments
	out, err := exec.Command(binary, "join", l.URL, "--token", p.InstallToken(t, "prod"), "--name", "edge", "--data", j.data, "--json").Output()
	if err != nil {
		t.Fatal(err, string(out))
	}
	var said struct{ Atom string }
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatal(err)
	}
	j.id = said.Atom
	if err := os.WriteFile(filepath.Join(j.data, "policy.yaml"), []byte("variables: [SINK]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return j, dest
}

// begin starts the program without waiting until it is ready.
func (j *joined) begin() {
	j.t.Helper()
	j.out.Reset()
	j.cmd = exec.Command(binary, "run", "--listen", j.listen, "--admin", j.admin, "--data", j.data)
	j.cmd.Env = append(os.Environ(), "SINK=http://"+j.sink)
	j.cmd.Stdout, j.cmd.Stderr = &j.out, &j.out
	if err := j.cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
}

func (j *joined) deploy(n int) cloud.Deployment {
	_, d := j.plane.Deploy(j.t, j.environment, "relay", fmt.Sprint(n), versionOf(n))
	return d
}

func (j *joined) await(d cloud.Deployment, state string) cloud.DeploymentResult {
	j.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		x, err := j.plane.Deployments.Get(j.t.Context(), j.plane.Admin, d.ID)
		if err == nil && len(x.Results) == 1 && x.Results[0].State == state {
			return x.Results[0]
		}
		pause(20 * time.Millisecond)
	}
	j.t.Fatalf("the deployment does not become %s:\n%s", state, tail(j.out.String()))
	return cloud.DeploymentResult{}
}

func (j *joined) execute(n int) string {
	j.t.Helper()
	id, err := j.plane.Executions.Execute(j.t.Context(), j.plane.Admin, cloud.ExecutionRequest{
		AtomID: j.id, ProcessName: "relay", Props: json.RawMessage(fmt.Sprintf(`{"n":"%d"}`, n)), IdempotencyKey: fmt.Sprint("n", n)})
	if err != nil {
		j.t.Fatal(err)
	}
	return id
}

func (j *joined) record(request string) *cloud.ExecutionRecord {
	j.t.Helper()
	x, err := j.plane.Executions.WaitRecord(j.t.Context(), j.plane.Admin, request, 60*time.Second)
	if err != nil || x == nil || x.Status != cloud.Complete {
		j.t.Fatalf("%s: %+v, %v\n%s", request, x, err, tail(j.out.String()))
	}
	return x
}

// TestKilledBetweenRunningAndReporting checks that an execution request runs
// once and its record is reported once.
func TestKilledBetweenRunningAndReporting(t *testing.T) {
	j, dest := newJoined(t, rand.New(rand.NewPCG(1, 1)))
	j.begin()
	j.await(j.deploy(1), "active")
	j.line.silent.Store(true)
	j.line.twice.Store(true)
	var requests []string
	for n := range 10 {
		requests = append(requests, j.execute(n))
	}
	deadline := time.Now().Add(30 * time.Second)
	for n := range 10 {
		for times, _ := dest.got(fmt.Sprintf("/1/b/%d", n)); times == 0; times, _ = dest.got(fmt.Sprintf("/1/b/%d", n)) {
			if time.Now().After(deadline) {
				t.Fatal("it does not run", tail(j.out.String()))
			}
			pause(5 * time.Millisecond)
		}
	}
	j.kill()
	j.line.silent.Store(false)
	j.begin()
	executions := map[string]bool{}
	for n, request := range requests {
		x := j.record(request)
		if executions[x.Execution] {
			t.Errorf("%s has the execution of another", request)
		}
		executions[x.Execution] = true
		if _, keys := dest.got(fmt.Sprintf("/1/a/%d", n)); keys != 1 {
			t.Errorf("%d ran %d times", n, keys)
		}
	}
	if found, _, err := j.plane.Executions.Records(t.Context(), j.plane.Admin, cloud.RecordFilter{}, cloud.Cursor{}, 100); err != nil || len(found) != 10 {
		t.Errorf("%d records of 10 requests, %v", len(found), err)
	}
}

// TestKilledWhileDeploying kills the atom repeatedly while versions are deployed
// and executions requested over a line that cuts responses. The atom must start
// with a complete version and run every request once.
func TestKilledWhileDeploying(t *testing.T) {
	r := seeded(t)
	j, dest := newJoined(t, r)
	j.begin()
	d := j.deploy(1)
	j.await(d, "active")
	j.line.cut.Store(6)
	kills := max(rounds(t)/2, 3)
	var requests []string
	for round := range kills {
		d = j.deploy(round + 2)
		for range 5 {
			requests = append(requests, j.execute(len(requests)))
		}
		pause(time.Duration(r.IntN(150)) * time.Millisecond)
		j.kill()
		j.begin()
		pause(time.Duration(r.IntN(400)) * time.Millisecond)
		if round%2 == 0 { // also during start-up
			j.kill()
			j.begin()
		}
	}
	j.line.cut.Store(0)
	j.await(d, "active")
	executions := map[string]bool{}
	for n, request := range requests {
		x := j.record(request)
		if executions[x.Execution] {
			t.Errorf("%s has the execution of another", request)
		}
		executions[x.Execution] = true
		var whole []int
		for v := 1; v <= kills+1; v++ {
			a, keysA := dest.got(fmt.Sprintf("/%d/a/%d", v, n))
			b, keysB := dest.got(fmt.Sprintf("/%d/b/%d", v, n))
			if a > 0 && b > 0 && keysA == 1 && keysB == 1 {
				whole = append(whole, v)
			} else if a+b > 0 {
				t.Errorf("%d: version %d made %d and %d calls, with %d and %d keys", n, v, a, b, keysA, keysB)
			}
		}
		if len(whole) != 1 {
			t.Errorf("%d ran on the versions %v", n, whole)
		}
	}
	t.Logf("%d kills, %d requests, each run once on one version", kills+kills/2, len(requests))
	j.kill()
}

// TestPackageAltered checks that a package altered in transit or on disk never
// runs.
func TestPackageAltered(t *testing.T) {
	j, dest := newJoined(t, rand.New(rand.NewPCG(1, 1)))
	j.begin()
	first := j.deploy(1)
	j.await(first, "active")
	j.line.altered.Store(true)
	if x := j.await(j.deploy(2), "failed"); !strings.Contains(x.Detail, "altered") {
		t.Errorf("got %+v, want text with altered", x)
	}
	j.kill()
	kept, err := filepath.Glob(filepath.Join(j.data, "agent", "packages", "*.tar"))
	if err != nil || len(kept) == 0 {
		t.Fatalf("got %v %v, want len(kept) above 0 and no error", kept, err)
	}
	for _, path := range kept {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "/b/", "/x/", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	j.line.altered.Store(false)
	j.begin()
	j.await(j.deploy(3), "active")
	j.record(j.execute(7))
	if n, _ := dest.got("/3/b/7"); n == 0 {
		t.Error("the new version does not run")
	}
	dest.mu.Lock()
	defer dest.mu.Unlock()
	for path := range dest.calls {
		if strings.Contains(path, "/x/") {
			t.Error("an altered package ran:", path)
		}
	}
}
