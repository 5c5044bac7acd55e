package crash

import (
	"hash/fnv"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostile is a destination that answers most calls and otherwise late, with an
// error, with half a response, or not at all.
type hostile struct {
	*httptest.Server
	gentle atomic.Bool // answer every call at once
	broken atomic.Bool // reject /brittle/

	mu        sync.Mutex
	calls     map[string]map[string][]answered // by path and idempotency key
	unsigned  []string                         // paths called without a key
	callbacks map[string]string                // by id of the order
	attempts  map[string]int
}

// answered is one complete response.
type answered struct {
	begin time.Time
	sent  time.Time // just before it was written
	end   time.Time // after it was written
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{calls: map[string]map[string][]answered{}, callbacks: map[string]string{}, attempts: map[string]int{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller was killed
	}
	_, kind, _ := strings.Cut(r.URL.Path, "/")
	kind, id, _ := strings.Cut(kind, "/")
	key := r.Header.Get("Idempotency-Key")
	h.mu.Lock()
	h.attempts[r.URL.Path+key]++
	n := h.attempts[r.URL.Path+key]
	if kind == "ask" {
		h.callbacks[id] = strings.Trim(strings.TrimSpace(string(body)), `"`)
	}
	if key == "" {
		h.unsigned = append(h.unsigned, r.URL.Path)
	}
	h.mu.Unlock()

	status := http.StatusOK
	switch {
	case kind == "refused" && odd(id):
		status = http.StatusConflict
	case kind == "brittle" && h.broken.Load():
		status = http.StatusUnprocessableEntity
	}
	if !h.gentle.Load() {
		switch mood(r.URL.Path, n) {
		case 0: // late
			select {
			case <-time.After(300 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		case 1:
			http.Error(w, "try later", http.StatusServiceUnavailable)
			return
		case 2: // half a response
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"half":`)
			panic(http.ErrAbortHandler)
		case 3: // no response
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "2")
	w.WriteHeader(status)
	sent := time.Now()
	if _, err := io.WriteString(w, "{}"); err != nil {
		return
	}
	_ = http.NewResponseController(w).Flush()
	end := time.Now()
	if r.Context().Err() != nil || end.Sub(begin) > 700*time.Millisecond || status == http.StatusUnprocessableEntity {
		return // the caller may have given up, or fails and is resubmitted
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls[r.URL.Path] == nil {
		h.calls[r.URL.Path] = map[string][]answered{}
	}
	h.calls[r.URL.Path][key] = append(h.calls[r.URL.Path][key], answered{begin, sent, end})
}

// mood returns how the n-th attempt of a call is answered: 0 to 3 are faults.
func mood(path string, n int) uint32 {
	f := fnv.New32a()
	_, _ = io.WriteString(f, path+"#"+strconv.Itoa(n))
	return f.Sum32() % 20
}

func odd(id string) bool { return strings.HasSuffix(id, "1") || strings.HasSuffix(id, "7") }

// keys returns the number of idempotency keys that were answered on a path.
func (h *hostile) keys(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.calls[path])
}

func (h *hostile) answers() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, keys := range h.calls {
		for _, a := range keys {
			n += len(a)
		}
	}
	return n
}

// last returns when the last call of a path began; zero: there was none.
func (h *hostile) last(path string) (last time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, all := range h.calls[path] {
		for _, a := range all {
			if a.begin.After(last) {
				last = a.begin
			}
		}
	}
	return last
}

// newest returns the highest number that was called below a path.
func (h *hostile) newest(prefix string) (newest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for path := range h.calls {
		if n, err := strconv.Atoi(strings.TrimPrefix(path, prefix)); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// callbackURLs returns the callback URLs of all orders.
func (h *hostile) callbackURLs() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.callbacks)
}
