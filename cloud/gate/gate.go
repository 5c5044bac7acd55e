// Package gate serves the requests of atoms to a control plane: enrollment,
// polls, reports and packages. It verifies signatures and rejects replays.
// Package cloud decides the response.
package gate

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"valence/cloud"
	"valence/internal/metrics"
	"valence/internal/wire"
)

// Options of a gate.
type Options struct {
	Log     *slog.Logger
	Metrics *metrics.Cloud
	// Hold is the longest a poll is held; 0 is 30 s.
	Hold time.Duration
	// Queue is the number of requests that may wait for verification before
	// others are refused; 0 is 20,000. Waiting costs no more than a held poll.
	Queue int
}

// Gate serves the requests of atoms. Its server must call Link and Unlink, so
// that the gate notices lost connections.
type Gate struct {
	o       Options
	log     *slog.Logger
	mux     *http.ServeMux
	atoms   identities
	mail    mailboxes
	records reports
	cluster cluster

	epoch    string // identifies this start: counters of earlier epochs are void
	verifier verifyLimiter
	peers    peers
	links    sync.Map // net.Conn to *link
	held     atomic.Int64

	closing chan struct{}
	closed  sync.Once
}

// Defaults of Options.
const (
	DefaultHold  = 30 * time.Second
	DefaultQueue = 20_000
)

// New returns a gate for a control plane.
func New(s *cloud.Service, o Options) *Gate {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Hold == 0 {
		o.Hold = DefaultHold
	}
	if o.Queue == 0 {
		o.Queue = DefaultQueue
	}
	var b [18]byte
	rand.Read(b[:]) // never fails: crypto/rand
	g := &Gate{
		o: o, log: o.Log, mux: http.NewServeMux(), atoms: s.AtomAPI, mail: s.AtomAPI, records: s.AtomAPI, cluster: s.Cluster,
		epoch:    base64.RawURLEncoding.EncodeToString(b[:]),
		verifier: verifyLimiter{slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), queue: int64(o.Queue)}, closing: make(chan struct{}),
	}
	g.peers.exists = func(atom string) bool { _, known := g.atoms.Peer(atom); return known }
	s.Cluster.SetPresence(presence{g})
	g.mux.HandleFunc("POST "+wire.PathEnroll, g.enroll)
	g.mux.HandleFunc("POST "+wire.PathPoll, g.authenticated(maxPoll, g.poll))
	g.mux.HandleFunc("POST "+wire.PathReports, g.authenticated(maxReports, g.reports))
	g.mux.HandleFunc("GET "+wire.PathPackages+"{sha}", g.authenticated(0, g.servePackage))
	return g
}

// Close ends held polls. Later polls return at once.
func (g *Gate) Close() { g.closed.Do(func() { close(g.closing) }) }

// Limits of requests, in bytes.
const (
	maxEnrol    = 64 << 10
	maxPoll     = 1 << 20
	maxInstance = 200
	maxReports  = 8 << 20 // a batch of records, or a log
	readTime    = 30 * time.Second
	writeTime   = time.Minute
)

// ServeHTTP serves a request of an atom.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	g.mux.ServeHTTP(w, r)
}

// link is a client connection.
type link struct {
	closing chan struct{}
	// unconfirmed is the atom that received instructions on this connection and has
	// not sent a request on it since. They may be lost.
	unconfirmed atomic.Pointer[string]
}

// setUnconfirmed records that instructions were sent to an atom; "" means that they
// arrived.
func (l *link) setUnconfirmed(atom string) {
	switch {
	case l == nil:
	case atom == "":
		l.unconfirmed.Store(nil)
	default:
		l.unconfirmed.Store(&atom)
	}
}

func (l *link) closed() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

type linkKey struct{}

// Link is a callback for http.Server.ConnContext.
func (g *Gate) Link(ctx context.Context, c net.Conn) context.Context {
	l := &link{closing: make(chan struct{})}
	g.links.Store(c, l)
	return context.WithValue(ctx, linkKey{}, l)
}

