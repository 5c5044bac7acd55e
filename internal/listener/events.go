package listener

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
)

// The bounds on those who follow executions.
const (
	maxFollowers = 20_000           // streams and held requests together
	heartbeat    = 15 * time.Second // a comment or a ping, so that proxies and clients see a dead connection
	slowClient   = 10 * time.Second // one write may take
)

// follow takes a place among those who follow executions.
func (s *Server) follow(mode string) (done func(), ok bool) {
	if s.followers.Add(1) > maxFollowers {
		s.followers.Add(-1)
		return nil, false
	}
	counted := s.options.Metrics.Following(mode)
	return func() { s.followers.Add(-1); counted() }, true
}

func tooManyFollowers() *problem {
	return &problem{status: http.StatusServiceUnavailable, kind: "limited", title: "Too many requests", retry: 5 * time.Second,
		detail: "Too many executions are followed at once. Ask again later."}
}

// wantsEvents reports whether a stream of events is asked for (HTML, 9.2).
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

func wantsSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// lastEvent is the event after which a follower goes on.
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

// tell gives what happens to an execution to a function, from the event after
// one on, until it has ended. beat is called where nothing happens for a while.
func (x *exchange) tell(ctx context.Context, id, principal, token, after string, first []atom.Event, over bool, w *atom.Watch, each func([]atom.Event) error, beat func() error) error {
	timer := time.NewTimer(heartbeat)
	defer timer.Stop()
	for list := first; ; {
		if len(list) > 0 {
			if err := each(list); err != nil {
				return err
			}
			after = list[len(list)-1].ID
		}
		if over {
			return nil
		}
		list = nil
		timer.Reset(heartbeat)
		select {
		case <-w.C:
			var err error
			if list, over, err = x.server.options.Atom.Events(ctx, id, principal, token, after); err != nil {
				return err
			}
		case <-timer.C:
			if err := beat(); err != nil {
				return err
			}
		case <-x.server.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// events sends what happens to an execution as Server-Sent Events. A client
// that comes back after the last event is told to stop (204).
func (x *exchange) events(id, principal, token string) {
	done, ok := x.server.follow("sse")
	if !ok {
		x.refuse(tooManyFollowers())
		return
	}
	defer done()
	ctx, after := x.r.Context(), lastEvent(x.r)
	w := x.server.options.Atom.Watch(id)
	defer w.Close()
	first, over, err := x.server.options.Atom.Events(ctx, id, principal, token, after)
	if err != nil {
		x.unfound(err)
		return
	}
	h := x.w.Header()
	h["Cache-Control"] = noStore
	h["X-Execution-Id"] = []string{id}
	if c := x.arrival.CorrelationID; c != "" {
		h["Correlation-Id"] = []string{c}
	}
	if over && len(first) == 0 {
		x.write(http.StatusNoContent, "", nil)
		return
	}
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"}
	if x.server.draining.Load() {
		h["Connection"] = closing
	}
	x.setReadDeadline(time.Time{})
	x.status = http.StatusOK
	control := http.NewResponseController(x.w)
	send := func(b []byte) error {
		x.setWriteDeadline(time.Now().Add(slowClient))
		if _, err := x.w.Write(b); err != nil {
			return err
		}
		x.size += len(b)
		return control.Flush()
	}
	if send([]byte("retry: 2000\n\n")) != nil {
		return
	}
	// Whoever does not read has gone, or is too slow: it comes back and goes on
	// where it was.
	_ = x.tell(ctx, id, principal, token, after, first, over, w,
		func(list []atom.Event) error {
			var b []byte
			for _, e := range list {
				b = appendEvent(b, e)
			}
			return send(b)
		},
		func() error { return send([]byte(":\n\n")) })
}

// appendEvent writes one event of a stream.
func appendEvent(b []byte, e atom.Event) []byte {
	b = append(append(append(b, "id: "...), e.ID...), '\n')
	b = append(append(append(b, "event: "...), e.Name...), '\n')
	data := bytes.ReplaceAll(bytes.ReplaceAll(e.Data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	for line := range bytes.SplitSeq(bytes.TrimRight(data, "\n"), []byte("\n")) {
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return append(b, '\n')
}

// socket sends what happens to an execution over a WebSocket (RFC 6455): a
// text message per event. Nothing is expected from the client.
func (x *exchange) socket(id, principal, token string) {
	done, ok := x.server.follow("websocket")
	if !ok {
		x.refuse(tooManyFollowers())
		return
	}
	defer done()
	after := lastEvent(x.r)
	w := x.server.options.Atom.Watch(id)
	defer w.Close()
	first, over, err := x.server.options.Atom.Events(x.r.Context(), id, principal, token, after)
	if err != nil {
		x.unfound(err)
		return
	}
	x.setReadDeadline(time.Time{})
	x.setWriteDeadline(time.Time{})
	// A page of another origin must not use what its visitor's browser sends
	// by itself. A reply token is not sent by itself.
	conn, err := websocket.Accept(x.w, x.r, &websocket.AcceptOptions{Subprotocols: []string{"valence"}, InsecureSkipVerify: token != "" && principal == ""})
	if err != nil {
		x.status = http.StatusForbidden
		if x.r.Header.Get("Origin") == "" {
			x.status = http.StatusBadRequest
		}
		return // it was answered
	}
	x.status = http.StatusSwitchingProtocols
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 10)
	ctx := conn.CloseRead(x.r.Context()) // answers pings, and ends with the client
	within := func(f func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, slowClient)
		defer cancel()
		return f(ctx)
	}
	err = x.tell(ctx, id, principal, token, after, first, over, w,
		func(list []atom.Event) error {
			for _, e := range list {
				b := message(e)
				x.size += len(b)
				if err := within(func(ctx context.Context) error { return conn.Write(ctx, websocket.MessageText, b) }); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return within(conn.Ping) })
	if err == nil {
		status, why := websocket.StatusNormalClosure, "it has ended"
		if x.server.draining.Load() {
			status, why = websocket.StatusGoingAway, "stopping"
		}
		_ = conn.Close(status, why) // the client may have gone
	}
}

// message writes one event for a WebSocket.
func message(e atom.Event) []byte {
	b := document.AppendString([]byte(`{"id":`), e.ID)
	b = document.AppendString(append(b, `,"event":`...), e.Name)
	return append(append(append(b, `,"data":`...), e.Data...), '}')
}
