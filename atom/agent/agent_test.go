package agent

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/agent/canary"
	"valence/atom/agent/cloudclient"
	"valence/atom/agent/spool"
	"valence/internal/document"
	"valence/internal/wire"
	"valence/processes"
)

const (
	oneProcess  = "process: one\nsteps:\n  - log: \"${props.n}\"\n"
	twoProcess  = "process: one\nsteps:\n  - log: \"second ${props.n}\"\n---\nprocess: two\nsteps:\n  - log: \"${env.PLACE} ${hmac('sha256', secret.KEY, 'x')}\"\n"
	failing     = "process: one\nsteps:\n  - throw: \"broken\"\n"
	withMistake = "process: one\nsteps:\n  - lgo: x\n"
)

func TestDeployAndExecute(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	if err := r.agent.Ready(); err == nil {
		t.Error("nothing deployed: got ready, want an error")
	}
	p.execute(1, "executionrecord-0", "one")
	rejected := p.waitReport("executionrecord-0")
	if rejected.Status != "rejected" || !strings.Contains(rejected.Error, "one") {
		t.Errorf("got %+v, want Status \"rejected\", Error with \"one\"", rejected)
	}
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	if got := p.waitResult(1, "active"); got.Package == "" {
		t.Errorf("got %+v, want Package set", got)
	}
	if err := r.agent.Ready(); err != nil {
		t.Error(err)
	}
	p.execute(2, "executionrecord-1", "one")
	done := p.waitReport("executionrecord-1")
	if done.In == nil || done.In.Documents != 0 || done.Out == nil || done.Out.Documents != 0 {
		t.Errorf("got %+v %+v, want In set, In.Documents 0, Out set, Out.Documents 0", done.In, done.Out)
	}
	if done.Status != "completed" || done.Execution == "" || done.Process != "one" || done.Kind != "manual" || done.Ended.Before(done.Received) {
		t.Errorf("%+v", done)
	}
	p.execute(3, "executionrecord-0", "one") // stays rejected
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	p.execute(4, "executionrecord-1", "one") // repeated
	p.execute(5, "executionrecord-2", "one")
	p.waitReport("executionrecord-2")
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]int{}
	executions := map[string]bool{}
	for _, x := range p.reports {
		seen[x.Request]++
		executions[x.Execution] = true
	}
	if seen["executionrecord-0"] != 1 || seen["executionrecord-1"] > 2 || len(executions) != 3 {
		t.Errorf("got %v %v, want seen[\"executionrecord-0\"] 1, seen[\"executionrecord-1\"] <= 2, len executions 3", seen, p.reports)
	}
}

func TestRestartGoesOn(t *testing.T) {
	p, data, r := deployed(t)
	r.stop()
	p.srv.Close() // the control plane is unreachable
	again := start(t, p, data, r.store, nil)
	if !again.has("one") {
		t.Error("after a restart: got no process one, want it deployed")
	}
	if again.agent.Status().Generation != 1 || again.agent.Ready() != nil {
		t.Errorf("got %+v, %v, want Generation 1 and no error", again.agent.Status(), again.agent.Ready())
	}
}

func TestReportsFollow(t *testing.T) {
	p, data, r := deployed(t)
	var away atomic.Bool
	away.Store(true)
	p.do(func() {
		p.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if away.Load() && r.URL.Path == wire.PathReports {
				w.WriteHeader(503)
				return true
			}
			return false
		}
	})
	for i := range 3 {
		p.execute(int64(i+1), fmt.Sprint("executionrecord-", i), "one")
	}
	p.wait("the acknowledgements", func() bool { return len(p.instructions) == 0 })
	p.wait("reports on disk", func() bool { return r.agent.Status().Waiting == 3 })
	r.stop()
	away.Store(false)
	start(t, p, data, r.store, nil)
	for i := range 3 {
		if x := p.waitReport(fmt.Sprint("executionrecord-", i)); x.Status != "completed" {
			t.Errorf("got %+v, want Status \"completed\"", x)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.reports) != 3 {
		t.Errorf("got %+v, want 3 reports", p.reports)
	}
}

