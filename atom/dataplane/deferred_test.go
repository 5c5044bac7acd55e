package dataplane

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/fault"

	"github.com/coder/websocket"
)

func modes(action string, m ...string) func(*atom.DeployedProcess) {
	return func(d *atom.DeployedProcess) {
		d.Process.Listen.Output, d.Process.Listen.Timeout = "json", 30*time.Second
		d.Process.Listen.TimeoutAction, d.Process.Listen.ReplyModes = action, m
	}
}

func TestParsePrefer(t *testing.T) {
	for _, c := range []struct {
		headers []string
		async   bool
		wait    int
	}{
		{nil, false, -1},
		{[]string{"respond-async"}, true, -1},
		{[]string{"respond-async, wait=5"}, true, 5},
		{[]string{"Respond-Async;foo=bar , WAIT=5"}, true, 5},
		{[]string{"wait=10", "respond-async"}, true, 10},
		{[]string{`wait="7"`}, false, 7},
		{[]string{"wait=1, wait=9"}, false, 1},
		{[]string{"wait=-1"}, false, -1},
		{[]string{"wait=x, respond-async=no"}, false, -1},
		{[]string{"wait=99999999999999999999"}, false, -1},
		{[]string{"wait=2000000000"}, false, 86400},
		{[]string{"return=minimal; foo, handling=lenient"}, false, -1},
		{[]string{`respond-async=""`}, true, -1},
	} {
		p := parsePrefer(c.headers)
		wait := int(p.wait / time.Second)
		if p.wait < 0 {
			wait = -1
		}
		if p.respondAsync != c.async || wait != c.wait {
			t.Errorf("%q: got %v, %d, want respondAsync %v and wait %v", c.headers, p.respondAsync, wait, c.async, c.wait)
		}
	}
}

// Combinations of the caller's preferences and the listener's modes.
func TestReplyModes(t *testing.T) {
	const url = "https://shop.example/hooks/"
	for _, c := range []struct {
		name     string
		listener func(*atom.DeployedProcess)
		headers  []string
		status   int // 200 is synchronous, 202 is deferred
		applied  string
	}{
		{"sync", modes("cancel", "sync"), nil, 200, ""},
		{"not offered, so ignored", modes("cancel", "sync"), []string{"Prefer", "respond-async, wait=1"}, 200, ""},
		{"nobody asks", modes("cancel", "sync", "deferred"), nil, 200, ""},
		{"wait alone asks for nothing", modes("cancel", "sync", "deferred"), []string{"Prefer", "wait=1"}, 200, ""},
		{"deferred", modes("cancel", "sync", "deferred"), []string{"Prefer", "respond-async"}, 202, "respond-async"},
		{"no time to wait", modes("cancel", "sync", "deferred"), []string{"Prefer", "respond-async, wait=0"}, 202, "respond-async, wait=0"},
		{"always deferred", modes("cancel", "deferred"), nil, 202, ""},
		{"callback", modes("cancel", "sync", "callback"), []string{"Prefer", "respond-async", "Callback-Url", url}, 202, "respond-async"},
		{"callback alone is offered, and not asked for", modes("cancel", "sync", "callback"), []string{"Prefer", "respond-async"}, 200, ""},
		{"callback must be asked for", modes("cancel", "callback"), nil, 400, ""},
		{"callback is not offered", modes("cancel", "sync", "deferred"), []string{"Prefer", "respond-async", "Callback-Url", url}, 400, ""},
		{"callback to nowhere", modes("cancel", "sync", "callback"), []string{"Prefer", "respond-async", "Callback-Url", ""}, 400, ""},
		{"callback without async", modes("cancel", "sync", "callback"), []string{"Callback-Url", url}, 400, ""},
		{"two callbacks", modes("cancel", "sync", "callback"), []string{"Prefer", "respond-async", "Callback-Url", url, "Callback-Url", url}, 400, ""},
		{"fire and forget calls nobody back", func(*atom.DeployedProcess) {}, []string{"Callback-Url", url}, 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{}
			w := send(serve(t, f, on("/a", c.listener)), "POST", "/a", `{"x":1}`, c.headers...)
			if w.Code != c.status || w.Header().Get("Preference-Applied") != c.applied {
				t.Fatalf("got %d %v %s, want status %v and Preference-Applied %q", w.Code, w.Header(), w.Body, c.status, c.applied)
			}
			switch c.status {
			case 202:
				var receipt map[string]any
				if err := json.Unmarshal(w.Body.Bytes(), &receipt); err != nil || receipt["reply_token"] != "secret" || receipt["sha256"] == nil || w.Header().Get("Location") != "/executions/x1" || w.Header().Get("Retry-After") != "2" {
					t.Errorf("got %v %s, want no error, receipt[\"reply_token\"] \"secret\", receipt[\"sha256\"], Location \"/executions/x1\", Retry-After \"2\"", w.Header(), w.Body)
				}
				if l := f.last().Deferred; l == nil || l.Callback != http.Header(pairs(c.headers)).Get("Callback-Url") {
					t.Errorf("%+v", l)
				}
			case 200:
				if f.last().Deferred != nil {
					t.Error("got a deferred reply, want a synchronous one")
				}
			case 400:
				if f.last() != nil || !strings.Contains(w.Body.String(), "urn:valence:problem:bad_callback") {
					t.Errorf(`got %s, want nil last and body with "urn:valence:problem:bad_callback"`, w.Body)
				}
			}
		})
	}
}

