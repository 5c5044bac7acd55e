package atom_test

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/processes"
	"valence/processes/loader"
)

// system is the other side of the connector "fake". It answers by operation and
// path, and records its calls.
type system struct {
	wall    func() time.Time // clock of the machine; nil: the real one
	log     *slog.Logger     // of the atom; nil: none
	kept    int64            // limit of stored failures; 0: none
	mu      sync.Mutex
	calls   []seen
	answers map[string]func(n int) (*document.Document, error) // by operation and path; n counts from 1
	counts  map[string]int
	block   chan struct{} // not nil: calls wait until it is closed
	blocked chan struct{} // block, after it was unset
	entered chan string   // not nil: receives each call
}

type seen struct{ op, path, body, key, correlation string }

func newSystem() *system {
	return &system{answers: map[string]func(int) (*document.Document, error){}, counts: map[string]int{}}
}

type with struct{ Path string }

func (s *system) connector() *connectors.Connector {
	fields := []spec.Field{spec.Path("path", func(w *with) *string { return &w.Path }, "Where to.")}
	op := func(name string, sends, safe bool) connectors.Operation {
		return connectors.Define(connectors.Operation{Name: name, With: fields, SendsBody: sends, Safe: safe},
			func(ctx context.Context, s caller, w *with, c *connectors.Call) (*connectors.Result, error) {
				return s.call(ctx, name, w.Path, c)
			})
	}
	return &connectors.Connector{
		Name: "fake", NewSettings: func() any { return &struct{}{} },
		Operations: []connectors.Operation{op("get", false, true), op("post", true, false)},
		Open:       func(any, *access.Policy) (connectors.Connection, error) { return s, nil },
	}
}

func (s *system) Close() error { return nil }

// caller is implemented by system and by the fakes that embed it.
type caller interface {
	connectors.Connection
	call(ctx context.Context, op, path string, c *connectors.Call) (*connectors.Result, error)
}

func (s *system) call(ctx context.Context, op, path string, c *connectors.Call) (*connectors.Result, error) {
	body := ""
	if c.Body != nil {
		body = string(c.Body.Body())
	}
	s.mu.Lock()
	where := op + " " + path
	s.calls = append(s.calls, seen{op, path, body, c.IdempotencyKey, c.CorrelationID})
	s.counts[where]++
	n, answer := s.counts[where], s.answers[where]
	block, entered := s.block, s.entered
	s.mu.Unlock()
	if entered != nil {
		entered <- where
	}
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, connectors.Retry(fault.CodeTimeout, "no answer", 0, ctx.Err())
		}
	}
	doc := document.FromJSON([]byte(`{"ok":true}`))
	if answer != nil {
		var err error
		if doc, err = answer(n); err != nil {
			return nil, err
		}
	}
	return &connectors.Result{Doc: doc, Status: 200, Headers: http.Header{}}, nil
}

func (s *system) seen() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.calls...)
}

func (s *system) paths() []string {
	var p []string
	for _, c := range s.seen() {
		p = append(p, c.op+" "+c.path)
	}
	return p
}

func json(text string) func(int) (*document.Document, error) {
	return func(int) (*document.Document, error) { return document.FromJSON([]byte(text)), nil }
}

func failing(times int, f func() *fault.Failure, then string) func(int) (*document.Document, error) {
	return func(n int) (*document.Document, error) {
		if n <= times {
			return nil, f()
		}
		return document.FromJSON([]byte(then)), nil
	}
}

func down() *fault.Failure { return connectors.Retry(fault.CodeConnect, "connection refused", 0, nil) }

func refused() *fault.Failure {
	return &fault.Failure{Code: fault.CodeStatus, Source: fault.FromConnector, Status: 422, Message: "422", Body: []byte(`{"why":"bad"}`)}
}

// rig is an atom on a store with a project deployed.
type rig struct {
	t     *testing.T
	atom  *atom.Atom
	store store.Store
	sys   *system
	stop  func()
}

const connection = "---\nconnection: sys\nconnector: fake\n"

// start deploys a project and runs it on a store; a nil store is a new one in memory.
func start(t *testing.T, sys *system, store store.Store, yaml string) *rig {
	t.Helper()
	return startAll(t, sys, store, yaml+connection)
}

// startAll is start for a project that declares its connections.
func startAll(t *testing.T, sys *system, store store.Store, yaml string) *rig {
	t.Helper()
	return startConnector(t, sys, sys.connector(), store, yaml)
}

// startWith is start with another connector named fake.
func startWith(t *testing.T, sys *system, c *connectors.Connector, store store.Store, yaml string) *rig {
	t.Helper()
	return startConnector(t, sys, c, store, yaml+connection)
}

func startConnector(t *testing.T, sys *system, c *connectors.Connector, store store.Store, yaml string, prepare ...func(*atom.Atom)) *rig {
	t.Helper()
	if store == nil {
		store = storetest.NewStore()
	}
	registry := connectors.Registry{"fake": c}
	files := []processes.File{{Name: "p.yaml", Content: []byte(yaml)}}
	project, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: registry})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	a := atom.New(atom.Options{Store: store, Connectors: registry, Key: make([]byte, 32), Grace: time.Second, Wall: sys.wall, Log: sys.log, KeptFailures: sys.kept})
	for _, f := range prepare {
		f(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	var both sync.WaitGroup
	storeDone, atomDone := make(chan struct{}), make(chan struct{})
	both.Add(2)
	go func() { defer both.Done(); defer close(storeDone); store.Run(storeCtx) }()
	if err := a.Deploy(ctx, atom.Release{Project: project, Files: files, Env: map[string]string{"PLACE": "test"}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer both.Done()
		defer close(atomDone)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := &rig{t: t, atom: a, store: store, sys: sys}
	for a.Ready() != nil {
		select {
		case <-time.After(time.Millisecond):
		case <-atomDone:
			t.Fatal("the atom ended at once")
		}
	}
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			<-atomDone
			stopStore()
			both.Wait()
		})
	}
	t.Cleanup(r.stop)
	return r
}

func arrival(body string) *atom.Message {
	return &atom.Message{Doc: document.FromJSON([]byte(body)), Received: time.Now().UTC().Truncate(time.Millisecond), CorrelationID: "c-1",
		Request: &atom.Request{Method: "POST", Path: "/x", Header: http.Header{"X-Event-Id": {"e-1"}}}}
}

func (r *rig) process(name string) *atom.DeployedProcess {
	r.t.Helper()
	d, ok := r.atom.Process(name)
	if !ok {
		r.t.Fatalf("there is no process %s", name)
	}
	return d
}

func (r *rig) accept(name, body string) *atom.Acknowledgement {
	r.t.Helper()
	ack, err := r.atom.Accept(context.Background(), r.process(name), arrival(body))
	if err != nil {
		r.t.Fatal(err)
	}
	return ack
}

// ended waits until an execution has ended and returns it.
func (r *rig) ended(id string) *atom.ExecutionView {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		v, err := r.atom.Show(context.Background(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		if v.EndedAt != nil {
			return v
		}
		<-time.After(2 * time.Millisecond)
	}
	v, _ := r.atom.Show(context.Background(), id)
	r.t.Fatalf("it does not end: %s %s, %d steps", v.Status, v.Reason, len(v.Steps))
	return nil
}
