// Package operator is the control plane's own API, below /api/v1/{account}/:
// what the platform API has no words for, such as tokens, values, policies,
// the audit log and backups. The command line uses it.
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
)

// Root is the path that everything is below.
const Root = "/api/v1/"

// maxBody bounds a request.
const maxBody = 4 << 20

type api struct {
	service *cloud.Service
	log     *slog.Logger
}

// call is one request of somebody known.
type call struct {
	*http.Request
	p    cloud.Principal
	vars map[string]string
}

// read takes the body, strictly: a field that is misspelt must not be passed over.
func (c *call) read(v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, c.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return &cloud.InvalidError{Message: "the body cannot be read: " + err.Error()}
	}
	return nil
}

// New gives the handler of everything below Root. A request proves itself with
// an API token as bearer, or as the password of basic authentication.
func New(s *cloud.Service, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a := &api{s, log}
	r := mux.NewRouter().UseEncodedPath() // a name may hold anything, also a slash
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusNotFound, "There is nothing at this path; the API begins at /api/v1/{account}/.")
	})
	r.MethodNotAllowedHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusMethodNotAllowed, "This path does not take "+r.Method+".")
	})
	for _, route := range a.routes() {
		r.Handle(Root+"{account}"+route.path, a.known(route)).Methods(route.method)
	}
	return r
}

// route is one endpoint. Its action, and so its least role, is asked for before
// it is served; what is served asks again, for the environment it is about.
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
		{http.MethodGet, "/audit", "audit.read", a.audit},
		{http.MethodPost, "/backup", "backup.create", a.backup},
	}
}

// known finds out who asks, and answers.
func (a *api) known(route route) http.Handler {
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
		p, err := a.service.Authenticate(r.Context(), vars["account"], strings.TrimPrefix(user, "BOOMI_TOKEN."), token)
		if errors.Is(err, cloud.ErrUnavailable) {
			w.Header().Set("Retry-After", "5")
			problem(w, http.StatusServiceUnavailable, "This control plane does not reach its database; send this again later.")
			return
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="valence cloud"`)
			problem(w, http.StatusUnauthorized, "Send an API token of this account as Authorization: Bearer …; valence cloud token makes one.")
			return
		}
		p.From, _, _ = net.SplitHostPort(r.RemoteAddr)
		if wait, ok := a.service.Rate(p.Account); !ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			problem(w, http.StatusServiceUnavailable, "This account asks too often; send this again later.")
			return
		}
		var answer any
		if err = p.Allow(route.action); err == nil {
			answer, err = route.serve(&call{r, p, vars})
		}
		if errors.Is(err, cloud.ErrForbidden) {
			a.service.Denied(r.Context(), p, route.action)
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
		_ = e.Encode(answer) // an error means that the client is gone
	})
}

// fail answers with what an error means to an operator.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *cloud.InvalidError
	switch {
	case errors.As(err, &invalid):
		problem(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, cloud.ErrForbidden):
		problem(w, http.StatusForbidden, err.Error())
	case errors.Is(err, cloud.ErrNotFound):
		problem(w, http.StatusNotFound, err.Error())
	case errors.Is(err, cloud.ErrConflict):
		problem(w, http.StatusConflict, err.Error())
	case errors.Is(err, cloud.ErrBusy), errors.Is(err, cloud.ErrUnavailable):
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusServiceUnavailable, err.Error())
	case r.Context().Err() != nil:
		// The client is gone: nobody reads an answer.
	default:
		a.log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		problem(w, http.StatusInternalServerError, err.Error())
	}
}

// problem writes an RFC 9457 problem document.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
}
