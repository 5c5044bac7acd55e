package console

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
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

func TestWanted(t *testing.T) {
	began := atom.Happening{Event: atom.HappenedStarted, Process: "p"}
	held := atom.Happening{Event: atom.HappenedParked, Process: "p", Status: "held"}
	failed := atom.Happening{Event: atom.HappenedEnded, Process: "other", Status: "failed"}
	paused := atom.Happening{Event: atom.HappenedPaused, Process: "p"}
	for _, c := range []struct {
		query string
		want  []atom.Happening
	}{
		{"process=p", []atom.Happening{began, held, paused}},
		{"process=p,other", []atom.Happening{began, held, failed, paused}},
		{"status=running", []atom.Happening{began}},
		{"status=held&status=failed", []atom.Happening{held, failed}},
		{"status=held,failed&process=other", []atom.Happening{failed}},
	} {
		query, _ := url.ParseQuery(c.query)
		wants, detail := wanted(query)
		if detail != "" {
			t.Fatal(c.query, detail)
		}
		var got []atom.Happening
		for _, h := range []atom.Happening{began, held, failed, paused} {
			if wants(h) {
				got = append(got, h)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.query, got)
		}
	}
	if wants, detail := wanted(nil); wants != nil || detail != "" {
		t.Error(detail)
	}
	for _, wrong := range []string{"status=broken", "statu=failed"} {
		query, _ := url.ParseQuery(wrong)
		if _, detail := wanted(query); !strings.HasPrefix(detail, "There is no ") {
			t.Error(wrong, detail)
		}
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
	if resp := get("/api/v1/events?proces=p", "t"); resp.StatusCode != http.StatusBadRequest {
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
