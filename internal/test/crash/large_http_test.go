package crash

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const largeWebProject = `
process: carry
retention: { documents: 0d }
retry: { max_attempts: 500, backoff: 20ms..200ms }
listen: { path: "/carry/{name}", method: POST, input: none, auth: none }
steps:
  - call: web.get
    with: { path: "/files/${request.params.name}" }
  - call: web.put
    with: { path: "/in/${request.params.name}" }
---
process: form
retention: { documents: 0d }
listen: { path: "/form/{name}", method: POST, input: none, auth: none }
steps:
  - call: web.get
    with: { path: "/files/${request.params.name}" }
  - map: { note: hello, file: "${doc}" }
  - call: web.put
    with: { path: "/in/${request.params.name}", format: multipart }
---
connection: web
connector: http
idempotent: natural
url: WEB
max_response: 2GiB
timeout: 3s
`

// web serves one random file under all names, and receives files.
type web struct {
	sum    string
	size   int // MiB
	server *httptest.Server

	mu       sync.Mutex
	received map[string]string // hashes by path
	reads    int
	read     func(w http.ResponseWriter) bool // answers a GET in another way, once
	write    func(r *http.Request) int        // reads a PUT in another way and returns the status, once
}

func newWeb(t *testing.T, mebibytes int) *web {
	t.Helper()
	s := &web{size: mebibytes, received: map[string]string{}}
	sum := sha256.New()
	_, _ = io.Copy(sum, s.file())
	s.sum = hex.EncodeToString(sum.Sum(nil))
	s.server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.server.Close)
	return s
}

func (s *web) file() io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{2}), int64(s.size)<<20)
}

func (s *web) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	read, write := s.read, s.write
	if r.Method == http.MethodGet {
		s.read = nil
		s.reads++
	} else {
		s.write = nil
	}
	s.mu.Unlock()
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Length", strconv.Itoa(s.size<<20))
		if read == nil || !read(w) {
			_, _ = io.Copy(w, s.file())
		}
		return
	}
	if write != nil {
		w.Header().Set("Connection", "close")
		w.WriteHeader(write(r))
		return
	}
	sum := sha256.New()
	var body io.Reader = r.Body
	if form, err := r.MultipartReader(); err == nil {
		for part, err := form.NextPart(); err == nil; part, err = form.NextPart() {
			if body = part; part.FormName() == "file" {
				break
			}
		}
	}
	if _, err := io.Copy(sum, body); err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil || r.ContentLength < int64(s.size)<<20 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received[r.URL.Path] = hex.EncodeToString(sum.Sum(nil))
}

// once sets the answers to the next requests.
func (s *web) once(read func(w http.ResponseWriter) bool, write func(r *http.Request) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read, s.write = read, write
}

// arrives waits until the file has arrived under a name, and nothing of it is left
// in the data folder.
func (s *web) arrives(c *carrier, name string) {
	c.t.Helper()
	c.until(name+" has arrived", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.received["/in/"+name] != ""
	})
	if got := s.received["/in/"+name]; got != s.sum {
		c.t.Fatalf("%s: got content %s, want %s", name, got, s.sum)
	}
	c.until("no stored file is left", func() bool {
		stored, unfinished := c.blobs()
		return len(stored)+len(unfinished) == 0
	})
}

func newWebCarrier(t *testing.T, s *web) *carrier {
	t.Helper()
	c := &carrier{atom: newAtom(t, "127.0.0.1:1")}
	c.runs(strings.ReplaceAll(largeWebProject, "WEB", s.server.URL))
	return c
}

// TestLargeBodiesPassThroughWithLittleMemory carries a file from one web service
// to another, as a body and as a part of a form.
func TestLargeBodiesPassThroughWithLittleMemory(t *testing.T) {
	s := newWeb(t, 64)
	c := newWebCarrier(t, s)
	c.start()
	idle := c.fact("VmRSS")
	c.post("/carry/a")
	s.arrives(c, "a")
	c.post("/form/b")
	s.arrives(c, "b")
	grown := c.fact("VmHWM") - idle
	t.Logf("64 MiB passed twice: memory grew by %d KiB, from %d KiB", grown, idle)
	if grown > 60<<10 {
		t.Errorf("memory grew by %d KiB, want at most %d", grown, 60<<10)
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, c.out.String())
	}
}

// TestLargeBodiesSurviveFailures breaks downloads and uploads: truncated answers,
// a server that stops reading or answers early, and kills in the middle of both.
func TestLargeBodiesSurviveFailures(t *testing.T) {
	s := newWeb(t, 16)
	c := newWebCarrier(t, s)
	c.start()
	half := func(w http.ResponseWriter) bool {
		_, _ = io.CopyN(w, s.file(), int64(s.size)<<19)
		panic(http.ErrAbortHandler)
	}
	early := func(r *http.Request) int {
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		return http.StatusServiceUnavailable
	}
	s.once(half, early)
	c.post("/carry/broken")
	s.arrives(c, "broken")
	again := make(chan struct{})
	release := sync.OnceFunc(func() { close(again) })
	defer release()
	s.once(nil, func(*http.Request) int { // until the call has timed out
		<-again
		return http.StatusOK
	})
	c.post("/carry/slow")
	s.arrives(c, "slow")
	release()

	arrived := make(chan bool, 2)
	s.once(func(w http.ResponseWriter) bool {
		_, _ = io.CopyN(w, s.file(), int64(s.size)<<19)
		arrived <- true
		panic(http.ErrAbortHandler)
	}, nil)
	c.post("/carry/killed")
	<-arrived
	c.kill()
	if stored, unfinished := c.blobs(); len(stored) > 0 || len(unfinished) != 1 {
		t.Errorf("killed in the middle of a download: got files %q and %q, want an unfinished one", stored, unfinished)
	}
	s.once(nil, func(r *http.Request) int {
		_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
		arrived <- true
		return http.StatusServiceUnavailable
	})
	c.start()
	<-arrived
	s.mu.Lock()
	reads := s.reads
	s.mu.Unlock()
	c.kill()
	c.start()
	s.arrives(c, "killed")
	if s.reads > reads+1 {
		t.Errorf("got %d downloads after the kill, want at most one", s.reads-reads)
	}
	if code := c.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, c.out.String())
	}
}