// Accepted but untracked executions are repeated with their instruction; tracked
// but unreported ones are looked up.
func TestKilledBetween(t *testing.T) {
	p, data, r := deployed(t)
	props := document.FromPlain(map[string]any{"n": "1"}).(*document.Object)
	ack, err := r.atom.ExecuteOnce(t.Context(), "executionrecord-1", "one", atom.Input{Props: props})
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.atom.ExecuteOnce(t.Context(), "executionrecord-2", "one", atom.Input{Props: props})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.agent.spool.Watch(t.Context(), spool.Request{ID: "executionrecord-2", Execution: other.Execution, Process: "one"}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	p.execute(7, "executionrecord-1", "one")
	start(t, p, data, r.store, nil)
	if x := p.waitReport("executionrecord-1"); x.Execution != ack.Execution || x.Status != "completed" {
		t.Errorf("got %+v, want Execution %q and Status completed", x, ack.Execution)
	}
	if x := p.waitReport("executionrecord-2"); x.Execution != other.Execution || x.Status != "completed" {
		t.Errorf("got %+v, want Execution %q and Status completed", x, other.Execution)
	}
}

func TestNewVersion(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	id := join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")

	p.deploy(2, p.pack("a.yaml", withMistake), nil)
	if got := p.waitResult(2, "failed"); !strings.Contains(got.Detail, "orders/a.yaml:3") {
		t.Errorf("got %+v, want Detail with \"orders/a.yaml:3\"", got)
	}
	p.deploy(3, p.pack("a.yaml", twoProcess), nil)
	if got := p.waitResult(3, "failed"); !strings.Contains(got.Detail, "env PLACE") || !strings.Contains(got.Detail, "secret KEY") {
		t.Errorf("got %+v, want Detail with \"env PLACE\", Detail with \"secret KEY\"", got)
	}
	if !r.has("one") || r.has("two") || r.agent.Status().Generation != 3 {
		t.Error("got the previous version stopped, want it to continue")
	}
	sealed, err := wire.Seal(p.sealKey, id.Atom, "KEY", "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	p.deploy(4, p.pack("a.yaml", twoProcess), func(d *wire.Desired) {
		d.Values, d.Secrets, d.Paused = map[string]string{"PLACE": "here", "OTHER": "x"}, map[string][]byte{"KEY": sealed}, []string{"two"}
	})
	p.waitResult(4, "active")
	if d, ok := r.atom.Process("two"); !ok || !d.Paused() {
		t.Error("got process two missing or running, want it paused")
	}
	p.deploy(5, p.desired.Deployments[0].Package, func(d *wire.Desired) { d.Values, d.Secrets = p.desired.Values, p.desired.Secrets })
	p.waitResult(5, "active")
	if d, ok := r.atom.Process("two"); !ok || d.Paused() {
		t.Error("got process two missing or paused, want it running")
	}
	p.deploy(6, "", nil)
	p.waitResult(6, "active")
	if r.has("one") {
		t.Error("got process one deployed, want it undeployed")
	}
	p.wait("packages that nothing needs are gone", func() bool {
		left, err := filepath.Glob(filepath.Join(data, cloudclient.Folder, "packages", "*"))
		return err == nil && len(left) <= 1
	})
	text, err := os.ReadFile(filepath.Join(data, cloudclient.Folder, "agent.db-wal"))
	if err == nil && strings.Contains(string(text), "s3cret") {
		t.Error("got a secret on disk, want it sealed")
	}
}

func TestRollbackByRate(t *testing.T) {
	p, data, r := deployed(t)
	p.deploy(2, p.pack("a.yaml", failing), func(d *wire.Desired) { d.Policy.RollbackRate = 0.2 })
	p.waitResult(2, "active")
	for i := range canary.MinExecutions {
		p.execute(int64(i+1), fmt.Sprint("executionrecord-", i), "one")
	}
	got := p.waitResult(2, "rolled_back")
	if !strings.Contains(got.Detail, "20 of its first 20") {
		t.Errorf("got %+v, want Detail with \"20 of its first 20\"", got)
	}
	p.execute(100, "executionrecord-after", "one")
	if x := p.waitReport("executionrecord-after"); x.Status != "completed" {
		t.Errorf("got %+v, want Status \"completed\"", x)
	}
	if s := r.agent.Status(); s.Generation != 2 {
		t.Errorf("got %+v, want Generation 2", s)
	}
	r.stop() // stays rolled back
	r = start(t, p, data, r.store, nil)
	p.execute(101, "executionrecord-again", "one")
	if x := p.waitReport("executionrecord-again"); x.Status != "completed" || r.agent.Status().Generation != 2 {
		t.Errorf("got %+v, want Status completed and Generation 2", x)
	}
	p.deploy(3, p.pack("a.yaml", strings.Replace(oneProcess, "log", "log", 1)+"# newer\n"), nil)
	p.waitResult(3, "active")
}

func TestAlteredPackage(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	good := p.pack("a.yaml", oneProcess)
	p.deploy(1, good, nil)
	p.waitResult(1, "active")

	changed := p.pack("a.yaml", twoProcess)
	p.do(func() {
		p.packages[changed] = []byte(strings.Replace(string(p.packages[changed]), "second", "sEcond", 1))
	})
	p.deploy(2, changed, nil)
	if got := p.waitResult(2, "failed"); !strings.Contains(got.Detail, "altered") {
		t.Errorf("got %+v, want Detail with \"altered\"", got)
	}
	r.stop()

	// Altered on disk: not run, but downloaded again.
	path := r.agent.deployer.composer.PackagePath(good)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "log", "lOg", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r = start(t, p, data, r.store, nil)
	p.wait("the package is fetched again", func() bool { return r.has("one") && r.agent.Ready() == nil })
}

