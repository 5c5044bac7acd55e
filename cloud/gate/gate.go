// Package gate is what atoms ask a control plane: enrolment, polls, reports
// and packages. It makes sure of who asks and that nothing is asked twice by a
// replay; what is answered is for package cloud to say.
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
	// Hold is how long a poll is held at most; 0 is 30 s.
	Hold time.Duration
	// Queue is how many requests may wait to be judged before others are sent
	// away; 0 is 20,000: waiting costs no more than a poll that is held.
	Queue int
}

// Gate answers the requests of atoms. Its server is to call Link and Unlink,
// so that it notices when an atom is gone.
type Gate struct {
	o       Options
	service *cloud.Service
	log     *slog.Logger
	mux     *http.ServeMux
	epoch   string // of this start: counters of before mean nothing
	judges  judges
	peers   peers
	links   sync.Map // net.Conn to *link
	held    atomic.Int64

	closing chan struct{}
	closed  sync.Once
}

// New makes a gate.
func New(s *cloud.Service, o Options) *Gate {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Hold == 0 {
		o.Hold = 30 * time.Second
	}
	if o.Queue == 0 {
		o.Queue = 20_000
	}
	var b [18]byte
	rand.Read(b[:]) // never fails: crypto/rand
	g := &Gate{
		o: o, service: s, log: o.Log, mux: http.NewServeMux(), epoch: base64.RawURLEncoding.EncodeToString(b[:]),
		judges: judges{slots: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), queue: int64(o.Queue)}, closing: make(chan struct{}),
	}
	s.SetDoor(door{g})
	g.mux.HandleFunc("POST "+wire.PathEnrol, g.enrol)
	g.mux.HandleFunc("POST "+wire.PathPoll, g.signed(maxPoll, g.poll))
	g.mux.HandleFunc("POST "+wire.PathReports, g.signed(maxReports, g.reports))
	g.mux.HandleFunc("GET "+wire.PathPackages+"{sha}", g.signed(0, g.pack))
	return g
}

// Close ends the polls that are held, and has later ones answered at once.
func (g *Gate) Close() { g.closed.Do(func() { close(g.closing) }) }

// Bounds of requests, in bytes.
const (
	maxEnrol    = 64 << 10
	maxPoll     = 1 << 20
	maxInstance = 200
	maxReports  = 8 << 20 // an atom sends a batch of one, or its log
	readTime    = 30 * time.Second
	writeTime   = time.Minute
)

// ServeHTTP answers a request of an atom.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	g.mux.ServeHTTP(w, r)
}

// link is a connection to the gate.
type link struct {
	down chan struct{}
	// carries is the atom that something was handed out to on this connection,
	// which has asked nothing on it since: it may not have arrived.
	carries atomic.Pointer[string]
}

// carry notes that something is handed out to an atom; "": the last thing arrived.
func (l *link) carry(atom string) {
	switch {
	case l == nil:
	case atom == "":
		l.carries.Store(nil)
	default:
		l.carries.Store(&atom)
	}
}

func (l *link) broken() bool {
	select {
	case <-l.down:
		return true
	default:
		return false
	}
}

type linkKey struct{}

// Link is for http.Server.ConnContext.
func (g *Gate) Link(ctx context.Context, c net.Conn) context.Context {
	l := &link{down: make(chan struct{})}
	g.links.Store(c, l)
	return context.WithValue(ctx, linkKey{}, l)
}

// Unlink is for http.Server.ConnState.
func (g *Gate) Unlink(c net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	x, ok := g.links.LoadAndDelete(c)
	if !ok {
		return
	}
	l := x.(*link)
	close(l.down)
	if atom := l.carries.Load(); atom != nil {
		g.service.Returned(*atom)
		g.service.Wake(*atom)
	}
}

