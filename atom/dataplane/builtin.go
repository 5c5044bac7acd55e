package dataplane

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"valence/atom/store"
	"valence/internal/problem"
)

// serveBuiltin serves the atom's own paths and reports whether the request was
// for one of them.
func (req *request) serveBuiltin() bool {
	path := req.r.URL.Path
	switch {
	case len(path) < 7 || path[1] != 'h' && path[1] != 'r' && path[1] != 'e' && path[1] != 'c' && path[1] != 'o':
		return false
	case path == "/healthz":
		req.getOnly(func() { req.writeUncached([]byte(`{"status":"ok"}` + "\n")) })
	case path == "/readyz":
		req.getOnly(req.serveReadiness)
	case path == "/openapi.json":
		req.getOnly(req.serveOpenAPI)
	case strings.HasPrefix(path, "/executions/"):
		req.getOnly(req.serveExecution)
	case strings.HasPrefix(path, callbackPath):
		req.serveCallback()
	default:
		return false
	}
	return true
}

// getOnly calls f for GET and HEAD requests and rejects all others.
func (req *request) getOnly(f func()) {
	if req.r.Method == http.MethodGet || req.r.Method == http.MethodHead {
		f()
		return
	}
	req.w.Header()["Allow"] = []string{"GET, HEAD"}
	req.refuse(methodNotAllowed("This path supports GET, HEAD."))
}

// writeUncached writes a JSON response that must not be cached.
func (req *request) writeUncached(body []byte) {
	req.w.Header()["Cache-Control"] = noStore
	req.write(http.StatusOK, "application/json", body)
}

// serveOpenAPI writes the OpenAPI document of the deployed listeners.
func (req *request) serveOpenAPI() {
	t := req.server.routes.Load()
	if t == nil {
		req.refuse(unavailable(time.Second))
		return
	}
	req.w.Header()["Cache-Control"] = []string{"no-cache"} // changes with each deployment
	req.write(http.StatusOK, "application/json", t.openAPI())
}

// unready returns a reason for operators that reveals nothing to callers.
func unready(err error) string {
	switch {
	case errors.Is(err, store.ErrDamaged):
		return "unavailable: the store is damaged"
	case errors.Is(err, store.ErrFull):
		return "unavailable: the disk is nearly full"
	case errors.Is(err, store.ErrUnavailable):
		return "unavailable: the store cannot be used"
	}
	return "unavailable"
}

// serveReadiness responds 200 only while messages are accepted.
func (req *request) serveReadiness() {
	state := "ready"
	switch {
	case req.server.draining.Load():
		state = "stopping"
	case req.server.routes.Load() == nil:
		state = "starting"
	case req.server.options.Ready != nil:
		if err := req.server.options.Ready(); err != nil {
			state = unready(err)
		}
	}
	if state == "ready" {
		req.writeUncached([]byte(`{"status":"ready"}` + "\n"))
		return
	}
	req.refuse(&problem.Document{Status: http.StatusServiceUnavailable, Code: "not_ready", Title: "Not ready", Detail: state, RetryAfter: time.Second})
}
