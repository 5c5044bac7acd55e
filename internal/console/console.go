// Package console is the admin plane: the API that operators and the command
// line use, and the metrics. Everything that shows or changes something asks
// for the token.
package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/gorilla/mux"

	"valence/atom"
	"valence/internal/document"
)

// Processes answers for what is deployed.
type Processes interface {
	Deployed() []*atom.Deployed
	Process(name string) (*atom.Deployed, bool)
	Load(ctx context.Context, process string) (atom.Load, error)
	Timing(d *atom.Deployed) atom.Timing
	Hearing(d *atom.Deployed) string
}

// Triggers starts processes, and keeps their triggers from doing so.
type Triggers interface {
	Pause(ctx context.Context, process string) error
	Resume(ctx context.Context, process string) error
	Execute(ctx context.Context, process string, props *document.Object, doc *document.Document) (*atom.Acknowledgement, error)
}

// Executions answers for what runs and ran.
type Executions interface {
	Show(ctx context.Context, id string) (*atom.View, error)
	List(ctx context.Context, f atom.Filter, cursor string, limit int) ([]*atom.View, string, error)
	Cancel(ctx context.Context, id string) error
}

// Backup copies the store, while it runs, into a folder that does not exist yet.
type Backup func(ctx context.Context, folder string) error

// Options are what the admin plane shows and who may see it.
type Options struct {
	Processes   Processes
	Triggers    Triggers
	Executions  Executions
	Failures    Failures
	Sequences   Sequences
	Connections Connections
	Happenings  Happenings
	Backup      Backup          // nil: this store has none
	Stopped     <-chan struct{} // closed when streams are to end; nil: never
	Metrics     http.Handler    // what is counted
	Token       string          // what a request must bring; never empty
	Log         *slog.Logger
	MaxBody     int64 // of a request; 0 is 10 MiB
}

type console struct {
	Options
	digest    [sha256.Size]byte
	audiences audiences
}

// New makes the handler of the admin plane. It panics without a token: there
// is no admin plane that does not ask for one.
//
// Requests prove themselves with a bearer token alone, never with a cookie or
// an address, so neither another site's script nor a rebound host name can
// act in an operator's name.
func New(o Options) http.Handler {
	if o.Token == "" {
		panic("console: no token")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 10 << 20
	}
	c := &console{Options: o, digest: sha256.Sum256([]byte(o.Token))}

	r := mux.NewRouter().UseEncodedPath() // a key may hold anything
	r.NotFoundHandler = c.asked(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, "There is nothing at this path; the API begins at /api/v1/.")
	}))
	r.MethodNotAllowedHandler = c.asked(methodNotAllowed(r))
	r.HandleFunc("/", landing).Methods(http.MethodGet, http.MethodHead)
	if o.Metrics != nil {
		r.Handle("/metrics", c.asked(o.Metrics)).Methods(http.MethodGet, http.MethodHead)
	}
	for _, route := range []struct {
		method, path string
		serve        http.HandlerFunc
	}{
		{http.MethodGet, "/processes", c.listProcesses},
		{http.MethodGet, "/processes/{name}", c.showProcess},
		{http.MethodPost, "/processes/{name}/pause", c.pause},
		{http.MethodPost, "/processes/{name}/resume", c.resume},
		{http.MethodPost, "/processes/{name}/executions", c.execute},
		{http.MethodGet, "/executions", c.listExecutions},
		{http.MethodGet, "/executions/{id}", c.showExecution},
		{http.MethodPost, "/executions/{id}/cancel", c.cancel},
		{http.MethodGet, "/connections", c.listConnections},
		{http.MethodGet, "/sequences", c.listSequences},
		{http.MethodPost, "/sequences/{name}/{key}/skip", c.skipKey},
		{http.MethodPost, "/sequences/{name}/{key}/release", c.releaseKey},
		{http.MethodGet, "/failed", c.listFailed},
		{http.MethodGet, "/failed/groups", c.listGroups},
		{http.MethodPost, "/failed/resubmit", c.resubmitMany},
		{http.MethodPost, "/failed/delete", c.discardMany},
		{http.MethodGet, "/failed/batches/{id}", c.showBatch},
		{http.MethodDelete, "/failed/batches/{id}", c.stopBatch},
		{http.MethodGet, "/failed/{id}", c.showFailed},
		{http.MethodPost, "/failed/{id}/resubmit", c.resubmit},
		{http.MethodDelete, "/failed/{id}", c.discard},
		{http.MethodGet, "/events", c.events},
		{http.MethodPost, "/backup", c.backup},
	} {
		r.Handle("/api/v1"+route.path, c.asked(route.serve)).Methods(route.method)
	}
	return secured(r)
}

// asked lets a request through that brings the token.
func (c *console) asked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(given[:], c.digest[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence admin"`)
			writeProblem(w, http.StatusUnauthorized,
				"Send the token as Authorization: Bearer …; it is in the file admin.token of the data folder.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// secured keeps answers out of caches and frames, and from being read as
// something else than they are.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// methodNotAllowed answers 405 with the methods that the path knows.
func methodNotAllowed(router *mux.Router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			probe := r.Clone(r.Context())
			probe.Method = method
			var match mux.RouteMatch
			if router.Match(probe, &match) && match.MatchErr == nil {
				allowed = append(allowed, method)
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, http.StatusMethodNotAllowed, "This path does not take "+r.Method+".")
	})
}

// fail answers with what an error of the atom means to an operator.
func (c *console) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, atom.ErrNoSuch):
		writeProblem(w, http.StatusNotFound, "There is no such process.")
	case errors.Is(err, atom.ErrUnknown):
		writeProblem(w, http.StatusNotFound, "There is no such execution.")
	case errors.Is(err, atom.ErrEnded):
		writeProblem(w, http.StatusConflict, "The execution has ended already.")
	case errors.Is(err, atom.ErrUnavailable), errors.Is(err, atom.ErrFull),
		errors.Is(err, atom.ErrBusy), errors.Is(err, atom.ErrLaneFull), errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrPaused):
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, capital(err.Error())+".")
	case errors.Is(err, context.Canceled):
		// The operator is gone: nobody reads an answer.
	default:
		c.Log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		writeProblem(w, http.StatusInternalServerError, capital(err.Error())+".")
	}
}
