package console

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"valence/internal/fault"
)

// problem is an RFC 9457 problem document.
type problem struct {
	Type   string            `json:"type"`
	Title  string            `json:"title"`
	Status int               `json:"status"`
	Detail string            `json:"detail,omitempty"`
	Errors []fault.Violation `json:"errors,omitempty"`
}

// kinds end the type of a problem: what a program may branch on.
var kinds = map[int]string{
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
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	encode(w, problem{
		Type: "urn:valence:problem:" + kinds[status], Title: http.StatusText(status), Status: status, Detail: detail, Errors: errors,
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encode(w, v)
}

// encode writes the body; an error here means that the client is gone.
func encode(w http.ResponseWriter, v any) {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}

func capital(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + strings.TrimSuffix(s[n:], ".")
}

const page = `<!doctype html>
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

// landing shows nothing of the atom, so it needs no token.
func landing(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(page))
}
