package dataplane

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
	"valence/internal/metrics"
	"valence/processes"
)

// fake is an atom that accepts and records everything unless configured
// otherwise.
type fake struct {
	mu       sync.Mutex
	arrived  []*atom.Message
	contexts []context.Context

	request  func(ctx context.Context, in *atom.Message) (*atom.Reply, error)
	accept   func(ctx context.Context, in *atom.Message) (*atom.Acknowledgement, error)
	put      func(ctx context.Context, in *atom.Message) (*atom.Acknowledgement, *atom.Reply, error)
	events   func(id, after string) ([]atom.Event, bool, error)
	watch    chan struct{}
	members  int // 0: 1
	follow   func(id, principal, token string) (*atom.Progress, error)
	callBack func(token string, doc *document.Document) (bool, error)
	cancel   func(id string) error
}

func (f *fake) keep(ctx context.Context, in *atom.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arrived, f.contexts = append(f.arrived, in), append(f.contexts, ctx)
}

func (f *fake) last() *atom.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.arrived) == 0 {
		return nil
	}
	return f.arrived[len(f.arrived)-1]
}

func (f *fake) Request(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Reply, error) {
	f.keep(ctx, in)
	if f.request != nil {
		return f.request(ctx, in)
	}
	return &atom.Reply{Execution: "x1", Doc: in.Doc}, nil
}

func (f *fake) Accept(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Acknowledgement, error) {
	f.keep(ctx, in)
	if f.accept != nil {
		return f.accept(ctx, in)
	}
	return &atom.Acknowledgement{Execution: "x1", Process: d.Process.Name, Status: "accepted", ReceivedAt: in.Received, SHA256: in.SHA256,
		Location: "/executions/x1", ReplyToken: "secret", CorrelationID: in.CorrelationID}, nil
}

func (f *fake) Follow(_ context.Context, id, principal, token string) (*atom.Progress, error) {
	if f.follow == nil {
		return nil, store.ErrUnknown
	}
	return f.follow(id, principal, token)
}

func (f *fake) AcceptDeferred(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Acknowledgement, *atom.Reply, error) {
	f.keep(ctx, in)
	if f.put != nil {
		return f.put(ctx, in)
	}
	return &atom.Acknowledgement{Execution: "x1", Process: d.Process.Name, Status: "accepted", ReceivedAt: in.Received, SHA256: in.SHA256,
		Location: "/executions/x1", ReplyToken: "secret", CorrelationID: in.CorrelationID}, nil, nil
}

func (f *fake) Events(_ context.Context, id, _, _ string, at atom.EventPosition) ([]atom.Event, atom.EventPosition, bool, error) {
	list, over, err := f.events(id, at.After)
	if len(list) > 0 {
		at.After = list[len(list)-1].ID
	}
	return list, at, over, err
}

func (f *fake) Cancel(_ context.Context, id string) error {
	if f.cancel == nil {
		return nil
	}
	return f.cancel(id)
}

func (f *fake) Watch(string) *atom.Watch { return &atom.Watch{C: f.watch} }

func (f *fake) Members() int { return max(f.members, 1) }

func (f *fake) KnowsCallback(token string) bool { return token != "made-up" }

func (f *fake) DeliverCallback(_ context.Context, token string, doc *document.Document) (bool, error) {
	return f.callBack(token, doc)
}

// on returns a process with a listener, modified by the given functions.
func on(path string, change ...func(*atom.DeployedProcess)) *atom.DeployedProcess {
	name := strings.Trim(strings.NewReplacer("/", "-", "{", "", "}", "").Replace(path), "-")
	d := &atom.DeployedProcess{Process: &processes.Process{Name: name, Listen: &processes.Listen{
		Path: path, Methods: []string{"POST"}, Input: "json", Auth: "none", Limits: processes.Limits{Body: 1 << 20},
	}}}
	for _, c := range change {
		c(d)
	}
	return d
}

func takesAs(input string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) { d.Process.Listen.Input = input }
}

func inCharset(charset string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) { d.Process.Listen.Charset = charset }
}

func replies(output string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) {
		d.Process.Listen.Output, d.Process.Listen.Timeout = output, 30*time.Second
	}
}

func methods(m ...string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) { d.Process.Listen.Methods = m }
}

func limited(l processes.Limits) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) { d.Process.Listen.Limits = l }
}

func guarded(name, scheme string, settings map[string]any) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) {
		d.Process.Listen.Auth, d.Auth, d.AuthSettings = name, &processes.Auth{Name: name, Scheme: scheme}, settings
	}
}

func serve(t testing.TB, f *fake, deployed ...*atom.DeployedProcess) *Server {
	t.Helper()
	s := New(Options{Atom: f, Metrics: metrics.New(), Log: slog.New(slog.NewTextHandler(logs{t}, nil))})
	s.Deploy(deployed)
	return s
}

// logs writes a server's log to the test's log.
type logs struct{ t testing.TB }

func (l logs) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// send serves one request in memory. Headers are name, value, name, value.
func send(s *Server, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	var r *http.Request
	if body == "" {
		r = httptest.NewRequest(method, target, nil)
	} else {
		r = httptest.NewRequest(method, target, bytes.NewReader([]byte(body)))
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func data(d *document.Document) string {
	if d == nil {
		return "no document"
	}
	return d.Data()
}

// pipes is a listener with in-memory connections, for tests of slow clients in
// a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

// spawn runs a client concurrently; the test waits for it.
func (p *pipes) spawn(f func()) { p.wg.Go(f) }

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// running serves on pipes until stop is called, which returns the result of
// Run.
func running(s *Server) (p *pipes, stop func() error) {
	p = newPipes()
	s.listener = p
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return p, func() error {
		cancel()
		err := <-done
		p.wg.Wait()
		return err
	}
}