func pairs(list []string) map[string][]string {
	h := http.Header{}
	for i := 0; i < len(list); i += 2 {
		h.Add(list[i], list[i+1])
	}
	return h
}

// stage is an execution whose progress the test controls.
type stage struct {
	mu sync.Mutex
	p  atom.Progress
}

func (s *stage) follow(id, principal, token string) (*atom.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "x1" || token != "secret" && principal != "" {
		return nil, store.ErrUnknown
	}
	p := s.p
	p.Execution = id
	return &p, nil
}

func (s *stage) reply(f *fake, r *atom.StoredReply) {
	s.mu.Lock()
	s.p.Reply = r
	s.mu.Unlock()
	f.watch <- struct{}{}
}

// A request may be held until its reply is ready, limited by the caller and the
// listener.
func TestBoundedWait(t *testing.T) {
	for _, c := range []struct {
		name     string
		listener func(*atom.DeployedProcess)
		prefer   string
		after    time.Duration
		status   int
		took     time.Duration
		applied  string
	}{
		{"in time", modes("cancel", "sync", "deferred"), "respond-async, wait=5", 2 * time.Second, 201, 2 * time.Second, "wait=5"},
		{"too late", modes("cancel", "sync", "deferred"), "respond-async, wait=5", 7 * time.Second, 202, 5 * time.Second, "respond-async, wait=5"},
		{"not longer than the listener's timeout", modes("cancel", "sync", "deferred"), "respond-async, wait=300", 40 * time.Second, 202, 30 * time.Second, "respond-async, wait=300"},
		{"slow, and goes on", modes("continue", "sync"), "", 40 * time.Second, 202, 30 * time.Second, ""},
		{"fast enough", modes("continue", "sync"), "", 20 * time.Second, 201, 20 * time.Second, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{p: atom.Progress{HasReply: true, Status: "running", CorrelationID: "c1"}}
				f := &fake{follow: s.follow, watch: make(chan struct{}, 1)}
				server := serve(t, f, on("/a", c.listener))
				var done sync.WaitGroup
				done.Go(func() {
					<-time.After(c.after)
					s.reply(f, &atom.StoredReply{Status: 201, Media: "application/json", Body: []byte(`{"y":2}`), Headers: []atom.KV{{Name: "X-Y", Value: "2"}}})
				})
				start := time.Now()
				w := send(server, "POST", "/a", `{}`, "Prefer", c.prefer)
				if w.Code != c.status || time.Since(start) != c.took || w.Header().Get("Preference-Applied") != c.applied {
					t.Errorf("got %d %v after %v, want status %v, time %v and Preference-Applied %q", w.Code, w.Header(), time.Since(start), c.status, c.took, c.applied)
				}
				if c.status == 201 && (w.Body.String() != `{"y":2}` || w.Header().Get("X-Y") != "2" || w.Header().Get("X-Execution-Id") != "x1") {
					t.Errorf("%v %s", w.Header(), w.Body)
				}
				done.Wait()
				if server.followers.Load() != 0 {
					t.Error("got a follower left, want none")
				}
			})
		})
	}
}

