package admin

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
	"valence/atom/store"
)

// Activity publishes the events of the atom.
type Activity interface {
	Subscribe(wants func(atom.ActivityEvent) bool) *atom.Subscriber
}

const (
	maxStreams        = 32
	heartbeatInterval = 15 * time.Second // a comment, so that both sides notice a dead connection
	writeTimeout      = 10 * time.Second // for one write
)

// streamCount counts the open event streams.
type streamCount struct{ open atomic.Int64 }

// events streams the atom's activity from now on as Server-Sent Events,
// optionally filtered by process and status. Events that the client does not
// read in time are dropped and counted in a `missed` event.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	wants, detail := activityFilter(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if a.streams.open.Add(1) > maxStreams {
		a.streams.open.Add(-1)
		w.Header().Set("Retry-After", "5")
		writeProblem(w, http.StatusServiceUnavailable, fmt.Sprintf("%d event streams are already open.", maxStreams))
		return
	}
	defer a.streams.open.Add(-1)
	heard := a.Activity.Subscribe(wants)
	defer heard.Close()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // if unsupported, no read deadline applies
	send := func(b []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
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
	beat := time.NewTicker(heartbeatInterval)
	defer beat.Stop()
	for {
		select {
		case h := <-heard.C:
			b, more := appendActivity(nil, h), true
			for more && len(b) < 64<<10 {
				select {
				case h = <-heard.C:
					b = appendActivity(b, h)
				default:
					more = false
				}
			}
			if n := heard.Dropped(); n > 0 {
				b = fmt.Appendf(b, "event: missed\ndata: {\"count\":%d}\n\n", n)
			}
			if !send(b) {
				return
			}
		case <-beat.C:
			if !send([]byte(":\n\n")) {
				return
			}
		case <-a.Stopped:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// activityFilter returns the filter for a query, or nil for all events. A
// non-empty detail describes an invalid query.
func activityFilter(query url.Values) (wants func(atom.ActivityEvent) bool, detail string) {
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
					return nil, unknownStatus(s)
				}
			}
		default:
			return nil, "Unknown parameter " + key + "; use process and status."
		}
	}
	if len(query) == 0 {
		return nil, ""
	}
	return func(h atom.ActivityEvent) bool {
		return (processes == nil || slices.Contains(processes, h.Process)) && (states == nil || slices.Contains(states, statusAfter(h)))
	}, ""
}

// statusAfter returns the execution's status after an event, or "" if the event
// is not about an execution.
func statusAfter(h atom.ActivityEvent) string {
	switch h.Event {
	case atom.ActivityAccepted:
		return string(store.Accepted)
	case atom.ActivityStarted:
		return atom.StatusRunning
	}
	return h.Status
}

func appendActivity(b []byte, h atom.ActivityEvent) []byte {
	data, err := json.Marshal(h)
	if err != nil {
		return b
	}
	return fmt.Appendf(b, "event: %s\ndata: %s\n\n", h.Event, data)
}
