package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/atom/steps"
	"valence/atom/store/storetest"
	"valence/internal/access"
	"valence/internal/wire"
	"valence/processes"
)

// plane is a minimal control plane for one atom.
type plane struct {
	t   *testing.T
	srv *httptest.Server

	mu           sync.Mutex
	key          ed25519.PublicKey
	sealKey      []byte
	epoch        string
	window       wire.Window
	token        string
	instructions []wire.Instruction
	desired      *wire.Desired
	packages     map[string][]byte
	polls        []wire.PollRequest
	beat         *wire.Heartbeat          // the newest
	logs         map[int64][]wire.LogLine // by request
	standing     wire.TriggerStatus       // as sent last
	reports      []wire.ExecutionReport
	results      []wire.DeploymentReport
	answered     int
	meddle       func(w http.ResponseWriter, r *http.Request) bool // true: it has responded
	changed      chan struct{}
}

func newPlane(t *testing.T) *plane {
	p := &plane{t: t, epoch: "e1", token: "once", packages: map[string][]byte{}, logs: map[int64][]wire.LogLine{}, changed: make(chan struct{})}
	p.srv = httptest.NewServer(p)
	t.Cleanup(p.srv.Close)
	return p
}

// do changes the control plane and wakes held polls.
func (p *plane) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

func refuse(w http.ResponseWriter, status int, r wire.ErrorResponse) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(r)
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	meddle := p.meddle
	p.mu.Unlock()
	if meddle != nil && meddle(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == wire.PathEnroll {
		p.enrol(w, body)
		return
	}
	claim, err := wire.ReadSignatureHeaders(r)
	p.mu.Lock()
	if err == nil {
		err = wire.Verify(r, body, p.key)
	}
	switch {
	case err != nil || claim.Atom != "atom-1":
		refuse(w, 401, wire.ErrorResponse{Code: "bad_signature", Error: "the signature is not right"})
	case claim.Epoch != p.epoch:
		refuse(w, 401, wire.ErrorResponse{Code: "wrong_epoch", Epoch: p.epoch})
	case p.window.Admit(claim.Counter) != nil:
		refuse(w, 401, wire.ErrorResponse{Code: "replayed"})
	default:
		p.mu.Unlock()
		p.serve(w, r, body)
		return
	}
	p.mu.Unlock()
}

func (p *plane) enrol(w http.ResponseWriter, body []byte) {
	var e wire.EnrollRequest
	json.Unmarshal(body, &e)
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Token != p.token || !ed25519.Verify(e.Key, e.SealKey, e.SealSignature) {
		refuse(w, 401, wire.ErrorResponse{Code: "unknown_token", Error: "the token was used, or has expired"})
		return
	}
	p.token, p.key, p.sealKey = "", e.Key, e.SealKey
	json.NewEncoder(w).Encode(wire.EnrollResponse{Atom: "atom-1", Account: "default", Environment: "prod"})
}

func (p *plane) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	switch {
	case r.URL.Path == wire.PathPoll:
		var in wire.PollRequest
		json.Unmarshal(body, &in)
		p.answer(w, r, in)
	case r.URL.Path == wire.PathReports:
		var in wire.Reports
		json.Unmarshal(body, &in)
		p.do(func() {
			if in.LogsFor != 0 {
				p.logs[in.LogsFor] = in.Logs
			}
			p.reports = append(p.reports, in.Executions...)
			p.results = append(p.results, in.Deployments...)
			if in.Heartbeat != nil {
				p.beat, p.standing = in.Heartbeat, in.Heartbeat.TriggerStatus
			}
		})
		io.WriteString(w, "{}")
	default:
		p.mu.Lock()
		content, ok := p.packages[strings.TrimPrefix(r.URL.Path, wire.PathPackages)]
		p.mu.Unlock()
		if !ok {
			refuse(w, 404, wire.ErrorResponse{Code: "unknown"})
			return
		}
		w.Header().Set("Content-Type", wire.PackageMediaType)
		w.Write(content)
	}
}

func (p *plane) answer(w http.ResponseWriter, r *http.Request, in wire.PollRequest) {
	p.mu.Lock()
	p.polls, p.beat = append(p.polls, in), &in.Heartbeat
	tell := in.Heartbeat.Digest != "" && len(in.Heartbeat.Triggers) == 0 && in.Heartbeat.Digest != p.standing.Digest
	if len(in.Heartbeat.Triggers) > 0 {
		p.standing = in.Heartbeat.TriggerStatus
	}
	for _, id := range in.Ack {
		for i, m := range p.instructions {
			if m.ID == id {
				p.instructions = append(p.instructions[:i:i], p.instructions[i+1:]...)
				break
			}
		}
	}
	p.mu.Unlock()
	end := time.After(time.Duration(in.Wait) * time.Second)
	for {
		p.mu.Lock()
		out, changed := wire.PollResponse{Instructions: p.instructions}, p.changed
		if p.desired != nil && p.desired.Generation > in.Generation {
			out.Desired = p.desired
		}
		p.mu.Unlock()
		out.SendTriggers = tell
		ready := tell || len(out.Instructions) > 0 || out.Desired != nil
		if !ready {
			select {
			case <-changed:
				continue
			case <-end:
			case <-r.Context().Done():
				return
			}
		}
		p.mu.Lock()
		p.answered++
		p.mu.Unlock()
		json.NewEncoder(w).Encode(out)
		return
	}
}