func TestCollect(t *testing.T) {
	problem := &atom.StoredReply{Status: 422, Media: "application/problem+json", Body: []byte(`{"status":422}`), Problem: true}
	for _, c := range []struct {
		name   string
		p      atom.Progress
		status int
		media  string
		body   string
	}{
		{"runs", atom.Progress{HasReply: true, Status: "running", Process: "a"}, 202, "application/json", `"status":"running"`},
		{"replied", atom.Progress{HasReply: true, Reply: &atom.StoredReply{Status: 200, Media: "text/plain", Body: []byte("yes")}}, 200, "text/plain", "yes"},
		{"failed", atom.Progress{HasReply: true, Reply: problem}, 422, "application/problem+json", `{"status":422}`},
		{"over", atom.Progress{HasReply: true, Gone: true}, 410, "application/problem+json", "reply_expired"},
		{"fire and forget", atom.Progress{Status: "completed", EndedAt: time.Unix(1, 0)}, 200, "application/json", `"status":"completed"`},
		{"no body", atom.Progress{HasReply: true, Reply: &atom.StoredReply{Status: 200}}, 200, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &stage{p: c.p}
			server := serve(t, &fake{follow: s.follow}, on("/a"))
			for _, headers := range [][]string{{"Authorization", "Bearer secret"}, {}} {
				target := "/executions/x1"
				if len(headers) == 0 {
					target += "?reply_token=secret"
				}
				w := send(server, "GET", target, "", headers...)
				if w.Code != c.status || w.Header().Get("Content-Type") != c.media || !strings.Contains(w.Body.String(), c.body) || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("got %d %v %s, want status %v, Content-Type %q, body with %q and Cache-Control no-store", w.Code, w.Header(), w.Body, c.status, c.media, c.body)
				}
			}
		})
	}
}

func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{p: atom.Progress{HasReply: true, Status: "waiting"}}
		f := &fake{follow: s.follow, watch: make(chan struct{}, 1)}
		server := serve(t, f, on("/a"))
		start := time.Now()
		if w := send(server, "GET", "/executions/x1", "", "Prefer", "wait=300"); w.Code != 202 || time.Since(start) != time.Minute || w.Header().Get("Preference-Applied") != "wait=60" {
			t.Errorf("got %d %v after %v, want status 202, time %v and Preference-Applied wait=60", w.Code, w.Header(), time.Since(start), time.Minute)
		}
		var done sync.WaitGroup
		done.Go(func() {
			<-time.After(time.Second)
			s.reply(f, &atom.StoredReply{Status: 200, Media: "application/json", Body: []byte("1")})
		})
		start = time.Now()
		if w := send(server, "GET", "/executions/x1", "", "Prefer", "wait=30"); w.Code != 200 || time.Since(start) != time.Second {
			t.Errorf("got %d after %v, want status 200 and time %v", w.Code, time.Since(start), time.Second)
		}
		done.Wait()
	})
}

