// Package dataplane serves the HTTP listeners of deployed processes. It
// converts requests to messages for the atom, and the results to replies,
// receipts and problem documents.
//
// A request passes limits, authentication and parsing here, in this order.
// Profile validation, filter, deduplication and commit follow in the atom. A
// rejected request leaves nothing in the store.
package dataplane

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
	"valence/internal/blob"
	"valence/internal/budget"
	"valence/internal/document"
	"valence/internal/drain"
	"valence/internal/fault"
	"valence/internal/metrics"
	"valence/internal/servercert"
)

// Atom runs the messages of requests.
type Atom interface {
	// Request runs a request/reply process and returns its reply. If it fails, a non-nil reply
	// identifies the failed execution.
	Request(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Reply, error)
	// Accept stores a message for a fire-and-forget process.
	Accept(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Acknowledgement, error)
	// Follow returns the progress of an execution to the principal that sent the message and to the
	// bearer of its reply token. For all others it returns store.ErrUnknown.
	Follow(ctx context.Context, id, principal, token string) (*atom.Progress, error)
	Replies
	Callbacks
}

// Callbacks ends waits.
type Callbacks interface {
	// KnowsCallback reports whether this atom issued the token.
	KnowsCallback(token string) bool
	// DeliverCallback ends the wait of a token. It returns store.ErrUnknown for unknown tokens and
	// store.ErrEnded for waits that are over. repeated means that the wait had already ended and
	// nothing changed.
	DeliverCallback(ctx context.Context, token string, doc *document.Document) (repeated bool, err error)
}

// Replies accepts messages with deferred replies and follows them.
type Replies interface {
	// AcceptDeferred accepts a message whose reply is collected later. Without an acknowledgement
	// it returns the reply to an earlier message with the same key.
	AcceptDeferred(ctx context.Context, d *atom.DeployedProcess, in *atom.Message) (*atom.Acknowledgement, *atom.Reply, error)
	// Events returns the events of an execution after a position, the position after them, and
	// whether it has ended. Access is as for Follow.
	Events(ctx context.Context, id, principal, token string, at atom.EventPosition) ([]atom.Event, atom.EventPosition, bool, error)
	// Cancel cancels an execution. It returns store.ErrEnded if the execution has ended.
	Cancel(ctx context.Context, id string) error
	// Watch returns a watch that signals changes of an execution.
	Watch(id string) *atom.Watch
	// Members returns the number of members of the group that share the limits of listeners.
	Members() int
}

// Options configure a Server. Only Atom is required.
type Options struct {
	Atom    Atom
	Address string       // "" is 127.0.0.1:9090
	Ready   func() error // returns nil while messages are accepted; nil: always ready
	Log     *slog.Logger
	Metrics *metrics.Metrics
	TLS     *servercert.Certificate // nil: plain HTTP

	// PublicURL is the base of the addresses in WSDLs; "" is the host of the request.
	PublicURL string

	Blobs  blob.Store   // stores large files in bodies; nil: they are held in memory
	Memory *budget.Pool // limits the bodies of all requests; nil: no limit

	// MaxConnections limits the open connections; further ones wait. 0: no limit.
	MaxConnections int

	// MaxConnectionsPerAddress limits the open connections of one client address;
	// further ones are closed. 0: no limit.
	MaxConnectionsPerAddress int

	Access      *slog.Logger // one line per request; nil: none
	AccessEvery int          // log every n-th successful request; 0 is 1

	Grace time.Duration // time for requests to finish when stopping; 0: 20 s
	Lag   time.Duration // time during which /readyz fails before connections are refused
}

// The limits on slow clients. A body must arrive within bodyTimeout, or
// longer if it arrives at minBodyRate.
const (
	bodyTimeout     = 20 * time.Second // headers and body together; also headers alone
	minBodyRate     = 16 << 10         // bytes per second
	responseTimeout = 2 * time.Minute
	idleTimeout     = 2 * time.Minute
	maxHeaderBytes  = 64 << 10
)

// Server serves the HTTP listeners.
type Server struct {
	options     Options
	log         *slog.Logger
	routes      atomic.Pointer[routeTable]
	deploy      sync.Mutex // serializes Deploy
	certificate *servercert.Certificate

	wantsClientCert atomic.Bool             // a listener requires client certificates
	unknown         *metrics.ProcessMetrics // of requests without a listener
	served          atomic.Uint64
	lifecycle

	mu       sync.Mutex
	listener net.Listener
}

// lifecycle is the state of draining: requests end, and streams and
// held requests are cut short.
type lifecycle struct {
	ready     atomic.Bool // Ready has returned nil once
	draining  atomic.Bool
	closing   atomic.Bool   // the last handler signals idle
	stopped   chan struct{} // closed when draining begins
	inFlight  atomic.Int64
	idle      chan struct{}
	followers atomic.Int64 // streams and held requests
}

// New returns a Server. It opens nothing until Listen or Run is called.
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
	s := &Server{options: o, log: o.Log, unknown: o.Metrics.Process(""), lifecycle: lifecycle{idle: make(chan struct{}, 1), stopped: make(chan struct{})}, certificate: o.TLS}
	return s
}

// Listen opens the address so that Addr is known and errors appear before Run.
// Connections wait until Run is called.
func (s *Server) Listen(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.options.Address)
	if err != nil {
		return fmt.Errorf("listen for requests: %w", err)
	}
	s.listener = limitConnections(l, s.options.MaxConnections, s.options.MaxConnectionsPerAddress,
		&refusals{log: s.log, metrics: s.options.Metrics, share: s.options.MaxConnectionsPerAddress})
	return nil
}

// Addr returns the listening address, or "" before Listen.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// lastAnswers is the time for the responses of requests that the end of the
// grace period cancelled.
const lastAnswers = 5 * time.Second

// errStopped cancels requests that exceed the grace period.
var errStopped error = &fault.Failure{Code: fault.CodeCancelled, Source: fault.FromAtom, Message: "the atom stopped before the process had replied"}

// Run serves until ctx ends, then drains: /readyz fails at once, new
// connections are refused after the lag, and requests in flight have the grace
// period to finish. The rest is cancelled and answered 503.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(ctx); err != nil {
		return err
	}
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	server := &http.Server{
		Handler:                      drain.Handler(s),
		ReadHeaderTimeout:            bodyTimeout,
		ReadTimeout:                  bodyTimeout,
		WriteTimeout:                 responseTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return work },
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() {
		if s.certificate == nil {
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
		s.log.Warn("requests aborted: grace period exceeded", "grace", s.options.Grace)
		stop(errStopped)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
		defer cancel()
		if err = server.Shutdown(last); errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
	}
	<-served
	s.closing.Store(true)
	for s.inFlight.Load() > 0 { // handlers of closed connections
		<-s.idle
	}
	return err
}

// ServeHTTP serves one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.inFlight.Add(1)
	defer s.done()
	req := &request{server: s, w: w, r: r, start: time.Now()}
	req.arrived = req.start
	req.memory.Open(s.options.Memory)
	defer req.finish()
	req.serve()
}

func (s *Server) done() {
	if s.inFlight.Add(-1) == 0 && s.closing.Load() {
		select {
		case s.idle <- struct{}{}:
		default:
		}
	}
}

// currentRoutes returns the deployed listeners, or an error until the atom has
// been ready once.
func (s *Server) currentRoutes() (*routeTable, error) {
	t := s.routes.Load()
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
