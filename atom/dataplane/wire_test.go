package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/drain"
)

// answerOn reads one response from a connection.
func answerOn(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read the answer: %v, want no error", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read the answer's body: %v", err)
	}
	return resp, string(body)
}

// ended waits until the server closes the connection and returns the time.
func ended(r io.Reader, start time.Time) time.Duration {
	_, _ = io.Copy(io.Discard, r)
	return time.Since(start)
}

// wire runs f against a server with in-memory connections and simulated time.
func wire(t *testing.T, a *fake, deployed []*atom.DeployedProcess, f func(t *testing.T, p *pipes)) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, a, deployed...)
		p, stop := running(s)
		f(t, p)
		if err := stop(); err != nil {
			t.Errorf("stop: %v, want no error", err)
		}
	})
}

func dial(t *testing.T, p *pipes) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := p.dial()
	if err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

const slowBody = `{"type":"urn:valence:problem:slow_body","title":"Request body timeout","status":408,"detail":"The body arrived too slowly."}` + "\n"

func TestSlowClients(t *testing.T) {
	post := "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	t.Run("one byte of the headers a second", func(t *testing.T) {
		wire(t, &fake{}, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				for _, b := range []byte(post + strings.Repeat("X-A: b\r\n", 100)) {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					<-time.After(time.Second)
				}
			})
			if took := ended(r, start); took < bodyTimeout || took > bodyTimeout+2*time.Second {
				t.Errorf("cut off after %v", took)
			}
			c.Close()
		})
	})
	t.Run("one byte of the body a second", func(t *testing.T) {
		a := &fake{}
		wire(t, a, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				body := strings.Repeat(" ", 1000)
				if _, err := io.WriteString(c, post+"Content-Length: 1000\r\n\r\n"); err != nil {
					return
				}
				for i := range body {
					if _, err := c.Write([]byte{body[i]}); err != nil {
						return
					}
					<-time.After(time.Second)
				}
			})
			resp, body := answerOn(t, r, "POST")
			if took := time.Since(start); resp.StatusCode != 408 || body != slowBody || !resp.Close || took != bodyTimeout {
				t.Errorf("got %d %s after %v, close %v, want status 408, body slowBody, Close set, took bodyTimeout", resp.StatusCode, body, took, resp.Close)
			}
			ended(r, start)
			c.Close()
		})
		if a.last() != nil {
			t.Error("got a message in the atom, want none")
		}
	})
	t.Run("chunked without end, slowly", func(t *testing.T) {
		wire(t, &fake{}, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				_, err := io.WriteString(c, post+"Transfer-Encoding: chunked\r\n\r\n")
				for err == nil {
					_, err = io.WriteString(c, "1\r\n \r\n")
					<-time.After(time.Second)
				}
			})
			resp, body := answerOn(t, r, "POST")
			if took := time.Since(start); resp.StatusCode != 408 || body != slowBody || took != bodyTimeout {
				t.Errorf("got %d %s after %v, want status 408, body slowBody, took bodyTimeout", resp.StatusCode, body, took)
			}
			ended(r, start)
			c.Close()
		})
	})
	t.Run("chunked without end, fast", func(t *testing.T) {
		wire(t, &fake{}, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			sent := make(chan int)
			p.spawn(func() {
				_, err := io.WriteString(c, post+"Transfer-Encoding: chunked\r\n\r\n")
				n := 0
				for chunk := "1000\r\n" + strings.Repeat(" ", 4096) + "\r\n"; err == nil; n++ {
					_, err = io.WriteString(c, chunk)
				}
				sent <- n
			})
			resp, body := answerOn(t, r, "POST")
			want := problemDoc("too_large", "Request body too large", "413", "The limit is 1048576 bytes.", "")
			if resp.StatusCode != 413 || body != want || !resp.Close {
				t.Errorf("got %d %s, want status 413, %q and Close true", resp.StatusCode, body, want)
			}
			ended(r, time.Now())
			c.Close()
			if n := <-sent; n > (1<<20+drain.MaxBytes)/4096+80 {
				t.Errorf("%d chunks of 4 KiB were read", n)
			}
		})
	})
	t.Run("a large body that keeps arriving", func(t *testing.T) {
		a := &fake{}
		wire(t, a, []*atom.DeployedProcess{on("/a", takesAs("binary"))}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				_, _ = io.WriteString(c, post+"Content-Length: 1048576\r\n\r\n")
				for range 32 { // 32 KiB per second
					if _, err := c.Write(make([]byte, 32<<10)); err != nil {
						return
					}
					<-time.After(time.Second)
				}
			})
			resp, body := answerOn(t, r, "POST")
			if took := time.Since(start); resp.StatusCode != 200 || took < bodyTimeout {
				t.Errorf("got %d %s after %v, want status 200, took >= bodyTimeout", resp.StatusCode, body, took)
			}
			if n := len(a.last().Doc.Body()); n != 1<<20 {
				t.Errorf("%d bytes arrived", n)
			}
			c.Close()
		})
	})
	t.Run("a large body that stops", func(t *testing.T) {
		wire(t, &fake{}, []*atom.DeployedProcess{on("/a", takesAs("binary"))}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() {
				_, _ = io.WriteString(c, post+"Content-Length: 1048576\r\n\r\n")
				_, _ = c.Write(make([]byte, 512<<10))
			})
			resp, _ := answerOn(t, r, "POST")
			if took, most := time.Since(start), bodyTimeout+512<<10*time.Second/minBodyRate; resp.StatusCode != 408 || took > most {
				t.Errorf("got %d after %v, want at most %v", resp.StatusCode, took, most)
			}
			ended(r, start)
			c.Close()
		})
	})
	t.Run("an idle connection", func(t *testing.T) {
		wire(t, &fake{}, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			p.spawn(func() { _, _ = io.WriteString(c, post+"Content-Length: 2\r\n\r\n{}") })
			if resp, body := answerOn(t, r, "POST"); resp.StatusCode != 200 {
				t.Errorf("got %d %s, want status 200", resp.StatusCode, body)
			}
			if took := ended(r, time.Now()); took != idleTimeout {
				t.Errorf("closed after %v", took)
			}
			c.Close()
		})
	})
	t.Run("a client that does not read", func(t *testing.T) {
		a := &fake{request: func(context.Context, *atom.Message) (*atom.Reply, error) {
			return &atom.Reply{Doc: document.FromText(strings.Repeat("x", 1<<20))}, nil
		}}
		wire(t, a, []*atom.DeployedProcess{on("/a", replies("text"))}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			start := time.Now()
			p.spawn(func() { _, _ = io.WriteString(c, post+"Content-Length: 2\r\n\r\n{}") })
			if _, err := r.ReadByte(); err != nil { // the pipe has no buffer: the rest is stuck
				t.Fatal(err)
			}
			<-time.After(responseTimeout + 1<<20*time.Second/minBodyRate + time.Second)
			synctest.Wait()
			if n, err := io.Copy(io.Discard, r); err != nil || n > 64<<10 {
				t.Errorf("%d bytes were still sent after %v: %v, want no error, n <= 64<<10", n, time.Since(start), err)
			}
			c.Close()
		})
	})
}

