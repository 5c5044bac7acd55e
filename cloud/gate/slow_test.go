package gate_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// TestSlowEnrolmentsHoldNobodyUp: anybody may begin to enrol, and send nothing more.
func TestSlowEnrolmentsHoldNobodyUp(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	for range 4 * runtime.GOMAXPROCS(0) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", wire.PathEnrol)
	}
	time.Sleep(50 * time.Millisecond) // what they sent is there
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.atom.Poll(ctx, s.generation, 0); err != nil {
		t.Errorf("an atom waits for those who do not send: %v", err)
	}
}

// TestCutRequests: a request that did not come whole is no bad one: its atom is
// to send it again.
func TestCutRequests(t *testing.T) {
	s := begin(t, cloudtest.Options{})
	for body, want := range map[string]string{
		strings.Repeat("x", 100):      "HTTP/1.1 408 ",
		strings.Repeat("x", 64<<10+1): "HTTP/1.1 413 ",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n%s", wire.PathEnrol, body)
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 512)
		n, err := c.Read(answer)
		if got := string(answer[:n]); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%d bytes of the body: %q, %v, want %q", len(body), got, err, want)
		}
	}
}