func TestPublishers(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	public, key := randomKey(t)
	_, other := randomKey(t)
	join(t, p, data, public)
	r := start(t, p, data, nil, func(o *Options) { t.Setenv("AGENTTEST_KEY", "k") })
	pack := p.pack("a.yaml", oneProcess)
	generation := int64(0)
	try := func(want, words string, change func(*wire.Statement, *wire.Desired)) {
		t.Helper()
		generation++
		d := &wire.Desired{Generation: generation, Environment: "prod", Deployments: []wire.Deployment{{ID: "d", Package: pack, Project: "orders", Version: "1"}}}
		s := &wire.Statement{Project: "orders", Environment: "prod", Serial: 5, Package: pack, Fields: []string{"env.PLACE"}, Hosts: []string{"erp.example"}}
		signer := key
		if words == "not signed by a publisher" {
			signer = other
		}
		change(s, d)
		var err error
		if d.Deployments[0].Statement, d.Deployments[0].Signature, err = s.Sign(signer); err != nil {
			t.Fatal(err)
		}
		if words == "no publisher's signature" {
			d.Deployments[0].Statement = nil
		}
		p.do(func() { p.desired = d })
		if got := p.waitResult(generation, want); !strings.Contains(got.Detail, words) {
			t.Errorf("%s: got %+v, want text with %q", words, got, words)
		}
	}
	nothing := func(*wire.Statement, *wire.Desired) {}
	try("failed", "no publisher's signature", nothing)
	try("failed", "not signed by a publisher", nothing)
	try("active", "", nothing)
	try("failed", "for the project", func(s *wire.Statement, _ *wire.Desired) { s.Project = "other" })
	try("failed", "for the environment", func(s *wire.Statement, _ *wire.Desired) { s.Environment = "test" })
	try("failed", "to test; to move it", func(s *wire.Statement, d *wire.Desired) { s.Environment, d.Environment = "test", "test" })
	try("failed", "for another package", func(s *wire.Statement, _ *wire.Desired) { s.Package = wire.PackageID(nil) })
	try("failed", "it is outdated", func(s *wire.Statement, _ *wire.Desired) { s.Serial = 4 })
	pack = p.pack("a.yaml", twoProcess)
	set := func(value string) func(*wire.Statement, *wire.Desired) {
		return func(s *wire.Statement, d *wire.Desired) { s.Serial, d.Values = 6, map[string]string{"PLACE": value} }
	}
	try("failed", "use the host evil.example", set("https://evil.example/x"))
	try("failed", "use the host", set("see evil.example"))
	try("active", "", set("https://erp.example/x"))
	try("failed", "does not allow the environment to set env.PLACE", func(s *wire.Statement, d *wire.Desired) {
		set("x")(s, d)
		s.Fields = nil
	})
	if !r.has("two") {
		t.Error("got the signed version stopped, want it running")
	}
}

func TestLocalProject(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	local := []processes.File{{Name: "here.yaml", Content: []byte("process: here\nsteps:\n  - log: x\n")}}
	r := start(t, p, data, nil, func(o *Options) { o.Local = local })
	if err := r.agent.Ready(); err != nil {
		t.Error(err)
	}
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")
	if !r.has("one") || !r.has("here") {
		t.Error("got a process stopped, want one and here running")
	}
	p.deploy(2, p.pack("a.yaml", "process: here\nsteps:\n  - log: y\n"), nil)
	if got := p.waitResult(2, "failed"); !strings.Contains(got.Detail, "process `here` is already declared") {
		t.Errorf("got %+v, want Detail with \"process 'here' is already declared\"", got)
	}
	if err := r.agent.Reload(t.Context(), []processes.File{{Name: "here.yaml", Content: []byte(oneProcess)}}); err == nil {
		t.Error("local project with a deployed name: got no error, want one")
	}
	if !r.has("one") || !r.has("here") {
		t.Error("got a process stopped, want one and here running")
	}
}

func TestRestartAndRetire(t *testing.T) {
	p, data, r := deployed(t)
	p.do(func() { p.instructions = append(p.instructions, wire.Instruction{ID: 9, Kind: wire.KindRestart}) })
	select {
	case err := <-r.ended:
		if !errors.Is(err, ErrRestart) {
			t.Fatalf("got %v, want ErrRestart", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("got no restart, want ErrRestart")
	}
	r.ended <- nil
	r.stop()
	r = start(t, p, data, r.store, nil)
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	p.do(func() { p.instructions = append(p.instructions, wire.Instruction{ID: 10, Kind: wire.KindRetire}) })
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 && r.agent.Status().Retired })
	if r.has("one") {
		t.Error("retired atom: got process one running, want it stopped")
	}
}