func TestDeferRefused(t *testing.T) {
	f := &fake{put: func(context.Context, *atom.Message) (*atom.Acknowledgement, *atom.Reply, error) {
		return nil, nil, &fault.Failure{Code: atom.CodeBadCallback, Source: fault.FromAtom, Status: 400, Message: "The URL in Callback-Url cannot be called."}
	}}
	w := send(serve(t, f, on("/a", modes("cancel", "sync", "callback"))), "POST", "/a", `{}`, "Prefer", "respond-async", "Callback-Url", "https://x/")
	if w.Code != 400 || !strings.Contains(w.Body.String(), "The URL in Callback-Url cannot be called.") {
		t.Errorf("got %d %s, want status 400, body with \"The URL in Callback-Url cannot be called.\"", w.Code, w.Body)
	}
	f.put = func(context.Context, *atom.Message) (*atom.Acknowledgement, *atom.Reply, error) {
		return nil, &atom.Reply{None: true}, nil // filtered out
	}
	if w := send(serve(t, f, on("/a", modes("cancel", "deferred"))), "POST", "/a", `{}`); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("got %d %s, want status 200 and body length 0", w.Code, w.Body)
	}
}

// happening is an execution whose events the test controls.
func happening(list *[]atom.Event, mu *sync.Mutex, over *bool) func(id, after string) ([]atom.Event, bool, error) {
	return func(_, after string) ([]atom.Event, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		for i, e := range *list {
			if e.ID == after {
				return (*list)[i+1:], *over, nil
			}
		}
		return *list, *over, nil
	}
}

func TestEventStream(t *testing.T) {
	var mu sync.Mutex
	over := false
	list := []atom.Event{{ID: "accepted", Name: "accepted", Data: []byte(`{}`)}}
	s := &stage{p: atom.Progress{HasReply: true, Status: "running", CorrelationID: "c1"}}
	f := &fake{follow: s.follow, events: happening(&list, &mu, &over)}
	wire(t, f, []*atom.DeployedProcess{on("/a")}, func(t *testing.T, p *pipes) {
		f.watch = make(chan struct{}, 1)
		c, r := dial(t, p)
		fmt.Fprint(c, "GET /executions/x1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/html, text/event-stream;q=0.9\r\n\r\n")
		resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Correlation-Id") != "c1" {
			t.Fatalf("got %v, %v, want no error, status 200, Content-Type \"text/event-stream\", Cache-Control \"no-store\", Correlation-Id \"c1\"", resp, err)
		}
		body := bufio.NewReader(resp.Body)
		expect := func(want string) {
			t.Helper()
			got := ""
			for !strings.HasSuffix(got, "\n\n") {
				line, err := body.ReadString('\n')
				if err != nil {
					t.Fatalf("got %q, %v, want no error", got, err)
				}
				got += line
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		expect("retry: 2000\n\n")
		expect("id: accepted\nevent: accepted\ndata: {}\n\n")
		start := time.Now()
		expect(":\n\n")
		if time.Since(start) != heartbeatInterval {
			t.Errorf("a heartbeat after %v", time.Since(start))
		}
		mu.Lock()
		list = append(list, atom.Event{ID: "progress-1", Name: "progress", Data: []byte("{\n\"a\":1}")}, atom.Event{ID: "reply", Name: "reply", Data: []byte(`{"status":200}`)})
		over = true
		mu.Unlock()
		f.watch <- struct{}{}
		expect("id: progress-1\nevent: progress\ndata: {\ndata: \"a\":1}\n\n")
		expect("id: reply\nevent: reply\ndata: {\"status\":200}\n\n")
		if _, err := body.ReadByte(); err == nil {
			t.Error("got more of the stream, want its end")
		}
		fmt.Fprint(c, "GET /executions/x1?reply_token=secret HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: reply\r\n\r\n")
		if resp, _ := answerOn(t, r, "GET"); resp.StatusCode != 204 {
			t.Errorf("got %v, want status 204", resp)
		}
		c.Close()
	})
}

// A client that does not read is disconnected, and stopping ends every stream
// at once.
func TestEventStreamEnds(t *testing.T) {
	var mu sync.Mutex
	over := false
	list := []atom.Event{{ID: "accepted", Name: "accepted", Data: []byte(`{}`)}}
	s := &stage{p: atom.Progress{HasReply: true, Status: "running"}}
	f := &fake{follow: s.follow, events: happening(&list, &mu, &over)}
	synctest.Test(t, func(t *testing.T) {
		f.watch = make(chan struct{}, 1)
		server := serve(t, f, on("/a"))
		p, stop := running(server)
		slow, _ := dial(t, p)
		fmt.Fprint(slow, "GET /executions/x1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/event-stream\r\n\r\n")
		<-time.After(writeTimeout + time.Second) // a pipe has no buffer, so the first write blocks
		if n := server.followers.Load(); n != 0 {
			t.Errorf("got %d followers, want 0", n)
		}
		slow.Close()

		c, r := dial(t, p)
		fmt.Fprint(c, "GET /executions/x1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nAccept: text/event-stream\r\n\r\n")
		resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatal(err)
		}
		p.spawn(func() {
			for buf := make([]byte, 100); err == nil; _, err = resp.Body.Read(buf) {
			}
			c.Close()
		})
		synctest.Wait()
		start := time.Now()
		if err := stop(); err != nil || time.Since(start) > time.Second {
			t.Errorf("got %v after %v, want time at most %v and no error", err, time.Since(start), time.Second)
		}
	})
}

