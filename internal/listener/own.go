package listener

import (
	"net/http"
	"strings"
	"time"
)

// own answers the paths that belong to the atom itself. It reports whether
// the request was for one of them.
func (x *exchange) own() bool {
	path := x.r.URL.Path
	switch {
	case len(path) < 7 || path[1] != 'h' && path[1] != 'r' && path[1] != 'e' && path[1] != 'c' && path[1] != 'o':
		return false
	case path == "/healthz":
		x.only(func() { x.fresh([]byte(`{"status":"ok"}` + "\n")) })
	case path == "/readyz":
		x.only(x.readiness)
	case path == "/openapi.json":
		x.only(x.description)
	case strings.HasPrefix(path, "/executions/"):
		x.only(x.collect)
	case strings.HasPrefix(path, callbackPath):
		x.callBack()
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

// description answers with what listens here.
func (x *exchange) description() {
	t := x.server.table.Load()
	if t == nil {
		x.refuse(unavailableProblem(time.Second))
		return
	}
	x.w.Header()["Cache-Control"] = []string{"no-cache"} // a deployment changes it
	x.write(http.StatusOK, "application/json", t.described())
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