func TestBrokenRequests(t *testing.T) {
	head := "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	incomplete := problemDoc("broken_body", "Incomplete request body", "400", "The body ended early, or its transfer encoding is broken.", "")
	tooBig := problemDoc("too_large", "Request body too large", "413", "The limit is 1048576 bytes.", "")
	for _, c := range []struct {
		name, send string
		half       bool // the client then closes its sending half
		status     int
		body       string // "" if the server itself responds
		close      bool
	}{
		{"length over the limit, nothing sent", head + "Content-Length: 1048577\r\n\r\n", false, 413, tooBig, true},
		{"length over the limit, waiting to be asked", head + "Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", false, 413, tooBig, true},
		{"length of a terabyte", head + "Content-Length: 1099511627776\r\n\r\n", false, 413, tooBig, true},
		{"chunk of no size", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", false, 400, incomplete, true},
		{"chunk longer than it says", head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", false, 400, incomplete, true},
		{"length smaller than the body", head + "Content-Length: 1\r\n\r\n{}", false, 400, "", false},
		{"two lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", false, 400, "", true},
		{"negative length", head + "Content-Length: -1\r\n\r\n{}", false, 400, "", true},
		{"unknown transfer encoding", head + "Transfer-Encoding: gzip\r\n\r\n{}", false, 501, "", true},
		{"no host", "POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", false, 400, "", true},
		{"space in a header name", head + "A B: c\r\n\r\n", false, 400, "", true},
		{"NUL in the path", "POST /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n", false, 400, "", true},
		{"headers over 64 KiB", head + "X: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", false, 431, "", true},
		{"not HTTP", "\x16\x03\x01\x00\x01\r\n\r\n", false, 400, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &fake{}
			wire(t, a, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
				conn, r := dial(t, p)
				p.spawn(func() { _, _ = io.WriteString(conn, c.send) })
				resp, body := answerOn(t, r, "POST")
				if resp.StatusCode != c.status || c.body != "" && body != c.body || resp.Close != c.close {
					t.Errorf("got %d, close %v, %s", resp.StatusCode, resp.Close, body)
				}
				conn.Close()
			})
			if a.last() != nil {
				t.Error("got a message in the atom, want none")
			}
		})
	}
}

