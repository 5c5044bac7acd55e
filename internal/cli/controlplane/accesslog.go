package controlplane

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"
)

// withAccessLog logs every n-th request, and all failed ones, in the form of an
// atom's access log. 0 logs none.
func withAccessLog(next http.Handler, log *slog.Logger, every int) http.Handler {
	if every <= 0 {
		return next
	}
	var served atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		counted := &countedResponse{ResponseWriter: w, status: http.StatusOK}
		path := r.URL.Path // handlers may change the request
		defer func() {
			if counted.status < 400 && served.Add(1)%uint64(every) != 0 {
				return
			}
			log.LogAttrs(context.Background(), slog.LevelInfo, "request",
				slog.String("method", r.Method), slog.String("path", path), slog.Int("status", counted.status),
				slog.String("remote", r.RemoteAddr), slog.Int("bytes", counted.size),
				slog.Float64("took_ms", float64(time.Since(begin).Microseconds())/1000))
		}()
		next.ServeHTTP(counted, r)
	})
}

// countedResponse records the status and the size of a response.
type countedResponse struct {
	http.ResponseWriter
	status int
	size   int
}

// Unwrap lets http.ResponseController reach the connection.
func (w *countedResponse) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *countedResponse) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *countedResponse) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.size += n
	return n, err
}
