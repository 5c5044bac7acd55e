package admin

import (
	"net/http"
	"strings"

	"valence/internal/mask"
)

// withMasks masks the loaded secrets in JSON responses: the stored answers of
// other systems may contain them.
func withMasks(next http.Handler, masks *mask.Set) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&maskedWriter{w, masks}, r)
	})
}

// maskedWriter masks JSON. Each Write must be of whole values.
type maskedWriter struct {
	http.ResponseWriter
	masks *mask.Set
}

// Unwrap returns the writer for http.ResponseController.
func (w *maskedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements io.Writer.
func (w *maskedWriter) Write(p []byte) (int, error) {
	out := p
	if media := w.Header().Get("Content-Type"); strings.Contains(media, "json") {
		out = w.masks.JSON(p)
	}
	if _, err := w.ResponseWriter.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
