package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"valence/internal/fault"
	"valence/internal/problem"
)

// codes are the stable problem codes by status.
var codes = map[int]string{
	http.StatusBadRequest:            "bad_request",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusNotFound:              "not_found",
	http.StatusMethodNotAllowed:      "method_not_allowed",
	http.StatusConflict:              "conflict",
	http.StatusRequestEntityTooLarge: "too_large",
	http.StatusUnsupportedMediaType:  "content_type",
	http.StatusUnprocessableEntity:   "not_possible",
	http.StatusInternalServerError:   "internal",
	http.StatusNotImplemented:        "not_implemented",
	http.StatusServiceUnavailable:    "unavailable",
}

func writeProblem(w http.ResponseWriter, status int, detail string, errors ...fault.Violation) {
	p := &problem.Document{Status: status, Code: codes[status], Title: http.StatusText(status), Detail: detail}
	for _, v := range errors {
		p.Errors = append(p.Errors, problem.Violation{Pointer: v.Pointer, Detail: v.Detail})
	}
	p.Write(w)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encode(w, v)
}

// encode writes v as JSON. An error means that the client is gone.
func encode(w http.ResponseWriter, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + strings.TrimSuffix(s[n:], ".")
}

const indexPage = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Valence admin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:4rem auto;padding:0 1rem}code{background:#eee;padding:0 .2em}</style>
<h1>Valence</h1>
<p>This is the admin plane of an atom. It has no pages to look at, but an API; each call
needs the token from the file <code>admin.token</code> in the atom's data folder:</p>
<pre>curl -H "Authorization: Bearer $(cat data/admin.token)" http://127.0.0.1:9091/api/v1/processes</pre>
<ul>
<li><code>GET /api/v1/processes</code>: what is deployed</li>
<li><code>POST /api/v1/processes/{name}/executions</code>: run a process</li>
<li><code>POST /api/v1/processes/{name}/pause</code> and <code>…/resume</code>: its trigger</li>
<li><code>GET /api/v1/executions</code>, <code>GET /api/v1/executions/{id}</code>, <code>POST …/{id}/cancel</code></li>
<li><code>GET /api/v1/failed</code>, <code>GET /api/v1/failed/groups</code>, <code>POST /api/v1/failed/{id}/resubmit</code>, <code>POST /api/v1/failed/resubmit</code>, <code>DELETE /api/v1/failed/{id}</code></li>
<li><code>GET /metrics</code>: for Prometheus</li>
</ul>
<p>From a shell: <code>valence processes</code>, <code>valence executions</code>, <code>valence exec</code>.</p>
`

// serveIndex needs no token because the page contains nothing about the atom.
func serveIndex(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(indexPage))
}
