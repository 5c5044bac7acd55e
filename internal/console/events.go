package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"valence/atom"
)

// Happenings tells what happens in the atom.
type Happenings interface {
	Hear(wants func(atom.Happening) bool) *atom.Audience
}

const (
	maxAudiences = 32
	eventBeat    = 15 * time.Second // a comment, so that both sides see a dead connection
	eventWrite   = 10 * time.Second // one write may take
)

// audiences counts the streams that are open.
type audiences struct{ open atomic.Int64 }

// events streams what happens, from now on, as Server-Sent Events: all of it,
// or that of some processes and with some statuses. What is not read in time is
// dropped and counted in an event `missed`: the lists hold it.
func (c *console) events(w http.ResponseWriter, r *http.Request) {
	wants, detail := wanted(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if c.audiences.open.Add(1) > maxAudiences {
		c.audiences.open.Add(-1)
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, fmt.Sprintf("%d streams of events are open already.", maxAudiences))
		return
	}
	defer c.audiences.open.Add(-1)
	heard := c.Happenings.Hear(wants)
	defer heard.Close()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // where there is none, none ends the stream
	send := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(eventWrite))
		if _, err := w.Write(b); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	if !send([]byte("retry: 2000\n\n")) {
		return
	}
	beat := time.NewTicker(eventBeat)
	defer beat.Stop()
	for {
		select {
		case h := <-heard.C:
			b, more := appendHappening(nil, h), true
			for more && len(b) < 64<<10 {
				select {
				case h = <-heard.C:
					b = appendHappening(b, h)
				default:
					more = false
				}
			}
			if n := heard.Missed(); n > 0 {
				b = fmt.Appendf(b, "event: missed\ndata: {\"count\":%d}\n\n", n)
			}
			if !send(b) {
				return
			}
		case <-beat.C:
			if !send([]byte(":\n\n")) {
				return
			}
		case <-c.Stopped:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// wanted gives what a query asks to hear; nil is everything.
func wanted(query url.Values) (wants func(atom.Happening) bool, detail string) {
	var processes, states []string
	for key, values := range query {
		list := strings.Split(strings.Join(values, ","), ",")
		switch key {
		case "process":
			processes = list
		case "status":
			states = list
			for _, s := range list {
				if !slices.Contains(statuses, s) {
					return nil, noStatus(s)
				}
			}
		default:
			return nil, "There is no parameter " + key + "; there are process and status."
		}
	}
	if len(query) == 0 {
		return nil, ""
	}
	return func(h atom.Happening) bool {
		return (processes == nil || slices.Contains(processes, h.Process)) && (states == nil || slices.Contains(states, statusAfter(h)))
	}, ""
}

// statusAfter gives the status of the execution that something happened to; ""
// of what happened to no execution.
func statusAfter(h atom.Happening) string {
	switch h.Event {
	case atom.HappenedAccepted:
		return string(atom.Accepted)
	case atom.HappenedStarted:
		return atom.StatusRunning
	}
	return h.Status
}

func appendHappening(b []byte, h atom.Happening) []byte {
	data, err := json.Marshal(h)
	if err != nil {
		return b
	}
	return fmt.Appendf(b, "event: %s\ndata: %s\n\n", h.Event, data)
}
