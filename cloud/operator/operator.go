// Package operator is the control plane's own API, below /api/v1/{account}/. It
// covers what the platform API lacks, such as tokens, values, policies, the
// audit log and backups. The command line uses it.
package operator

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"valence/cloud"
	"valence/internal/problem"
)

// Root is the prefix of all paths.
const Root = "/api/v1/"

// maxBody limits the size of a request, in bytes.
const maxBody = 4 << 20

type api struct {
	service *cloud.Service
	log     *slog.Logger
}

// call is one authenticated request.
type call struct {
	*http.Request
	p    cloud.Principal
	vars map[string]string
}

// read decodes the body and rejects unknown fields, so that misspellings are
// noticed.
func (c *call) read(v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, c.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			return large
		}
		return &cloud.InvalidError{Message: "invalid request body: " + err.Error()}
	}
	return nil
}

// New returns the handler of all paths below Root. Callers authenticate with an
// API token as bearer token or as the password of basic authentication.
func New(s *cloud.Service, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &api{s, log}
	r := mux.NewRouter().UseEncodedPath() // a name may contain a slash
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, "No such path: the API is below /api/v1/{account}/.")
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, http.StatusMethodNotAllowed, "The method "+r.Method+" is not allowed for this path.")
	})
	for _, route := range a.routes() {
		r.Handle(Root+"{account}"+route.path, a.authenticated(route)).Methods(route.method)
	}
	return r
}

// route is one endpoint. Its action is checked before it is served, and again
// by package cloud for the environment concerned.
type route struct {
	method, path string
	action       cloud.Action
	serve        func(*call) (any, error)
}

func (a *api) routes() []route {
	return []route{
		{http.MethodGet, "/accounts", "account.read", a.accounts},
		{http.MethodPost, "/accounts", "account.create", a.createAccount},
		{http.MethodGet, "/tokens", "token.read", a.tokens},
		{http.MethodPost, "/tokens", "token.create", a.createToken},
		{http.MethodDelete, "/tokens/{id}", "token.delete", a.deleteToken},
		{http.MethodPost, "/install-tokens", "installtoken.create", a.createInstallToken},
		{http.MethodGet, "/atoms", "atom.read", a.atoms},
		{http.MethodGet, "/atoms/{id}", "atom.read", a.atom},
		{http.MethodGet, "/atoms/{id}/log", "atom.log", a.atomLog},
		{http.MethodGet, "/atoms/{id}/listeners", "listener.read", a.listeners},
		{http.MethodPost, "/atoms/{id}/listeners", "listener.update", a.changeListener},
		{http.MethodDelete, "/atoms/{id}", "atom.delete", a.revoke},
		{http.MethodPost, "/atoms/{id}/retire", "atom.delete", a.retire},
		{http.MethodPatch, "/atoms/{id}", "atom.update", a.changeAtom},
		{http.MethodPut, "/atoms/{id}/environment", "attachment.create", a.attach},
		{http.MethodDelete, "/atoms/{id}/environment", "attachment.delete", a.detach},
		{http.MethodGet, "/schedules", "schedule.read", a.schedules},
		{http.MethodPatch, "/atoms/{id}/schedules/{process}", "schedule.update", a.switchSchedule},
		{http.MethodPost, "/executions/{id}/resubmit", "execution.resubmit", a.resubmit},
		{http.MethodGet, "/environments", "environment.read", a.environments},
		{http.MethodPost, "/environments", "environment.create", a.createEnvironment},
		{http.MethodDelete, "/environments/{id}", "environment.delete", a.deleteEnvironment},
		{http.MethodPatch, "/environments/{id}/policy", "environment.update", a.policy},
		{http.MethodGet, "/environments/{id}/fields", "extension.read", a.fields},
		{http.MethodPatch, "/environments/{id}/fields", "extension.update", a.setFields},
		{http.MethodGet, "/deployments", "deployment.read", a.deployments},
		{http.MethodGet, "/deployments/{id}", "deployment.read", a.deployment},
		{http.MethodDelete, "/deployments/{id}", "deployment.delete", a.undeploy},
		{http.MethodPost, "/environments/{id}/replays", "replay.create", a.createReplay},
		{http.MethodGet, "/replays/{id}", "replay.create", a.replay},
		{http.MethodDelete, "/replays/{id}", "replay.create", a.cancelReplay},
		{http.MethodGet, "/audit", "audit.read", a.audit},
		{http.MethodPost, "/backup", "backup.create", a.backup},
	}
}

// authenticated identifies the caller, checks the limits and serves the route.
func (a *api) authenticated(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		vars := mux.Vars(r)
		for name, value := range vars {
			if text, err := url.PathUnescape(value); err == nil {
				vars[name] = text
			}
		}
		user, token, basic := r.BasicAuth()
		if scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " "); !basic && strings.EqualFold(scheme, "Bearer") {
			token = strings.TrimSpace(text)
		}
		p, err := a.service.Accounts.Authenticate(r.Context(), vars["account"], strings.TrimPrefix(user, "BOOMI_TOKEN."), token)
		if errors.Is(err, cloud.ErrUnavailable) {
			w.Header().Set("Retry-After", "5")
			writeProblem(w, http.StatusServiceUnavailable, "The control plane cannot reach its database: retry later.")
			return
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence cloud"`)
			writeProblem(w, http.StatusUnauthorized, "Send an API token of this account as Authorization: Bearer …; valence cloud token creates one.")
			return
		}
		p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
		if wait, ok := a.service.Accounts.Admit(p.Account); !ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			writeProblem(w, http.StatusServiceUnavailable, "Rate limit exceeded for this account: retry later.")
			return
		}
		var answer any
		if err = p.Allow(route.action); err == nil {
			answer, err = route.serve(&call{r, p, vars})
		}
		if errors.Is(err, cloud.ErrForbidden) {
			a.service.Audit.RecordDenied(r.Context(), p, route.action)
		}
		if err != nil {
			a.fail(w, r, err)
			return
		}
		if answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		_ = e.Encode(answer) // the client has disconnected
	})
}

// fail writes the problem document for an error of package cloud.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *cloud.InvalidError
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		writeProblem(w, http.StatusRequestEntityTooLarge, "The body is larger than "+strconv.FormatInt(large.Limit, 10)+" bytes.")
	case errors.As(err, &invalid):
		writeProblem(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, cloud.ErrForbidden):
		writeProblem(w, http.StatusForbidden, err.Error())
	case errors.Is(err, cloud.ErrNotFound):
		writeProblem(w, http.StatusNotFound, err.Error())
	case errors.Is(err, cloud.ErrConflict):
		writeProblem(w, http.StatusConflict, err.Error())
	case errors.Is(err, cloud.ErrQuota):
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, cloud.ErrBusy), errors.Is(err, cloud.ErrUnavailable):
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, err.Error())
	case r.Context().Err() != nil:
		// The client has disconnected.
	default:
		a.log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		writeProblem(w, http.StatusInternalServerError, err.Error())
	}
}

// writeProblem responds with an RFC 9457 problem document.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	(&problem.Document{Status: status, Title: http.StatusText(status), Detail: detail}).Write(w)
}
