package admin

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
	"valence/atom/activity"
)

func TestAppendHappening(t *testing.T) {
	h := atom.ActivityEvent{Event: atom.ActivityEnded, At: time.Unix(0, 0).UTC(), Process: "p", Execution: "x", Status: "failed", Error: "a\nb"}
	const want = "event: ended\ndata: {\"event\":\"ended\",\"at\":\"1970-01-01T00:00:00Z\",\"process\":\"p\",\"execution\":\"x\",\"status\":\"failed\",\"error\":\"a\\nb\"}\n\n"
	if got := string(appendActivity(nil, h)); got != want {
		t.Errorf("got %s, want %v", got, want)
	}
}

func TestActivityFilter(t *testing.T) {
	began := atom.ActivityEvent{Event: atom.ActivityStarted, Process: "p"}
	held := atom.ActivityEvent{Event: atom.ActivitySuspended, Process: "p", Status: "held"}
	failed := atom.ActivityEvent{Event: atom.ActivityEnded, Process: "other", Status: "failed"}
	paused := atom.ActivityEvent{Event: atom.ActivityPaused, Process: "p"}
	for _, c := range []struct {
		query string
		want  []atom.ActivityEvent
	}{
		{"process=p", []atom.ActivityEvent{began, held, paused}},
		{"process=p,other", []atom.ActivityEvent{began, held, failed, paused}},
		{"status=running", []atom.ActivityEvent{began}},
		{"status=held&status=failed", []atom.ActivityEvent{held, failed}},
		{"status=held,failed&process=other", []atom.ActivityEvent{failed}},
	} {
		query, _ := url.ParseQuery(c.query)
		wants, detail := activityFilter(query)
		if detail != "" {
			t.Fatalf("got %v, %v, want no detail", c.query, detail)
		}
		var got []atom.ActivityEvent
		for _, h := range []atom.ActivityEvent{began, held, failed, paused} {
			if wants(h) {
				got = append(got, h)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.query, got, c.want)
		}
	}
	if wants, detail := activityFilter(nil); wants != nil || detail != "" {
		t.Errorf("got %v, want no filter and no detail", detail)
	}
	for _, wrong := range []string{"status=broken", "statu=failed"} {
		query, _ := url.ParseQuery(wrong)
		if _, detail := activityFilter(query); !strings.HasPrefix(detail, "Unknown ") {
			t.Errorf("%s: got %q, want an unknown parameter or status", wrong, detail)
		}
	}
}

// A stream starts immediately, counts against the limit and ends with the atom.
func TestEventsEndWithTheAtom(t *testing.T) {
	stopped := make(chan struct{})
	srv := httptest.NewServer(New(Options{Activity: new(activity.Feed), Stopped: stopped, Token: "t"}))
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
		t.Errorf("got %v, want status Unauthorized", resp.Status)
	}
	if resp := get("/api/v1/events?proces=p", "t"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %v, want status BadRequest", resp.Status)
	}
	var streams []*http.Response
	for range maxStreams {
		resp := get("/api/v1/events", "t")
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("got %v, %v, want status OK, Content-Type \"text/event-stream\"", resp.Status, resp.Header)
		}
		streams = append(streams, resp)
	}
	if resp := get("/api/v1/events", "t"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %v, want status ServiceUnavailable, Retry-After", resp.Status)
	}
	close(stopped)
	for _, s := range streams {
		lines := bufio.NewScanner(s.Body)
		n := 0
		for lines.Scan() {
			n++
		}
		if lines.Err() != nil || n != 2 {
			t.Errorf("got %v %v, want 2 and no error", n, lines.Err())
		}
	}
}