// A body that ends early is rejected, whatever its declared length.
func TestClientLeaves(t *testing.T) {
	a := &fake{}
	wire(t, a, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
		c, _ := dial(t, p)
		_, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}")
		c.Close()
		synctest.Wait()
	})
	if a.last() != nil {
		t.Error("got half a message in the atom, want none")
	}

	left := make(chan error, 1)
	a = &fake{request: func(ctx context.Context, _ *atom.Message) (*atom.Reply, error) {
		<-ctx.Done()
		left <- context.Cause(ctx)
		return nil, ctx.Err()
	}}
	wire(t, a, []*atom.DeployedProcess{on("/a", replies("json"))}, func(t *testing.T, p *pipes) {
		c, _ := dial(t, p)
		start := time.Now()
		_, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		synctest.Wait()
		c.Close()
		if err := <-left; err != context.Canceled || time.Since(start) > time.Second {
			t.Errorf("got %v after %v, want err %v and time at most %v", err, time.Since(start), context.Canceled, time.Second)
		}
	})
}

// A process may take longer than the sender: the body's deadline does not end
// the request.
func TestLongRequest(t *testing.T) {
	for _, length := range []string{"Content-Length: 2\r\n\r\n{}", "Content-Length: 0\r\n\r\n"} {
		a := &fake{request: func(ctx context.Context, in *atom.Message) (*atom.Reply, error) {
			select {
			case <-time.After(5 * time.Minute):
				return &atom.Reply{Doc: document.FromJSON([]byte(`"done"`))}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		long := on("/a", replies("json"), takesAs("text"), func(d *atom.DeployedProcess) { d.Process.Listen.Timeout = 10 * time.Minute })
		wire(t, a, []*atom.DeployedProcess{long}, func(t *testing.T, p *pipes) {
			c, r := dial(t, p)
			p.spawn(func() { _, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\n"+length) })
			if resp, body := answerOn(t, r, "POST"); resp.StatusCode != 200 || body != `"done"` {
				t.Errorf("got %d %s, want status 200, body '\"done\"'", resp.StatusCode, body)
			}
			c.Close()
		})
	}
}

func TestKeepAlive(t *testing.T) {
	a := &fake{}
	wire(t, a, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
		c, r := dial(t, p)
		p.spawn(func() {
			for i := range 3 {
				_, _ = fmt.Fprintf(c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{\"n\":  %d}", i)
			}
			_, _ = io.WriteString(c, "POST /nix HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		})
		for i, want := range []int{200, 200, 200, 404, 200} {
			if resp, body := answerOn(t, r, "POST"); resp.StatusCode != want {
				t.Errorf("answer %d: got %d %s, want %v", i, resp.StatusCode, body, want)
			}
		}
		c.Close()
	})
	if len(a.arrived) != 3 || a.last().Doc.Data() != `{"n":  2}` {
		t.Errorf("%d arrived", len(a.arrived))
	}
}

// Stopping: readiness fails first, requests are served during the lag, then
// connections are refused and requests in flight finish.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{request: func(context.Context, *atom.Message) (*atom.Reply, error) {
			<-time.After(10 * time.Second)
			return &atom.Reply{Doc: document.FromJSON([]byte(`1`))}, nil
		}}
		s := serve(t, a, on("/fast"), on("/slow", replies("json")))
		s.options.Lag, s.options.Grace = 5*time.Second, 20*time.Second
		p, stop := running(s)
		slow, r := dial(t, p)
		start := time.Now()
		p.spawn(func() {
			_, _ = io.WriteString(slow, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		})
		stopped := make(chan error, 1)
		synctest.Wait()
		go func() { stopped <- stop() }()
		synctest.Wait()
		ask := func(what string) int {
			c, r := dial(t, p)
			defer c.Close()
			p.spawn(func() { _, _ = io.WriteString(c, what+" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n") })
			resp, _ := answerOn(t, r, "GET")
			if !resp.Close {
				t.Errorf("%s: got the connection kept open while draining, want it closed", what)
			}
			return resp.StatusCode
		}
		if got := ask("GET /readyz"); got != 503 {
			t.Errorf("readyz: got %d, want 503", got)
		}
		if got := ask("GET /healthz"); got != 200 {
			t.Errorf("healthz: got %d, want 200", got)
		}
		<-time.After(6 * time.Second)
		synctest.Wait()
		if _, err := p.dial(); err == nil {
			t.Error("after the lag: got a connection, want it refused")
		}
		if resp, body := answerOn(t, r, "POST"); resp.StatusCode != 200 || body != "1" || time.Since(start) != 10*time.Second {
			t.Errorf("got %d %s after %v, want status 200, 1 and time %v", resp.StatusCode, body, time.Since(start), 10*time.Second)
		}
		slow.Close()
		if err := <-stopped; err != nil || time.Since(start) > 12*time.Second {
			t.Errorf("got %v after %v, want time at most %v and no error", err, time.Since(start), 12*time.Second)
		}
	})
}

// Requests that exceed the grace period are cancelled and answered 503, and Run
// waits for them.
func TestGraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := false
		a := &fake{request: func(ctx context.Context, _ *atom.Message) (*atom.Reply, error) {
			<-ctx.Done()
			<-time.After(time.Second)
			left = true
			return nil, ctx.Err()
		}}
		s := serve(t, a, on("/slow", replies("json"), func(d *atom.DeployedProcess) { d.Process.Listen.Timeout = time.Hour }))
		p, stop := running(s)
		c, r := dial(t, p)
		p.spawn(func() { _, _ = io.WriteString(c, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}") })
		synctest.Wait()
		start := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- stop() }()
		if resp, body := answerOn(t, r, "POST"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("got %d %s, want 503 with Retry-After", resp.StatusCode, body)
		}
		if err := <-stopped; err != nil || !left || time.Since(start) < 21*time.Second || time.Since(start) > 22*time.Second {
			t.Errorf("got %v after %v, left %v, want nil after 21 s", err, time.Since(start), left)
		}
		c.Close()
	})
}

func TestListenFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := New(Options{Atom: &fake{}, Address: taken.Addr().String()})
	if err := s.Run(context.Background()); err == nil || !strings.HasPrefix(err.Error(), "listen for requests: ") {
		t.Errorf(`got %v, want an error beginning with "listen for requests: "`, err)
	}
}