// Unlink is a callback for http.Server.ConnState.
func (g *Gate) Unlink(c net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	x, ok := g.links.LoadAndDelete(c)
	if !ok {
		return
	}
	l := x.(*link)
	close(l.closing)
	if atom := l.unconfirmed.Load(); atom != nil {
		g.mail.Requeue(*atom)
		g.mail.Wake(*atom)
	}
}

// refuse writes an error response.
func refuse(w http.ResponseWriter, status int, r wire.ErrorResponse) {
	body, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the atom is gone: it asks again
}

// fail writes the error response for an error of package cloud.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refused *cloud.RefusedError
	var invalid *cloud.InvalidError
	switch {
	case errors.As(err, &refused):
		refuse(w, http.StatusUnauthorized, wire.ErrorResponse{Code: refused.Code, Error: refused.Text})
	case errors.As(err, &invalid):
		refuse(w, http.StatusBadRequest, wire.ErrorResponse{Code: wire.CodeInvalid, Error: err.Error()})
	case errors.Is(err, cloud.ErrNotFound):
		refuse(w, http.StatusNotFound, wire.ErrorResponse{Code: wire.CodeNotFound, Error: err.Error()})
	case errors.Is(err, cloud.ErrConflict):
		refuse(w, http.StatusConflict, wire.ErrorResponse{Code: wire.CodeConflict, Error: err.Error()})
	case errors.Is(err, cloud.ErrAltered):
		refuse(w, http.StatusInternalServerError, wire.ErrorResponse{Code: wire.CodePackageAltered, Error: "the package is damaged in the control plane's store; upload it again"})
	case r.Context().Err() != nil:
		// The atom has disconnected.
	default:
		level := slog.LevelError
		if g.cluster.CheckFresh() != nil { // logged once elsewhere; another control plane may respond
			level = slog.LevelDebug
			w.Header().Set("Connection", "close")
		}
		g.log.Log(r.Context(), level, "request of an atom failed", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", strconv.Itoa(RetryAfter(Overload)))
		refuse(w, http.StatusServiceUnavailable, wire.ErrorResponse{Code: wire.CodeUnavailable, Error: "the store is unavailable; retry later"})
	}
}

// readBody reads the body of a request within a limit of size and time.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	// An error means that the server has no deadlines, as in tests.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, err
}

// refuseBody responds to a body that is too large or incomplete.
func refuseBody(w http.ResponseWriter, err error) {
	status, code := http.StatusRequestTimeout, wire.CodeIncomplete
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		status, code = http.StatusRequestEntityTooLarge, wire.CodeInvalid
	}
	w.Header().Set("Connection", "close")
	refuse(w, status, wire.ErrorResponse{Code: code, Error: "cannot read the request: " + err.Error()})
}

// respond writes JSON. It returns an error if the response was not sent
// completely, as far as this side can know.
func respond(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return errors.Join(err, control.Flush())
}

// remoteAddr returns the client's IP address.
func remoteAddr(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return strings.TrimSpace(r.RemoteAddr)
	}
	return host
}

func (g *Gate) enroll(w http.ResponseWriter, r *http.Request) {
	// The body is read before a slot is taken, so that slow unauthenticated
	// clients do not block others.
	body, err := readBody(w, r, maxEnrol)
	if err != nil {
		refuseBody(w, err)
		return
	}
	release, ok := g.verifier.enter(r.Context(), false)
	if !ok {
		g.refuseOverloaded(w, cloud.Peer{}, r)
		return
	}
	defer release()
	var e wire.EnrollRequest
	if err := json.Unmarshal(body, &e); err != nil {
		refuse(w, http.StatusBadRequest, wire.ErrorResponse{Code: wire.CodeInvalid, Error: "invalid enrollment: " + err.Error()})
		return
	}
	enrolled, err := g.atoms.Enroll(r.Context(), e, remoteAddr(r))
	if err != nil {
		var refused *cloud.RefusedError
		if errors.As(err, &refused) && refused.Code == wire.CodeUnknownToken {
			g.atoms.RecordRefusal(r.Context(), cloud.Peer{}, refused.Code, remoteAddr(r))
		}
		g.fail(w, r, err)
		return
	}
	if err := respond(w, enrolled); err != nil {
		g.log.Warn("cannot send the response to an enrollment", "error", err)
	}
}