// refuse answers with a refusal.
func refuse(w http.ResponseWriter, status int, r wire.Refusal) {
	body, err := json.Marshal(r)
	if err != nil {
		panic(err) // a struct of strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck // the atom is gone: it asks again
}

// The codes of refusals, beside those of package cloud.
const (
	codeUnsigned   = "unsigned"
	codeUnknown    = "unknown_atom"
	codeSignature  = "bad_signature"
	codeReplayed   = "replayed"
	codeRevoked    = "revoked"
	codeEpoch      = "wrong_epoch"
	codeOverloaded = "overloaded"
	codeInvalid    = "invalid"
	codeNotFound   = "not_found"
	codeConflict   = "conflict"
	codeAltered    = "package_altered"
	codeInternal   = "unavailable"
	codeBroken     = "incomplete"
)

// fail answers with what an error means to an atom.
func (g *Gate) fail(w http.ResponseWriter, r *http.Request, err error) {
	var refused *cloud.RefusedError
	var invalid *cloud.InvalidError
	switch {
	case errors.As(err, &refused):
		refuse(w, http.StatusUnauthorized, wire.Refusal{Code: refused.Code, Error: refused.Text})
	case errors.As(err, &invalid):
		refuse(w, http.StatusBadRequest, wire.Refusal{Code: codeInvalid, Error: err.Error()})
	case errors.Is(err, cloud.ErrNotFound):
		refuse(w, http.StatusNotFound, wire.Refusal{Code: codeNotFound, Error: err.Error()})
	case errors.Is(err, cloud.ErrConflict):
		refuse(w, http.StatusConflict, wire.Refusal{Code: codeConflict, Error: err.Error()})
	case errors.Is(err, cloud.ErrAltered):
		refuse(w, http.StatusInternalServerError, wire.Refusal{Code: codeAltered, Error: "the package was altered in the control plane's store; it has to be uploaded again"})
	case r.Context().Err() != nil:
		// The atom is gone: nobody reads an answer.
	default:
		level := slog.LevelError
		if g.service.Vouch() != nil { // said once for all; another control plane may be able to answer
			level = slog.LevelDebug
			w.Header().Set("Connection", "close")
		}
		g.log.Log(r.Context(), level, "a request of an atom failed", "path", r.URL.Path, "error", err)
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(5)))
		refuse(w, http.StatusServiceUnavailable, wire.Refusal{Code: codeInternal, Error: "the control plane cannot store or read now; ask again"})
	}
}

// read reads the body of a request, which may take its time but not for ever.
func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	// A server without deadlines is one for tests.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, err
}

// unreadable answers a request whose body did not come whole, which may come
// whole the next time, or which is too large.
func unreadable(w http.ResponseWriter, err error) {
	status, code := http.StatusRequestTimeout, codeBroken
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		status, code = http.StatusRequestEntityTooLarge, codeInvalid
	}
	w.Header().Set("Connection", "close")
	refuse(w, status, wire.Refusal{Code: code, Error: "the request cannot be read: " + err.Error()})
}

// answer writes JSON, and reports whether it went out whole as far as can be
// known here.
func answer(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write an answer: %w", err)
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = w.Write(body)
	return errors.Join(err, control.Flush())
}

// from gives the address of who asks.
func from(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return strings.TrimSpace(r.RemoteAddr)
	}
	return host
}

func (g *Gate) enrol(w http.ResponseWriter, r *http.Request) {
	// It is read before it takes a turn: whoever sends slowly, and anybody may
	// send this, must not hold up others.
	body, err := read(w, r, maxEnrol)
	if err != nil {
		unreadable(w, err)
		return
	}
	release, ok := g.judges.enter(r.Context(), false)
	if !ok {
		g.overloaded(w, cloud.Peer{}, r)
		return
	}
	defer release()
	var e wire.Enrol
	if err := json.Unmarshal(body, &e); err != nil {
		refuse(w, http.StatusBadRequest, wire.Refusal{Code: codeInvalid, Error: "the enrolment cannot be read: " + err.Error()})
		return
	}
	enrolled, err := g.service.Enrol(r.Context(), e, from(r))
	if err != nil {
		var refused *cloud.RefusedError
		if errors.As(err, &refused) && refused.Code == cloud.CodeUnknownToken {
			g.service.Refused(r.Context(), cloud.Peer{}, refused.Code, from(r))
		}
		g.fail(w, r, err)
		return
	}
	if err := answer(w, enrolled); err != nil {
		g.log.Warn("an enrolment was not answered whole", "error", err)
	}
}
