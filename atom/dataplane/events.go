package dataplane

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/problem"
)

// The limits of event streams and held requests.
const (
	maxFollowers      = 20_000           // streams and held requests together
	heartbeatInterval = 15 * time.Second // a comment or ping, so that proxies and clients notice dead connections
	writeTimeout      = 10 * time.Second // for one write
)

// addFollower registers an event stream or held request. The caller must call
// done. ok is false if there are too many.
func (s *Server) addFollower(mode string) (done func(), ok bool) {
	if s.followers.Add(1) > maxFollowers {
		s.followers.Add(-1)
		return nil, false
	}
	counted := s.options.Metrics.Following(mode)
	return func() { s.followers.Add(-1); counted() }, true
}

func tooManyFollowers() *problem.Document {
	return &problem.Document{Status: http.StatusServiceUnavailable, Code: "limited", Title: "Too many requests", RetryAfter: 5 * time.Second,
		Detail: "Too many clients are following executions. Try again later."}
}

// wantsEvents reports whether the request accepts an event stream (HTML, 9.2).
func wantsEvents(r *http.Request) bool {
	for _, h := range r.Header["Accept"] {
		for one := range strings.SplitSeq(h, ",") {
			one, _, _ = strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(one), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

func wantsWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// lastEvent returns the ID of the last event that the client received, or "".
func lastEvent(r *http.Request) string {
	if id := r.Header.Get("Last-Event-Id"); id != "" {
		return id
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return ""
	}
	return q.Get("last_event_id")
}

// followed is an execution whose events a client receives.
type followed struct {
	id, principal, token string
	watch                *atom.Watch
	at                   atom.EventPosition
	list                 []atom.Event // that were not sent
	over                 bool         // there are no more
}

// watch prepares to follow an execution after the last event that the client
// has seen. The caller closes the watch.
func (req *request) watch(id, principal, token string) *followed {
	return &followed{id: id, principal: principal, token: token, watch: req.server.options.Atom.Watch(id), at: atom.EventPosition{After: lastEvent(req.r)}}
}

// nextEvents reads the events since the last call.
func (req *request) nextEvents(ctx context.Context, f *followed) (err error) {
	f.list, f.at, f.over, err = req.server.options.Atom.Events(ctx, f.id, f.principal, f.token, f.at)
	return err
}

// follow calls each with batches of an execution's events until the execution
// ends. It calls beat after each heartbeat interval without events.
func (req *request) follow(ctx context.Context, f *followed, each func([]atom.Event) error, beat func() error) error {
	timer := time.NewTimer(heartbeatInterval)
	defer timer.Stop()
	for {
		if len(f.list) > 0 {
			if err := each(f.list); err != nil {
				return err
			}
		}
		if f.over {
			return nil
		}
		f.list = nil
		timer.Reset(heartbeatInterval)
		select {
		case <-f.watch.C:
			if err := req.nextEvents(ctx, f); err != nil {
				return err
			}
		case <-timer.C:
			if err := beat(); err != nil {
				return err
			}
		case <-req.server.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveEventStream sends the events of an execution as Server-Sent Events. A
// client that reconnects after the last event gets 204, which stops it.
func (req *request) serveEventStream(id, principal, token string) {
	done, ok := req.server.addFollower("sse")
	if !ok {
		req.refuse(tooManyFollowers())
		return
	}
	defer done()
	ctx := req.r.Context()
	f := req.watch(id, principal, token)
	defer f.watch.Close()
	if err := req.nextEvents(ctx, f); err != nil {
		req.refuseLookup(err)
		return
	}
	h := req.w.Header()
	h["Cache-Control"] = noStore
	h["X-Execution-Id"] = []string{id}
	if c := req.message.CorrelationID; c != "" {
		h["Correlation-Id"] = []string{c}
	}
	if f.over && len(f.list) == 0 {
		req.write(http.StatusNoContent, "", nil)
		return
	}
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"}
	if req.server.draining.Load() {
		h["Connection"] = closing
	}
	req.setReadDeadline(time.Time{})
	req.status = http.StatusOK
	control := http.NewResponseController(req.w)
	send := func(b []byte) error {
		req.setWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := req.w.Write(b); err != nil {
			return err
		}
		req.size += len(b)
		return control.Flush()
	}
	if send([]byte("retry: 2000\n\n")) != nil {
		return
	}
	// An error means the client is gone or too slow; it reconnects and resumes.
	_ = req.follow(ctx, f,
		func(list []atom.Event) error {
			var b []byte
			for _, e := range list {
				b = appendEvent(b, e)
			}
			return send(b)
		},
		func() error { return send([]byte(":\n\n")) })
}

// appendEvent appends one server-sent event to b.
func appendEvent(b []byte, e atom.Event) []byte {
	b = append(append(append(b, "id: "...), e.ID...), '\n')
	b = append(append(append(b, "event: "...), e.Name...), '\n')
	data := bytes.ReplaceAll(bytes.ReplaceAll(e.Data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(bytes.TrimRight(data, "\n"), []byte("\n")) {
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return append(b, '\n')
}

// serveWebSocket sends the events of an execution over a WebSocket (RFC 6455),
// one text message per event. It ignores messages from the client.
func (req *request) serveWebSocket(id, principal, token string) {
	done, ok := req.server.addFollower("websocket")
	if !ok {
		req.refuse(tooManyFollowers())
		return
	}
	defer done()
	f := req.watch(id, principal, token)
	defer f.watch.Close()
	if err := req.nextEvents(req.r.Context(), f); err != nil {
		req.refuseLookup(err)
		return
	}
	req.setReadDeadline(time.Time{})
	req.setWriteDeadline(time.Time{})
	// Pages of other origins must not use credentials that browsers send automatically. A reply
	// token is not sent automatically.
	conn, err := websocket.Accept(req.w, req.r, &websocket.AcceptOptions{Subprotocols: []string{"valence"}, InsecureSkipVerify: token != "" && principal == ""})
	if err != nil {
		req.status = http.StatusForbidden
		if req.r.Header.Get("Origin") == "" {
			req.status = http.StatusBadRequest
		}
		return // Accept has responded
	}
	req.status = http.StatusSwitchingProtocols
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 10)
	ctx := conn.CloseRead(req.r.Context()) // answers pings and ends when the client disconnects
	within := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		return f(ctx)
	}
	err = req.follow(ctx, f,
		func(list []atom.Event) error {
			for _, e := range list {
				b := webSocketMessage(e)
				req.size += len(b)
				if err := within(func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, b) }); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return within(conn.Ping) })
	if err == nil {
		status, why := websocket.StatusNormalClosure, "execution ended"
		if req.server.draining.Load() {
			status, why = websocket.StatusGoingAway, "stopping"
		}
		_ = conn.Close(status, why) // fails only if the client is gone
	}
}

// webSocketMessage encodes one event as JSON.
func webSocketMessage(e atom.Event) []byte {
	b := document.AppendString([]byte(`{"id":`), e.ID)
	b = document.AppendString(append(b, `,"event":`...), e.Name)
	return append(append(append(b, `,"data":`...), e.Data...), '}')
}
