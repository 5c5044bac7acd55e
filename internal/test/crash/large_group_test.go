package crash

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestGroupTakesOverLargeFiles kills the member of a group that sends a large file.
// The other one reads it from the database and sends it, with little memory.
func TestGroupTakesOverLargeFiles(t *testing.T) {
	s := newWeb(t, 48)
	server, members := newGroupOf(t, 2, "127.0.0.1:1", "project: shop\n---\n"+strings.ReplaceAll(largeWebProject, "WEB", s.server.URL))
	a, b := &carrier{atom: members[0]}, &carrier{atom: members[1]}
	idle := b.fact("VmRSS")
	sending, released := make(chan bool, 1), make(chan struct{})
	defer close(released)
	s.once(nil, func(*http.Request) int {
		sending <- true
		<-released // the killed member gets no answer
		return http.StatusServiceUnavailable
	})
	a.post("/carry/large")
	<-sending
	a.kill()
	within(t, time.Minute, "the other member sends the file", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.received["/in/large"] != ""
	})
	s.mu.Lock()
	if got := s.received["/in/large"]; got != s.sum || s.reads != 1 {
		t.Errorf("got content %s after %d downloads, want %s after one", got, s.reads, s.sum)
	}
	s.mu.Unlock()
	grown := b.fact("VmHWM") - idle
	t.Logf("48 MiB adopted: memory grew by %d KiB, from %d KiB", grown, idle)
	if grown > 60<<10 {
		t.Errorf("memory grew by %d KiB, want at most %d", grown, 60<<10)
	}
	address, err := url.Parse(members[1].store[1])
	if err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, "no stored file is left", func() bool {
		return server.Try(strings.TrimPrefix(address.Path, "/"), "DO $$ BEGIN IF EXISTS (SELECT FROM atom_file) THEN RAISE EXCEPTION 'a file is left'; END IF; END $$") == nil
	})
	if code := b.stop(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, b.out.String())
	}
}
