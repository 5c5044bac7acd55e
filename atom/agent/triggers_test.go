package agent

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"valence/internal/wire"
)

const scheduled = "process: nightly\nschedule: { cron: \"30 2 * * *\", timezone: Europe/Lisbon }\nsteps:\n  - log: x\n---\n" +
	"process: heard\nlisten: { path: /heard, auth: none }\nsteps:\n  - log: x\n"

// paused reports whether the control plane knows that a trigger is paused.
func (p *plane) paused(process string) bool {
	for _, l := range p.standing.Triggers {
		if l.Process == process {
			return l.State == "paused"
		}
	}
	return false
}

// A switch is applied, reported at once and survives restarts. Between remote
// and local operators the newer decision wins.
func TestSwitches(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	pack := p.pack("a.yaml", scheduled)
	p.deploy(1, pack, nil)
	p.wait("the triggers", func() bool { return len(p.standing.Triggers) == 2 })
	p.do(func() {
		l := p.standing.Triggers[1]
		if l != (wire.Trigger{Process: "nightly", Kind: "schedule", State: "running", Cron: "30 2 * * *", Zone: "Europe/Lisbon"}) {
			t.Errorf("%+v", l)
		}
	})
	off := func(generation int64) func(*wire.Desired) {
		return func(d *wire.Desired) {
			d.Paused, d.SwitchedIn = []string{"nightly"}, map[string]int64{"nightly": generation}
		}
	}
	p.deploy(2, pack, off(2))
	p.wait("off", func() bool { return p.paused("nightly") && !p.paused("heard") && p.standing.Switched == 2 })

	r.stop()
	r = start(t, p, data, r.store, nil)
	p.wait("a poll of the new start", func() bool { return p.polls[len(p.polls)-1].Instance == r.agent.instance })
	if d, _ := r.atom.Process("nightly"); !d.Paused() {
		t.Error("after a restart: got nightly running, want it paused")
	}

	// The local operator resumes it; another generation does not repeat the old decision.
	if err := r.atom.Resume(t.Context(), "nightly"); err != nil {
		t.Fatal(err)
	}
	p.wait("on, as the machine says", func() bool { return !p.paused("nightly") })
	p.deploy(3, p.pack("a.yaml", scheduled+"# more\n"), off(2))
	p.waitResult(3, "active")
	if d, _ := r.atom.Process("nightly"); d.Paused() {
		t.Error("an old word counts again")
	}
	p.deploy(4, pack, off(4))
	p.wait("off again", func() bool { return p.paused("nightly") && p.standing.Switched == 4 })

	// Likewise in the other direction.
	on := func(generation int64) func(*wire.Desired) {
		return func(d *wire.Desired) { d.SwitchedIn = map[string]int64{"heard": generation, "nightly": 5} }
	}
	p.deploy(5, pack, on(5))
	p.wait("on", func() bool { return !p.paused("nightly") && p.standing.Switched == 5 })
	if err := r.atom.Pause(t.Context(), "heard"); err != nil {
		t.Fatal(err)
	}
	p.wait("off, as the machine says", func() bool { return p.paused("heard") })
	p.deploy(6, pack, on(5))
	p.waitResult(6, "active")
	if d, _ := r.atom.Process("heard"); !d.Paused() {
		t.Error("an old word counts again")
	}
	p.deploy(7, pack, on(7))
	p.wait("on again", func() bool { return !p.paused("heard") && p.standing.Switched == 7 })
}

// A rejected generation still pauses triggers, and a rollback does not resume
// them.
func TestSwitchesWithoutTheVersion(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", scheduled), nil)
	p.waitResult(1, "active")
	bad := p.pack("a.yaml", withMistake)
	p.deploy(2, bad, nil)
	p.waitResult(2, "failed")
	p.deploy(3, bad, func(d *wire.Desired) {
		d.Paused, d.SwitchedIn = []string{"nightly"}, map[string]int64{"nightly": 3}
	})
	p.wait("off", func() bool { return p.paused("nightly") && p.standing.Switched == 3 })
	r.stop()
	r = start(t, p, data, r.store, nil)
	p.deploy(4, bad, func(d *wire.Desired) { d.SwitchedIn = map[string]int64{"nightly": 4} })
	p.wait("on", func() bool { return !p.paused("nightly") && p.standing.Switched == 4 })

	p.deploy(5, p.pack("a.yaml", strings.ReplaceAll(scheduled, "log: x", "throw: x")), func(d *wire.Desired) {
		d.Paused, d.SwitchedIn = []string{"nightly"}, map[string]int64{"nightly": 5}
	})
	p.waitResult(5, "active")
	r.agent.deployer.rollback(t.Context(), "orders", "a test says so")
	p.waitResult(5, "rolled_back")
	if d, _ := r.atom.Process("nightly"); !d.Paused() {
		t.Errorf("after a rollback: got nightly resumed: %+v", d.Process)
	}
}

