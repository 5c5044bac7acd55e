package atom

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"valence/atom/run"
	"valence/atom/store"
	"valence/internal/document"
)

// Event is one thing that happened to an execution, as its sender may see it.
type Event struct {
	// ID is derived from committed data, so that it is the same after a restart.
	ID   string
	Name string // accepted started progress reply failed
	Data []byte // JSON
}

// The names of events.
const (
	eventAccepted = "accepted"
	eventStarted  = "started"
	eventProgress = "progress"
	eventReply    = "reply"
	eventFailed   = "failed"
)

// inlineReply bounds the document inside an event. A larger one is collected at
// the location.
const inlineReply = 256 << 10

// EventPosition is a place in the events of an execution. A position with only
// After reads all events once; the positions that Events returns make each
// further call cost the new events only.
type EventPosition struct {
	After string // id of the last event that was seen; "": the beginning

	journal  store.JournalPosition
	started  bool
	progress int  // number of the last report
	replied  bool // the journal has a reply
	final    bool // the reply or failure was returned
}

// Events returns the events of an execution after a position, the position
// after them, and whether there will be no more. Access is that of Follow.
func (s *views) Events(ctx context.Context, id, principal, token string, at EventPosition) ([]Event, EventPosition, bool, error) {
	x, m, err := s.followed(ctx, id, principal, token, at.journal)
	if err != nil {
		return nil, at, false, err
	}
	next := at
	if x.Whole {
		next = EventPosition{}
	}
	list, err := s.nextEvents(ctx, id, x, m, &next)
	if err != nil {
		return nil, at, false, err
	}
	if x.Whole {
		list = eventsAfter(list, at.After)
	}
	next.After, next.journal = at.After, x.Next
	if len(list) > 0 {
		next.After = list[len(list)-1].ID
	}
	return list, next, x.Outcome != nil, nil
}

// nextEvents returns the events of the new entries of a journal, in the order
// of commit, and moves the position.
func (s *views) nextEvents(ctx context.Context, id string, x *store.Tail, m *run.Meta, at *EventPosition) ([]Event, error) {
	var list []Event
	if x.Whole {
		list = append(list, Event{eventAccepted, eventAccepted, object("execution", id, "process", x.Process, "received_at", run.TimeText(x.Received), "correlation_id", m.Correlation)})
	}
	if !at.started && (len(x.Journal) > 0 || x.Attempt > 0 || s.statusOf(x.Execution) == StatusRunning || x.Outcome != nil && x.Outcome.Status != store.Expired) {
		list, at.started = append(list, Event{eventStarted, eventStarted, object("execution", id)}), true
	}
	final := func() error {
		if at.final || !at.replied && x.Outcome == nil {
			return nil
		}
		p, err := s.progress(ctx, id, x.Execution, m)
		if err != nil {
			return err
		}
		if last, ok := finalEvent(x.Execution, p); ok {
			list, at.final = append(list, last), true
		}
		return nil
	}
	for _, e := range x.Journal {
		switch e.Kind {
		case run.KindEmit:
			n, data := run.UnpackEmit(e.Body)
			at.progress = max(at.progress+1, n)
			list = append(list, Event{eventProgress + "-" + strconv.Itoa(at.progress), eventProgress, data})
		case run.KindReply:
			at.replied = true
			if err := final(); err != nil {
				return nil, err
			}
		}
	}
	err := final()
	return list, err
}

// finalEvent returns the event of the reply, or of the end without one. That of
// a fire-and-forget execution has only the status.
func finalEvent(x *store.Execution, p *Progress) (Event, bool) {
	r := p.Reply
	switch {
	case r != nil && r.Problem:
		data := r.Body
		if !strings.HasSuffix(r.Media, "json") {
			data = replyData(r, p.Execution) // such as XML
		}
		return Event{eventFailed, eventFailed, data}, true
	case r != nil:
		return Event{eventReply, eventReply, replyData(r, p.Execution)}, true
	case p.Gone:
		return Event{eventReply, eventReply, object("execution", p.Execution, "status", p.Status, "location", "/executions/"+p.Execution)}, true
	case x.Outcome == nil:
		return Event{}, false
	case x.Outcome.Status == store.Completed || x.Outcome.Status == store.CompletedWithWarnings:
		return Event{eventReply, eventReply, object("execution", p.Execution, "status", p.Status)}, true
	}
	return Event{eventFailed, eventFailed, object("execution", p.Execution, "status", p.Status)}, true
}

// replyData returns the data of a reply event: status, type, and the document if
// it is text and not too large.
func replyData(r *StoredReply, id string) []byte {
	b := append([]byte(`{"status":`), strconv.Itoa(r.Status)...)
	b = append(b, `,"location":`...)
	b = document.AppendString(b, "/executions/"+id)
	if r.Media != "" {
		b = document.AppendString(append(b, `,"content_type":`...), r.Media)
	}
	switch {
	case len(r.Body) == 0 || len(r.Body) > inlineReply:
	case r.Media == "application/json" && json.Valid(r.Body):
		b = append(append(b, `,"document":`...), r.Body...)
	case strings.HasPrefix(r.Media, "text/") || strings.Contains(r.Media, "xml") || strings.HasPrefix(r.Media, "application/json"):
		b = document.AppendString(append(b, `,"text":`...), strings.ToValidUTF8(string(r.Body), "\uFFFD"))
	}
	return append(b, '}')
}

// object returns a JSON object of names and values, without empty values.
func object(pairs ...string) []byte {
	b := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b = document.AppendString(run.AppendMember(b, pairs[i]), pairs[i+1])
		}
	}
	return append(b, '}')
}

// eventsAfter returns the events after the one with an id.
func eventsAfter(list []Event, id string) []Event {
	for i, e := range list {
		if e.ID == id {
			return list[i+1:]
		}
	}
	// The event is gone if the documents were dropped at the end. Repeat the
	// remaining ones.
	seen, ok := strings.CutPrefix(id, eventProgress+"-")
	n, err := strconv.Atoi(seen)
	if !ok || err != nil {
		return list
	}
	var out []Event
	for _, e := range list {
		text, progress := strings.CutPrefix(e.ID, eventProgress+"-")
		at, _ := strconv.Atoi(text)
		if e.Name == eventReply || e.Name == eventFailed || progress && at > n {
			out = append(out, e)
		}
	}
	return out
}
