package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	"valence/atom/agent/canary"
	"valence/internal/wire"
)

// deployments creates deployments from project, file content, project, …
func (p *plane) deployments(projects ...string) []wire.Deployment {
	var all []wire.Deployment
	for i := 0; i < len(projects); i += 2 {
		pack := p.pack("a.yaml", projects[i+1])
		all = append(all, wire.Deployment{ID: "d-" + pack[:8], Package: pack, Project: projects[i], Version: "1"})
	}
	return all
}

// became waits for the results of all packages of a generation and returns them
// by project.
func (p *plane) became(generation int64, all []wire.Deployment) map[string]wire.DeploymentReport {
	p.t.Helper()
	found := map[string]wire.DeploymentReport{}
	p.wait("the results", func() bool {
		for _, r := range p.results {
			for _, x := range all {
				if r.Generation == generation && r.Package == x.Package {
					found[x.Project] = r
				}
			}
		}
		return len(found) == len(all)
	})
	return found
}

// generation deploys projects and checks the results and the running processes.
func (p *plane) generation(r *rig, n int64, projects []string, failed string, has ...string) {
	p.t.Helper()
	all := p.deployments(projects...)
	p.deploy(n, "", func(d *wire.Desired) { d.Deployments = all })
	for project, got := range p.became(n, all) {
		want := "active"
		if project == failed {
			want = "failed"
		}
		if got.State != want || (got.Detail != "") != (want == "failed") {
			p.t.Errorf("generation %d, %s: got %+v, want %s", n, project, got, want)
		}
	}
	for _, name := range has {
		if gone := strings.HasPrefix(name, "!"); r.has(strings.TrimPrefix(name, "!")) == gone {
			p.t.Errorf("generation %d: %s does not hold", n, name)
		}
	}
}

func process(name, step string) string { return "process: " + name + "\nsteps:\n  - " + step + "\n" }

func TestProjectsDoNotHoldEachOther(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	good, bad := process("a", "log: a"), process("b", "lgo: b")
	p.generation(r, 1, []string{"b", bad, "a", good}, "b", "a", "!b")
	p.wait("the heartbeat tells", func() bool { return strings.Contains(p.heartbeat().Health, "b: it has errors") })
	if r.agent.Ready() != nil {
		t.Error("what runs is not ready:", r.agent.Ready())
	}
	// The other project is corrected while the first breaks: its previous version continues.
	p.generation(r, 2, []string{"a", process("a2", "lgo: a"), "b", process("b", "log: b")}, "a", "a", "b", "!a2")
	// A third project uses a taken name.
	p.generation(r, 3, []string{"a", good, "b", process("b", "log: b"), "c", process("a", "log: c")}, "c", "a", "b")
	// A name moves between projects, in any order, next to a broken project.
	p.generation(r, 4, []string{"a", good, "x", process("m", "log: x"), "z", bad}, "z", "a", "m", "!b")
	p.generation(r, 5, []string{"a", good, "y", process("m", "log: y"), "x", process("n", "log: x"), "z", bad}, "z", "a", "m", "n")
	// The broken project is undeployed.
	p.generation(r, 6, []string{"y", process("m", "log: y"), "x", process("n", "log: x")}, "", "m", "n", "!a")
	p.wait("the heartbeat is well", func() bool { return p.heartbeat().Health == "ok" })
}

// TestProjectsAreTheirOwn: equal names in two packages are separate things.
func TestProjectsAreTheirOwn(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	one := func(name, value, redact string) string {
		return "project: shared\nredact: [" + redact + "]\n---\nenvironment: prod\nvalues: { WHO: " + value + " }\n---\n" +
			"profile: thing\nschema: { type: object, required: [" + value + "] }\n---\n" +
			"process: " + name + "\nsteps:\n  - validate: thing\n  - reply: { body: \"${ {who: env.WHO} }\" }\n"
	}
	p.generation(r, 1, []string{"a", one("first", "alice", "card"), "b", one("second", "bob", "iban")}, "", "first", "second")
	for i, c := range []struct{ process, value string }{{"first", "alice"}, {"second", "bob"}} {
		request := fmt.Sprint("executionrecord-", i)
		p.do(func() {
			p.instructions = append(p.instructions, wire.Instruction{ID: int64(i + 1), Kind: wire.KindExecute,
				Execute: &wire.Execute{Request: request, Process: c.process, Document: []byte(`{"` + c.value + `":1,"card":"1234","iban":"DE"}`), DocumentType: "application/json"}})
		})
		x := p.waitReport(request)
		if x.Status != "completed" {
			t.Fatalf("got %+v, want Status \"completed\"", x)
		}
		v, err := r.atom.Show(t.Context(), x.Execution)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal([]any{v.Input, v.Reply})
		if err != nil || !strings.Contains(string(text), `"who":"`+c.value+`"`) || strings.Contains(string(text), "1234") == (i == 0) || strings.Contains(string(text), "DE") == (i == 1) {
			t.Errorf("%s: %s %v", c.process, text, err)
		}
	}
}

// heartbeat returns the newest one. The caller holds mu.
func (p *plane) heartbeat() wire.Heartbeat {
	if p.beat != nil {
		return *p.beat
	}
	return wire.Heartbeat{}
}