// counting counts the bytes that a server reads.
type counting struct {
	net.Listener
	read atomic.Int64
}

type counted struct {
	net.Conn
	of *counting
}

func (l *counting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return counted{c, l}, err
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.read.Add(int64(n))
	return n, err
}

// An idle atom with fifty triggers sends far fewer than 200 bytes per second at
// a poll every 30 seconds: triggers are sent only when changed or when the
// control plane does not know their digest.
func TestIdleIsSmall(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	p.srv.Close()
	l := &counting{}
	p.srv = httptest.NewUnstartedServer(p)
	l.Listener = p.srv.Listener
	p.srv.Listener = l
	p.srv.Start()
	t.Cleanup(p.srv.Close)
	join(t, p, data)
	start(t, p, data, nil, func(o *Options) { o.Timing.Hold = time.Second })
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "process: listener-%02d\nlisten: { path: /orders/%02d, auth: none }\nsteps:\n  - log: x\n---\n", i, i)
	}
	p.deploy(1, p.pack("a.yaml", strings.TrimSuffix(text.String(), "---\n")), nil)
	p.waitResult(1, "active")
	p.wait("the triggers", func() bool { return len(p.standing.Triggers) == 50 })
	polls := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.polls)
	}
	n := polls()
	p.wait("an idle poll", func() bool { return len(p.polls) > n })
	n, before := polls(), l.read.Load()
	p.wait("idle polls", func() bool { return len(p.polls) >= n+3 })
	each := (l.read.Load() - before) / 3
	t.Logf("an idle poll of an atom with 50 triggers is %d bytes, headers and all", each)
	if each > 30*200/4 {
		t.Errorf("idle poll: got %d bytes, want at most %d", each, 30*200/4)
	}
	p.do(func() { p.standing = wire.TriggerStatus{} }) // the control plane was restarted
	p.wait("being told", func() bool { return len(p.standing.Triggers) == 50 })
}

// Restarting one trigger does not restart the atom.
func TestRestartOneTrigger(t *testing.T) {
	p, _, r := deployed(t)
	p.do(func() {
		p.instructions = append(p.instructions, wire.Instruction{ID: 9, Kind: wire.KindRestart, Process: "one"}, wire.Instruction{ID: 10, Kind: wire.KindRestart, Process: "gone"})
	})
	p.wait("the acknowledgement", func() bool { return len(p.instructions) == 0 })
	select {
	case err := <-r.ended:
		t.Errorf("got the atom stopped: %v, want it running", err)
	default:
	}
}

// The control plane's purge setting limits retention and survives restarts.
func TestPurgeSetting(t *testing.T) {
	p, data, r := deployed(t)
	pack := p.pack("a.yaml", oneProcess)
	kept := func(id int64, request string) time.Duration {
		t.Helper()
		p.execute(id, request, "one")
		seq, at, _ := r.atom.ParseID(p.waitReport(request).Execution)
		x, err := r.store.Get(t.Context(), seq, at)
		if err != nil || x.Outcome == nil {
			t.Fatalf("got %v, %v, want no error, Outcome set", x, err)
		}
		return x.Outcome.Keep
	}
	before := kept(1, "executionrecord-1")
	p.deploy(2, pack, func(d *wire.Desired) { d.PurgeDays = 2 })
	p.waitResult(2, "active")
	if got := kept(2, "executionrecord-2"); got != 48*time.Hour || before <= got {
		t.Errorf("got retention %s, want 48h, less than %s before", got, before)
	}
	r.stop()
	r = start(t, p, data, r.store, nil)
	if got := kept(3, "executionrecord-3"); got != 48*time.Hour {
		t.Errorf("after a restart: got retention %s, want 48h", got)
	}
	p.deploy(3, pack, nil)
	p.waitResult(3, "active")
	if got := kept(4, "executionrecord-4"); got != before {
		t.Errorf("kept for %s", got)
	}
}

// Documents leave the atom only if the environment permits it: the reply of a
// requested execution, or its last document.
func TestDocumentsOnlyIfTheEnvironmentSaysSo(t *testing.T) {
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	start(t, p, data, nil, nil)
	pack := p.pack("a.yaml", "process: one\nsteps:\n  - map: { got: \"${props.n}\" }\n  - for_each: \"${[1, 2]}\"\n    steps:\n      - map: { inner: 1 }\n  - log: x\n")
	p.deploy(1, pack, nil)
	p.waitResult(1, "active")
	p.execute(1, "executionrecord-1", "one")
	if x := p.waitReport("executionrecord-1"); len(x.Document) > 0 {
		t.Errorf("got document %s, want none", x.Document)
	}
	p.deploy(2, pack, func(d *wire.Desired) { d.Policy.SendDocuments = true })
	p.waitResult(2, "active")
	p.execute(2, "executionrecord-2", "one")
	if x := p.waitReport("executionrecord-2"); !strings.Contains(string(x.Document), `{"got":"1"}`) {
		t.Errorf("the document is %s", x.Document)
	}
}
