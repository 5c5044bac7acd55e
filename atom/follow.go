package atom

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"valence/internal/document"
)

// followers are those who wait for something to happen to an execution. Who
// does not wait costs nothing.
type followers struct {
	count atomic.Int64
	mu    sync.Mutex
	by    map[int64]map[*Watch]struct{}
}

// Watch tells when to look at an execution again.
type Watch struct {
	C   <-chan struct{} // receives after something was committed
	c   chan struct{}
	seq int64
	of  *followers
}

// Watch begins to watch an execution. It must be closed. What happens after
// Watch has returned is told; look once before waiting.
func (a *Atom) Watch(id string) *Watch {
	seq, _, _ := a.ParseID(id)
	c := make(chan struct{}, 1)
	w := &Watch{C: c, c: c, seq: seq, of: &a.followers}
	f := w.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[int64]map[*Watch]struct{}{}
	}
	if f.by[seq] == nil {
		f.by[seq] = map[*Watch]struct{}{}
	}
	f.by[seq][w] = struct{}{}
	f.count.Add(1)
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	if w.of == nil {
		return
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if _, ok := w.of.by[w.seq][w]; !ok {
		return
	}
	w.of.count.Add(-1)
	if delete(w.of.by[w.seq], w); len(w.of.by[w.seq]) == 0 {
		delete(w.of.by, w.seq)
	}
}

// tell wakes who watches an execution. It does not block.
func (f *followers) tell(seq int64) {
	if f.count.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.by[seq] {
		select {
		case w.c <- struct{}{}:
		default:
		}
	}
}

// Follow tells a sender how its execution is doing, and gives its reply: to
// the same principal that sent it, or the bearer of its reply token; with a
// principal of nobody, whoever has the location. Everyone else is told that
// there is none.
func (a *Atom) Follow(ctx context.Context, id, principal, token string) (*Progress, error) {
	x, m, err := a.followed(ctx, id, principal, token)
	if err != nil {
		return nil, err
	}
	return a.progress(ctx, id, x, m)
}

func (a *Atom) followed(ctx context.Context, id, principal, token string) (*Execution, *meta, error) {
	x, err := a.get(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	m, err := parseMeta(x.Meta)
	if err != nil {
		return nil, nil, ErrUnknown
	}
	byToken := token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(a.replyToken(id))) == 1
	if !byToken && m.Principal != principal || x.Process == callbackProcess {
		return nil, nil, ErrUnknown
	}
	return x, m, nil
}

func (a *Atom) progress(ctx context.Context, id string, x *Execution, m *meta) (*Progress, error) {
	p := &Progress{Execution: id, Process: x.Process, Status: a.statusOf(x), ReceivedAt: x.Received, CorrelationID: m.Correlation}
	if x.Outcome != nil {
		p.EndedAt = x.Outcome.Ended
	}
	if m.Later != nil {
		return p, a.collect(ctx, x, p)
	}
	return p, nil
}

// Event is one thing that happened to an execution, as its sender may know it.
type Event struct {
	// ID is made of what is on disk, so that it is the same after a restart.
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

// inlineReply bounds the document that stands in an event; a larger one is
// collected at the location.
const inlineReply = 256 << 10

// Events gives what happened to an execution after the event with an id ("":
// from the beginning), and whether that was all that will ever happen. Access
// is Follow's.
func (a *Atom) Events(ctx context.Context, id, principal, token, after string) ([]Event, bool, error) {
	x, m, err := a.followed(ctx, id, principal, token)
	if err != nil {
		return nil, false, err
	}
	p, err := a.progress(ctx, id, x, m)
	if err != nil {
		return nil, false, err
	}
	return since(a.events(x, p), after), x.Outcome != nil, nil
}

// events puts together what happened, in the order of commit.
func (a *Atom) events(x *Execution, p *Progress) []Event {
	list := []Event{{eventAccepted, eventAccepted, object("execution", p.Execution, "process", p.Process, "received_at", timeText(x.Received), "correlation_id", p.CorrelationID)}}
	if p.Status == StatusRunning || x.Attempt > 0 || len(x.Journal) > 0 || x.Outcome != nil && x.Outcome.Status != Expired {
		list = append(list, Event{eventStarted, eventStarted, object("execution", p.Execution)})
	}
	answered := false
	n := 0
	for _, e := range x.Journal {
		switch e.Kind {
		case kindEmit:
			n++
			list = append(list, Event{eventProgress + "-" + strconv.Itoa(n), eventProgress, e.Body})
		case kindReply:
			if last, ok := finalEvent(x, p); ok && !answered {
				list, answered = append(list, last), true
			}
		}
	}
	if x.Outcome != nil && !answered {
		if last, ok := finalEvent(x, p); ok {
			list = append(list, last)
		}
	}
	return list
}

// finalEvent tells of the reply, or that there is none; of a fire-and-forget
// execution the status alone.
func finalEvent(x *Execution, p *Progress) (Event, bool) {
	r := p.Reply
	switch {
	case r != nil && r.Problem:
		data := r.Body
		if !strings.HasSuffix(r.Media, "json") {
			data = replyData(r, p.Execution) // such as the XML of a listener that speaks it
		}
		return Event{eventFailed, eventFailed, data}, true
	case r != nil:
		return Event{eventReply, eventReply, replyData(r, p.Execution)}, true
	case p.Gone:
		return Event{eventReply, eventReply, object("execution", p.Execution, "status", p.Status, "location", "/executions/"+p.Execution)}, true
	case x.Outcome == nil:
		return Event{}, false
	case x.Outcome.Status == Completed || x.Outcome.Status == CompletedWithWarnings:
		return Event{eventReply, eventReply, object("execution", p.Execution, "status", p.Status)}, true
	}
	return Event{eventFailed, eventFailed, object("execution", p.Execution, "status", p.Status)}, true
}

// replyData is the data of a reply event: status, type and the document where
// it is text and not too large.
func replyData(r *Collected, id string) []byte {
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

// object writes names and values; those without a value are left out.
func object(pairs ...string) []byte {
	b := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b = document.AppendString(member(b, pairs[i]), pairs[i+1])
		}
	}
	return append(b, '}')
}

// since cuts off what came before an id, and the event of that id itself.
func since(list []Event, id string) []Event {
	for i, e := range list {
		if e.ID == id {
			return list[i+1:]
		}
	}
	// The event is not there any more: documents are dropped with the end
	// where the process says so. What is left of the rest is told again.
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
