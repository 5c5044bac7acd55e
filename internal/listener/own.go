package listener

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"valence/atom"
)

// own answers the paths that belong to the atom itself. It reports whether
// the request was for one of them.
func (x *exchange) own() bool {
	path := x.r.URL.Path
	switch {
	case len(path) < 7 || path[1] != 'h' && path[1] != 'r' && path[1] != 'e':
		return false
	case path == "/healthz":
		x.only(func() { x.fresh([]byte(`{"status":"ok"}` + "\n")) })
	case path == "/readyz":
		x.only(x.readiness)
	case strings.HasPrefix(path, "/executions/"):
		x.only(x.follow)
	default:
		return false
	}
	return true
}

// only serves GET and HEAD.
func (x *exchange) only(f func()) {
	if x.r.Method == http.MethodGet || x.r.Method == http.MethodHead {
		f()
		return
	}
	x.w.Header()["Allow"] = []string{"GET, HEAD"}
	x.refuse(&problem{status: http.StatusMethodNotAllowed, kind: "method_not_allowed", title: "The method is not allowed here",
		detail: "This path takes GET, HEAD."})
}

// fresh answers with JSON that is true now alone.
func (x *exchange) fresh(body []byte) {
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", body)
}

// readiness is 200 only while messages are taken.
func (x *exchange) readiness() {
	state := "ready"
	switch {
	case x.server.draining.Load():
		state = "stopping"
	case x.server.table.Load() == nil:
		state = "starting"
	case x.server.options.Ready != nil:
		if err := x.server.options.Ready(); err != nil {
			state = "unavailable"
		}
	}
	if state == "ready" {
		x.fresh([]byte(`{"status":"ready"}` + "\n"))
		return
	}
	x.refuse(&problem{status: http.StatusServiceUnavailable, kind: "not_ready", title: "Not ready", detail: state, retry: time.Second})
}

// follow shows how far an execution is to the bearer of its reply token and
// to the principal that sent the message. To everybody else it does not exist.
func (x *exchange) follow() {
	id := strings.TrimPrefix(x.r.URL.Path, "/executions/")
	t := x.server.table.Load()
	if t == nil {
		x.refuse(unavailableProblem(time.Second))
		return
	}
	token := ""
	if v := x.r.Header["Authorization"]; len(v) == 1 && len(v[0]) > 7 && strings.EqualFold(v[0][:7], "Bearer ") {
		token = v[0][7:]
	}
	found, err := x.ask(id, "", token)
	asked := map[string]bool{"": true}
	for _, e := range t.all {
		if !errors.Is(err, atom.ErrUnknown) {
			break
		}
		if asked[e.authName] || e.auth == nil {
			continue
		}
		asked[e.authName] = true
		who, denied := e.auth.Authenticate(x.r, nil)
		if denied == nil {
			found, err = x.ask(id, e.principal(who), "")
		}
	}
	switch {
	case err == nil:
		x.execution = found.Execution
		x.fresh(progress(found))
	case errors.Is(err, atom.ErrUnknown):
		x.refuse(&problem{status: http.StatusNotFound, kind: "not_found", title: "There is nothing here", detail: "There is no such execution."})
	case x.r.Context().Err() != nil:
		x.status = statusGone
	case errors.Is(err, atom.ErrUnavailable), errors.Is(err, atom.ErrStopping), errors.Is(err, atom.ErrStarting):
		x.refuse(unavailableProblem(2 * time.Second))
	default:
		x.server.log.Error("an execution cannot be followed", "error", err)
		x.refuse(internal())
	}
}

// ask looks only where id can be one; nothing else reaches the atom.
func (x *exchange) ask(id, principal, token string) (*atom.Progress, error) {
	if id == "" || len(id) > 64 || !plain(id) || strings.Contains(id, "/") {
		return nil, atom.ErrUnknown
	}
	return x.server.options.Atom.Follow(x.r.Context(), id, principal, token)
}