func TestWebSocket(t *testing.T) {
	var mu sync.Mutex
	over := false
	list := []atom.Event{{ID: "accepted", Name: "accepted", Data: []byte(`{"a":1}`)}}
	s := &stage{p: atom.Progress{HasReply: true, Status: "running"}}
	f := &fake{follow: s.follow, watch: make(chan struct{}, 1), events: happening(&list, &mu, &over)}
	server := serve(t, f, on("/a"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.listener = l
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- server.Run(ctx) }()
	url := "ws://" + l.Addr().String() + "/executions/x1"
	try := func(url string, o *websocket.DialOptions) (*websocket.Conn, int) {
		t.Helper()
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		conn, resp, err := websocket.Dial(within, url, o)
		if err != nil && resp == nil {
			t.Fatal(err)
		}
		return conn, resp.StatusCode
	}
	elsewhere := http.Header{"Origin": {"https://evil.example"}}
	if _, status := try(url, &websocket.DialOptions{HTTPHeader: elsewhere}); status != 403 {
		t.Errorf("a page of another origin: %d, want status 403", status)
	}
	if conn, status := try(url+"?reply_token=secret", &websocket.DialOptions{HTTPHeader: elsewhere}); status != 101 {
		t.Errorf("a page of another origin with the token: %d, want status 101", status)
	} else {
		conn.CloseNow()
	}
	conn, status := try(url, &websocket.DialOptions{Subprotocols: []string{"valence", "reply-token-secret"}})
	if status != 101 || conn.Subprotocol() != "valence" {
		t.Fatalf("got %v, want status 101 and Subprotocol valence", status)
	}
	read := func(want string) {
		t.Helper()
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if kind, b, err := conn.Read(within); err != nil || kind != websocket.MessageText || string(b) != want {
			t.Errorf("got %v %s %v, want kind %v, %q and no error", kind, b, err, websocket.MessageText, want)
		}
	}
	read(`{"id":"accepted","event":"accepted","data":{"a":1}}`)
	mu.Lock()
	list = append(list, atom.Event{ID: "reply", Name: "reply", Data: []byte(`{"status":200}`)})
	over = true
	mu.Unlock()
	// The connection from the other page may still be ending and take a signal.
	ringing, silence := context.WithCancel(ctx)
	go func() {
		for {
			select {
			case f.watch <- struct{}{}:
			case <-ringing.Done():
				return
			}
		}
	}()
	read(`{"id":"reply","event":"reply","data":{"status":200}}`)
	silence()
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("got %v, want %v", err, websocket.StatusNormalClosure)
	}

	mu.Lock()
	over = false
	mu.Unlock()
	if conn, status = try(url+"?last_event_id=reply", &websocket.DialOptions{Subprotocols: []string{"valence", "reply-token-secret"}}); status != 101 {
		t.Fatalf("got %v, want status 101", status)
	}
	cancel()
	within, enough := context.WithTimeout(context.Background(), 10*time.Second)
	defer enough()
	if _, _, err := conn.Read(within); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("got %v, want %v", err, websocket.StatusGoingAway)
	}
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
