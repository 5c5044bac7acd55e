package console

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"valence/atom"
)

func TestAppendHappening(t *testing.T) {
	h := atom.Happening{Event: atom.HappenedEnded, At: time.Unix(0, 0).UTC(), Process: "p", Execution: "x", Status: "failed", Error: "a\nb"}
	const want = "event: ended\ndata: {\"event\":\"ended\",\"at\":\"1970-01-01T00:00:00Z\",\"process\":\"p\",\"execution\":\"x\",\"status\":\"failed\",\"error\":\"a\\nb\"}\n\n"
	if got := string(appendHappening(nil, h)); got != want {
		t.Errorf("%s", got)
	}
}

// A stream begins at once, counts against a bound, and ends with the atom.
func TestEventsEndWithTheAtom(t *testing.T) {
	stopped := make(chan struct{})
	srv := httptest.NewServer(New(Options{Happenings: new(atom.Atom), Stopped: stopped, Token: "t"}))
	defer srv.Close()
	get := func(path, token string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	if resp := get("/api/v1/events", "other"); resp.StatusCode != http.StatusUnauthorized {
		t.Error(resp.Status)
	}
	if resp := get("/api/v1/events?process=p", "t"); resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status)
	}
	var streams []*http.Response
	for range maxAudiences {
		resp := get("/api/v1/events", "t")
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatal(resp.Status, resp.Header)
		}
		streams = append(streams, resp)
	}
	if resp := get("/api/v1/events", "t"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Error(resp.Status)
	}
	close(stopped)
	for _, s := range streams {
		lines := bufio.NewScanner(s.Body)
		n := 0
		for lines.Scan() {
			n++
		}
		if lines.Err() != nil || n != 2 {
			t.Error(n, lines.Err())
		}
	}
}