func TestValuesOfTheMachine(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	needs := process("needs", "log: ${env.ON_MACHINE}")
	projects := []string{"a", process("a", "log: a"), "needs", needs}
	p.generation(r, 1, projects, "needs", "a", "!needs")

	// Once set on the machine, the value is used from the next start, even without the control
	// plane.
	r.stop()
	t.Setenv("AGENTTEST_ON_MACHINE", "here")
	p.do(func() { p.results = nil })
	r = start(t, p, data, r.store, nil)
	for project, got := range p.became(1, p.deployments(projects...)) {
		if got.State != "active" {
			t.Errorf("%s: got %+v, want State \"active\"", project, got)
		}
	}
	if !r.has("needs") || !r.has("a") {
		t.Error("got a process stopped, want all running")
	}

	// Without the value, the other projects run; with it, the project runs again.
	r.stop()
	os.Unsetenv("AGENTTEST_ON_MACHINE")
	r = start(t, p, data, r.store, nil)
	if !r.has("a") || r.has("needs") || r.agent.Ready() != nil {
		t.Error("got the other projects stopped, want them running")
	}
	p.wait("the heartbeat tells", func() bool { return strings.Contains(p.heartbeat().Health, "needs: required values are missing") })
	r.stop()
	t.Setenv("AGENTTEST_ON_MACHINE", "here")
	r = start(t, p, data, r.store, nil)
	p.wait("it runs again", func() bool { return r.has("needs") && r.has("a") })
}

// TestRollbackNamesWhatChanged: only the failing new project is rolled back,
// even after other changes. Other projects are unaffected and do not count.
func TestRollbackNamesWhatChanged(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	steady, before, after := process("steady", "log: a"), process("one", "log: b"), process("one", "throw: broken")
	p.generation(r, 1, []string{"a", steady, "b", before}, "", "steady", "one")
	change := func(n int64, value string, projects ...string) []wire.Deployment {
		all := p.deployments(projects...)
		p.deploy(n, "", func(d *wire.Desired) {
			d.Deployments, d.Policy.RollbackRate, d.Values = all, 0.2, map[string]string{"VALUE": value}
		})
		p.became(n, all)
		return all
	}
	fails := func(from, n int) {
		for i := range 2 * n {
			name := "steady"
			if i%2 == 0 {
				name = "one"
			}
			p.execute(int64(from+i+1), fmt.Sprint("executionrecord-", from+i), name)
		}
		p.waitReport(fmt.Sprint("executionrecord-", from+2*n-1))
	}
	change(2, "x", "a", steady, "b", after)
	fails(0, canary.MinExecutions/2)
	change(3, "y", "a", steady, "b", after)
	all := change(4, "y", "a", steady, "b", after, "c", process("third", "log: c"))
	fails(canary.MinExecutions, canary.MinExecutions/2)
	p.waitResult(4, "rolled_back")
	got := p.became(4, all)
	if got["a"].State != "active" || got["c"].State != "active" || got["b"].State != "rolled_back" || !strings.Contains(got["b"].Detail, "20 of its first 20") {
		t.Errorf("got %+v, want got[\"a\"].State \"active\", got[\"c\"].State \"active\", got[\"b\"].State \"rolled_back\", got[\"b\"].Detail with \"20 of its first 20\"", got)
	}
	p.execute(100, "executionrecord-after", "one")
	if x := p.waitReport("executionrecord-after"); x.Status != "completed" || !r.has("third") {
		t.Errorf("got %+v, want Status \"completed\", \"third\" running", x)
	}
}

// TestProbation: processes whose package changed are on probation, or all if only
// values changed. Nothing removed or rolled back returns by itself.
func TestProbation(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	holds := func(what string, want map[string]string) {
		t.Helper()
		if got := r.agent.deployer.canary.Probations(); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	one, two, old, newer := process("one", "log: a"), process("two", "log: b"), process("x", "log: old"), process("x", "log: new")
	p.generation(r, 1, []string{"a", one, "x", old}, "", "one", "x")
	p.wait("settled", func() bool { return r.agent.Status().Generation == 1 })
	holds("at first", map[string]string{})
	p.generation(r, 2, []string{"a", one, "b", two, "x", old}, "", "two")
	p.wait("settled", func() bool { return r.agent.Status().Generation == 2 })
	holds("a project that is new", map[string]string{})
	p.generation(r, 3, []string{"a", one, "b", two, "x", newer}, "", "x")
	p.wait("settled", func() bool { return r.agent.Status().Generation == 3 })
	holds("a newer version", map[string]string{"x": "x"})
	r.agent.deployer.rollback(t.Context(), "x", "a test says so")
	holds("what was put back", map[string]string{})
	p.generation(r, 4, []string{"a", one}, "", "one", "!two")
	p.wait("settled", func() bool { return r.agent.Status().Generation == 4 })
	holds("what was taken away", map[string]string{})
	p.deploy(5, "", func(d *wire.Desired) {
		d.Deployments, d.Values = p.deployments("a", process("one", "log: ${env.WHO}")), map[string]string{"WHO": "x"}
	})
	p.waitResult(5, "active")
	p.wait("settled", func() bool { return r.agent.Status().Generation == 5 })
	holds("another version", map[string]string{"one": "a"})
	r.agent.deployer.rollback(t.Context(), "nobody", "a test says so")
	if r.agent.Status().Generation != 5 {
		t.Error("unknown project: got a rollback, want none")
	}
}
