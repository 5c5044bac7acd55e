// Package admin serves the atom's admin API, which operators and the command
// line use, and its metrics. Everything except the index page requires the
// admin token.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"valence/atom"
	"valence/atom/store"

	"github.com/gorilla/mux"

	"valence/internal/mask"
)

// Processes describes the deployed processes.
type Processes interface {
	Processes() []*atom.DeployedProcess
	Process(name string) (*atom.DeployedProcess, bool)
	Load(ctx context.Context, process string) (atom.Load, error)
	Problems(ctx context.Context) (map[string]store.Problems, error)
	ScheduleStatus(d *atom.DeployedProcess) atom.ScheduleStatus
	SubscriptionStatus(d *atom.DeployedProcess) (atom.SubscriptionStatus, bool)
}

// Triggers starts processes and pauses their triggers.
type Triggers interface {
	Pause(ctx context.Context, process string) error
	Resume(ctx context.Context, process string) error
	PauseProcessing(ctx context.Context, process string) error
	ResumeProcessing(ctx context.Context, process string) error
	Execute(ctx context.Context, process string, in atom.Input) (*atom.Acknowledgement, error)
}

// Executions shows and cancels executions.
type Executions interface {
	Show(ctx context.Context, id string) (*atom.ExecutionView, error)
	List(ctx context.Context, f store.Filter, cursor string, limit int) ([]*atom.ExecutionView, string, error)
	Cancel(ctx context.Context, id string) error
}

// Backup copies the running store into a folder that does not exist yet.
type Backup func(ctx context.Context, folder string) error

// Options configure the admin API.
type Options struct {
	Processes   Processes
	Triggers    Triggers
	Executions  Executions
	Failures    Failures
	Sequences   Sequences
	Connections Connections
	Activity    Activity
	Group       store.Group     // nil: the atom is not a member of a group
	Backup      Backup          // nil: the store has no backup
	Stopped     <-chan struct{} // closed to end event streams; nil: never
	Metrics     http.Handler    // nil: no /metrics
	Token       string          // required from every request; never empty
	Log         *slog.Logger
	Masks       *mask.Set // of the loaded secrets; nil: none
	MaxBody     int64     // of a request, in bytes; 0 is 10 MiB
}

type api struct {
	Options
	digest  [sha256.Size]byte
	streams streamCount
}

// New returns the handler of the admin API. It panics if the token is empty.
//
// Only a bearer token authenticates a request, never a cookie or an address.
// Scripts of other sites and rebound host names therefore cannot act on an
// operator's behalf.
func New(o Options) http.Handler {
	if o.Token == "" {
		panic("admin: no token")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBody == 0 {
		o.MaxBody = 10 << 20
	}
	a := &api{Options: o, digest: sha256.Sum256([]byte(o.Token))}

	r := mux.NewRouter().UseEncodedPath() // a key may contain any character
	r.NotFoundHandler = a.requireToken(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, "No such path. The API starts at /api/v1/.")
	}))
	r.MethodNotAllowedHandler = a.requireToken(methodNotAllowed(r))
	r.HandleFunc("/", serveIndex).Methods(http.MethodGet, http.MethodHead)
	if o.Metrics != nil {
		r.Handle("/metrics", a.requireToken(o.Metrics)).Methods(http.MethodGet, http.MethodHead)
	}
	for _, route := range []struct {
		method, path string
		serve        http.HandlerFunc
	}{
		{http.MethodGet, "/processes", a.listProcesses},
		{http.MethodGet, "/processes/{name}", a.showProcess},
		{http.MethodPost, "/processes/{name}/pause", a.pause},
		{http.MethodPost, "/processes/{name}/resume", a.resume},
		{http.MethodPost, "/processes/{name}/pause-processing", a.pauseProcessing},
		{http.MethodPost, "/processes/{name}/resume-processing", a.resumeProcessing},
		{http.MethodPost, "/processes/{name}/executions", a.execute},
		{http.MethodGet, "/executions", a.listExecutions},
		{http.MethodGet, "/executions/{id}", a.showExecution},
		{http.MethodPost, "/executions/{id}/cancel", a.cancel},
		{http.MethodGet, "/connections", a.listConnections},
		{http.MethodGet, "/group", a.group},
		{http.MethodGet, "/sequences", a.listSequences},
		{http.MethodPost, "/sequences/{name}/{key}/skip", a.skipKey},
		{http.MethodPost, "/sequences/{name}/{key}/release", a.releaseKey},
		{http.MethodGet, "/failed", a.listFailed},
		{http.MethodGet, "/failed/groups", a.listGroups},
		{http.MethodPost, "/failed/resubmit", a.resubmitMany},
		{http.MethodPost, "/failed/delete", a.discardMany},
		{http.MethodGet, "/failed/batches/{id}", a.showBatch},
		{http.MethodDelete, "/failed/batches/{id}", a.stopBatch},
		{http.MethodGet, "/failed/{id}", a.showFailed},
		{http.MethodPost, "/failed/{id}/resubmit", a.resubmit},
		{http.MethodDelete, "/failed/{id}", a.discard},
		{http.MethodGet, "/events", a.events},
		{http.MethodPost, "/backup", a.backup},
	} {
		r.Handle("/api/v1"+route.path, a.requireToken(route.serve)).Methods(route.method)
	}
	return withSecurityHeaders(withMasks(r, o.Masks))
}

// requireToken rejects requests without the admin token.
func (a *api) requireToken(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		given := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(given[:], a.digest[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence admin"`)
			writeProblem(w, http.StatusUnauthorized,
				"Send the admin token as Authorization: Bearer …; it is in the file admin.token of the data folder.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// withSecurityHeaders prevents caching, framing and content sniffing of
// responses.
func withSecurityHeaders(next http.Handler) http.Handler {
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

// methodNotAllowed responds 405 and lists the methods of the path.
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
		writeProblem(w, http.StatusMethodNotAllowed, "This path does not support "+r.Method+".")
	})
}

// writeError responds with the problem for an error of the atom.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, atom.ErrNoSuch):
		writeProblem(w, http.StatusNotFound, "No such process.")
	case errors.Is(err, store.ErrUnknown):
		writeProblem(w, http.StatusNotFound, "No such execution.")
	case errors.Is(err, store.ErrEnded):
		writeProblem(w, http.StatusConflict, "The execution has already ended.")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull),
		errors.Is(err, atom.ErrBusy), errors.Is(err, store.ErrLaneFull), errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrPaused):
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, sentence(err.Error())+".")
	case errors.Is(err, context.Canceled):
		// The client is gone.
	default:
		a.Log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		writeProblem(w, http.StatusInternalServerError, sentence(err.Error())+".")
	}
}
