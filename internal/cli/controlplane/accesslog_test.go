package controlplane

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAccessLog(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/missing") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("body"))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("got %v, want a response that can be flushed", err)
		}
	})
	for every, want := range map[int]int{0: 0, 1: 7, 3: 3} { // six requests succeed, one fails
		var lines strings.Builder
		h := withAccessLog(handler, slog.New(slog.NewTextHandler(&lines, nil)), every)
		for range 6 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/x?token=hidden", nil))
		}
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/api/missing", nil))
		got := lines.String()
		if n := strings.Count(got, "msg=request"); n != want || strings.Contains(got, "hidden") {
			t.Errorf("every %d: got %d lines, want %d without the query:\n%s", every, n, want, got)
		}
		if want > 0 && !strings.Contains(got, "method=GET path=/api/missing status=404 remote=192.0.2.1:1234 bytes=4 took_ms=") {
			t.Errorf("every %d: got\n%s, want the failed request", every, got)
		}
	}
}
