// Package listener is the data plane: the web server through which messages
// arrive. It turns requests into arrivals for the atom, and what the atom
// answers into replies, receipts and problem documents.
//
// A request passes limits, authentication and parsing here, in this order;
// profile, filter, dedupe and commit follow in the atom. Whatever is refused
// is refused before anything of it is stored.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/metrics"
)

// Atom is what runs the messages that arrive.
type Atom interface {
	// Request runs a request/reply process and gives its reply. With an
	// error, a reply that is not nil names the execution that failed.
	Request(ctx context.Context, d *atom.Deployed, in *atom.Arrival) (*atom.Reply, error)
	// Accept stores a message for a fire-and-forget process.
	Accept(ctx context.Context, d *atom.Deployed, in *atom.Arrival) (*atom.Acknowledgement, error)
	// Follow tells how far an execution is, to the principal that sent the
	// message and to the bearer of its reply token; atom.ErrUnknown to all others.
	Follow(ctx context.Context, id, principal, token string) (*atom.Progress, error)
	Replies
	Callbacks
}

// Callbacks is what ending waits takes.
type Callbacks interface {
	// KnowsCallback tells a callback's token from one that was made up.
	KnowsCallback(token string) bool
	// CallBack ends the wait of a token: atom.ErrUnknown, or atom.ErrEnded
	// where it is over. repeated: it has ended before, and nothing has changed.
	CallBack(ctx context.Context, token string, doc *document.Document) (repeated bool, err error)
}

// Replies is what collecting a reply later takes.
type Replies interface {
	// Defer takes a message on whose reply is collected later. Without an
	// acknowledgement, it gives the reply to an earlier request of the same key.
	Defer(ctx context.Context, d *atom.Deployed, in *atom.Arrival) (*atom.Acknowledgement, *atom.Reply, error)
	// Events gives what happened to an execution after an event, and whether
	// it has ended. Access is Follow's.
	Events(ctx context.Context, id, principal, token, after string) ([]atom.Event, bool, error)
	// Cancel ends an execution whose caller does not wait for it any more;
	// atom.ErrEnded if it has ended.
	Cancel(ctx context.Context, id string) error
	// Watch tells when to look again.
	Watch(id string) *atom.Watch
}

// Options configure a Server. Only Atom is needed.
type Options struct {
	Atom    Atom
	Address string       // "" is 127.0.0.1:9090
	Ready   func() error // nil once work is taken; nil function: always
	Log     *slog.Logger
	Metrics *metrics.Metrics
	TLS     *Certificate // nil: plain HTTP

	// MaxConnections bounds the connections that are open at once; those beyond
	// it wait. 0: no bound.
	MaxConnections int

	Access      *slog.Logger // one line per request; nil: none
	AccessEvery int          // only every n-th request that succeeded is logged; 0 is 1

	Grace time.Duration // how long requests may take to finish after a stop; 0: 20 s
	Lag   time.Duration // how long /readyz fails before connections are refused
}

// The bounds on slow clients. A body may take bodyTime, and longer only while
// it arrives at bodyRate.
const (
	bodyTime    = 20 * time.Second // headers and body; also headers alone
	bodyRate    = 16 << 10         // bytes a second
	writeTime   = 2 * time.Minute
	idleTime    = 2 * time.Minute
	headerBytes = 64 << 10
)

// Server is the data plane's web server.
type Server struct {
	options Options
	log     *slog.Logger
	table   atomic.Pointer[table]
	deploy  sync.Mutex // one Deploy at a time
	cert    *reloader

	ready    atomic.Bool // Ready has succeeded once
	draining atomic.Bool
	wantCert atomic.Bool // a listener asks for client certificates
	served   atomic.Uint64
	underWay atomic.Int64
	closing  atomic.Bool // whoever is last says so on idle
	idle     chan struct{}

	followers atomic.Int64  // streams and held requests
	stopped   chan struct{} // closed when draining begins

	unknown *metrics.ProcessMetrics // requests that match no listener

	mu       sync.Mutex
	listener net.Listener
}

// New makes a server. It listens to nothing before Listen or Run.
func New(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Address == "" {
		o.Address = "127.0.0.1:9090"
	}
	if o.Grace == 0 {
		o.Grace = 20 * time.Second
	}
	s := &Server{options: o, log: o.Log, unknown: o.Metrics.Process(""), idle: make(chan struct{}, 1), stopped: make(chan struct{})}
	if o.TLS != nil {
		s.cert = &reloader{files: *o.TLS, log: o.Log}
	}
	return s
}

// Listen opens the address, so that Addr is known and errors are seen before
// Run. Connections wait until Run.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	if s.cert != nil {
		if _, err := s.cert.current(); err != nil {
			return fmt.Errorf("load the certificate: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.options.Address)
	if err != nil {
		return fmt.Errorf("listen for requests: %w", err)
	}
	s.listener = bound(l, s.options.MaxConnections)
	return nil
}

// Addr is the address that is listened to, "" before Listen.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends and then drains: /readyz fails at once, after the
// lag no connection is accepted, and requests that are under way have the
// grace to finish.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            bodyTime,
		ReadTimeout:                  bodyTime,
		WriteTimeout:                 writeTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               headerBytes,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return work },
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		if s.cert == nil {
			served <- server.Serve(s.listener)
			return
		}
		server.TLSConfig = s.tlsConfig()
		served <- server.ServeTLS(s.listener, "", "")
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve requests: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	close(s.stopped)
	if s.options.Lag > 0 {
		select {
		case err := <-served:
			return fmt.Errorf("serve requests: %w", err)
		case <-time.After(s.options.Lag):
		}
	}
	grace, cancel := context.WithTimeout(work, s.options.Grace)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("requests were cut off: they did not finish within the grace", "grace", s.options.Grace)
		stop()
		err = server.Close()
	}
	<-served
	s.closing.Store(true)
	for s.underWay.Load() > 0 { // handlers whose connections were cut off
		<-s.idle
	}
	return err
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.underWay.Add(1)
	defer s.left()
	x := &exchange{server: s, w: w, r: r, start: time.Now()}
	defer x.finish()
	x.serve()
}

func (s *Server) left() {
	if s.underWay.Add(-1) == 0 && s.closing.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// open reports whether messages are taken yet: never 200 while starting.
func (s *Server) open() (*table, error) {
	t := s.table.Load()
	if t == nil {
		return nil, errStarting
	}
	if !s.ready.Load() {
		if s.options.Ready != nil {
			if err := s.options.Ready(); err != nil {
				return nil, err
			}
		}
		s.ready.Store(true)
	}
	return t, nil
}

var errStarting = errors.New("starting")