// wait blocks until the condition holds.
func (p *plane) wait(what string, so func() bool) {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		p.mu.Lock()
		yes, changed := so(), p.changed
		p.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.t.Fatalf("%s: did not happen; reports %+v, results %+v, %d polls, instructions %+v", what, p.reports, p.results, len(p.polls), p.instructions)
		}
	}
}

func (p *plane) report(request string) *wire.ExecutionReport {
	for i := range p.reports {
		if r := &p.reports[i]; r.Request == request && r.Status != "running" && r.Status != "accepted" {
			return r
		}
	}
	return nil
}

func (p *plane) waitReport(request string) wire.ExecutionReport {
	p.t.Helper()
	var r wire.ExecutionReport
	p.wait("the report of "+request, func() bool {
		if found := p.report(request); found != nil {
			r = *found
			return true
		}
		return false
	})
	return r
}

func (p *plane) waitResult(generation int64, state string) wire.DeploymentReport {
	p.t.Helper()
	var r wire.DeploymentReport
	p.wait(state, func() bool {
		for _, x := range p.results {
			if x.Generation == generation && x.State == state {
				r = x
				return true
			}
		}
		return false
	})
	return r
}

// pack creates and stores a package.
func (p *plane) pack(files ...string) string {
	var list []wire.PackageFile
	for i := 0; i < len(files); i += 2 {
		list = append(list, wire.PackageFile{Name: files[i], Content: []byte(files[i+1])})
	}
	archive, err := wire.Pack(list)
	if err != nil {
		p.t.Fatal(err)
	}
	id := wire.PackageID(archive)
	p.mu.Lock()
	p.packages[id] = archive
	p.mu.Unlock()
	return id
}

// deploy creates a generation with a package of the project "orders".
func (p *plane) deploy(generation int64, pack string, change func(*wire.Desired)) {
	d := &wire.Desired{Generation: generation, Environment: "prod"}
	if pack != "" {
		d.Deployments = []wire.Deployment{{ID: "d", Package: pack, Project: "orders", Version: "1"}}
	}
	if change != nil {
		change(d)
	}
	p.do(func() { p.desired = d })
}

func (p *plane) execute(id int64, request, process string) {
	p.do(func() {
		p.instructions = append(p.instructions, wire.Instruction{ID: id, Kind: wire.KindExecute, Execute: &wire.Execute{Request: request, Process: process, Props: json.RawMessage(`{"n":"1"}`)}})
	})
}

// rig is an atom with an agent.
type rig struct {
	t     *testing.T
	plane *plane
	data  string
	store *storetest.Store
	atom  *atom.Atom
	agent *Agent
	ended chan error
	stop  func()
}

func join(t *testing.T, p *plane, data string, publishers ...string) *cloudclient.Identity {
	t.Helper()
	id, err := cloudclient.NewIdentity(p.srv.URL, "edge-01", "", publishers)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Enroll(context.Background(), "once", "test", "here"); err != nil {
		t.Fatal(err)
	}
	if err := id.Save(data); err != nil {
		t.Fatal(err)
	}
	return id
}

func machine(need processes.Need, e *processes.Environment, _ *access.Policy) (string, string) {
	if e != nil && e.Values[need.Name] != "" {
		return e.Values[need.Name], ""
	}
	if v := os.Getenv("AGENTTEST_" + need.Name); v != "" {
		return v, ""
	}
	return "", "the variable is not set"
}

// start runs an atom with an agent on a data folder.
func start(t *testing.T, p *plane, data string, store *storetest.Store, change func(*Options)) *rig {
	t.Helper()
	id, err := cloudclient.LoadIdentity(data)
	if err != nil {
		t.Fatal(err)
	}
	if store == nil {
		store = storetest.NewStore()
	}
	catalog := &processes.Catalog{Steps: steps.Kinds()}
	r := &rig{t: t, plane: p, data: data, store: store, ended: make(chan error, 1)}
	r.atom = atom.New(atom.Options{Store: store, Key: make([]byte, 32), Grace: time.Second})
	o := Options{Identity: id, Data: data, Atom: r.atom, Catalog: catalog, Value: machine, Version: "test",
		Timing: Timing{Hold: 2 * time.Second, ShortPoll: 50 * time.Millisecond, MinBackoff: 10 * time.Millisecond, MaxBackoff: 100 * time.Millisecond, Batch: 10 * time.Millisecond}}
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if change != nil {
		change(&o)
	}
	if r.agent, err = Open(o); err != nil {
		t.Fatal(err)
	}
	parts := []func(context.Context) error{store.Run, r.agent.RunSpool}
	var stops []func()
	run := func(f func(context.Context) error, done func(error)) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); done(f(ctx)) }()
		stops = append(stops, func() { cancel(); <-ended })
	}
	for _, f := range parts {
		run(f, func(error) {})
	}
	if err := r.agent.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	run(r.agent.Run, func(err error) { r.ended <- err })
	run(r.atom.Run, func(error) {})
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			for i := len(stops) - 1; i >= 0; i-- {
				stops[i]()
			}
			if err := r.agent.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

// deployed returns an atom that has joined and runs oneProcess as generation 1.
func deployed(t *testing.T) (*plane, string, *rig) {
	t.Helper()
	p, data := newPlane(t), t.TempDir()
	join(t, p, data)
	r := start(t, p, data, nil, nil)
	p.deploy(1, p.pack("a.yaml", oneProcess), nil)
	p.waitResult(1, "active")
	return p, data, r
}

func (r *rig) has(process string) bool {
	_, ok := r.atom.Process(process)
	return ok
}

func randomKey(t *testing.T) (string, ed25519.PrivateKey) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return wire.FormatKey(pub), key
}
