package client

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"valence/internal/clierror"
)

// responses is a transport that returns its responses one after the other, and
// the last one forever.
type responses struct {
	list  []http.Response
	calls int
}

// RoundTrip returns the next response.
func (r *responses) RoundTrip(*http.Request) (*http.Response, error) {
	next := r.list[min(r.calls, len(r.list)-1)]
	r.calls++
	return &next, nil
}

func respond(status int, body string) http.Response {
	return http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
}

func TestPlatformCall(t *testing.T) {
	const busy, done = `{"message":"the store is busy"}`, `{"id":"x"}`
	for _, c := range []struct {
		name      string
		responses []http.Response
		calls     int
		code      int    // exit code; 0: no error
		text      string // part of the error
	}{
		{"success", []http.Response{respond(200, done)}, 1, 0, ""},
		{"busy, then success", []http.Response{respond(503, busy), respond(429, busy), respond(200, done)}, 3, 0, ""},
		{"busy", []http.Response{respond(503, busy), respond(503, busy), respond(503, busy), respond(503, busy), respond(503, busy), respond(503, busy)}, 6, clierror.ExitFailed, "the store is busy"},
		{"no message", []http.Response{respond(503, "")}, 1, clierror.ExitFailed, "answered 503"},
		{"wrong token", []http.Response{respond(401, `{"message":"no"}`)}, 1, clierror.ExitFailed, "rejected the token"},
		{"wrong role", []http.Response{respond(403, `{"message":"needs admin"}`)}, 1, clierror.ExitInvalid, "needs admin"},
		{"another server", []http.Response{respond(404, "<html>")}, 1, clierror.ExitFailed, "not a control plane"},
		{"not JSON", []http.Response{respond(200, "<html>")}, 1, clierror.ExitFailed, "cannot read the response"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &responses{list: c.responses}
				p := newPlatform("http://cloud.example", "default", "token", &http.Client{Transport: transport})
				var out struct{ ID string }
				_, err := p.Call(t.Context(), http.MethodGet, "Atom/x", nil, nil, &out)
				if transport.calls != c.calls {
					t.Errorf("got %d calls, want %d", transport.calls, c.calls)
				}
				if c.code == 0 {
					if err != nil || out.ID != "x" {
						t.Errorf("got %q, %v, want x", out.ID, err)
					}
					return
				}
				if e := (*clierror.Error)(nil); !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.text) {
					t.Errorf("got %v, want exit code %d and %q", err, c.code, c.text)
				}
			})
		})
	}
}
