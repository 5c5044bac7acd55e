package atom_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/atom/trigger"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// broker is a system whose subscription leaves the deliveries to the test, and
// which sends replies.
type broker struct {
	*system
	hosts   chan *connectors.Host
	mu      sync.Mutex
	replies []*connectors.Reply
	fails   int // attempts to reply
}

func newBroker() *broker {
	return &broker{system: newSystem(), hosts: make(chan *connectors.Host, 8)}
}

func (s *broker) connector() *connectors.Connector {
	c := s.system.connector()
	c.Open = func(any, *access.Policy) (connectors.Connection, error) { return s, nil }
	c.Subscription = &connectors.Subscription{Replies: true, NewWith: func() any { return &with{} },
		With: []spec.Field{spec.String("topic", func(w *with) *string { return &w.Path }, "Topic.")}}
	return c
}

func (s *broker) Listen(ctx context.Context, _ any, host *connectors.Host) error {
	host.Up()
	s.hosts <- host
	<-ctx.Done()
	return nil
}

var _ connectors.Replier = (*broker)(nil)

func (s *broker) Reply(_ context.Context, r *connectors.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return down()
	}
	s.replies = append(s.replies, r)
	return nil
}

func (s *broker) replied() []*connectors.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*connectors.Reply(nil), s.replies...)
}

// all waits until n executions have ended and returns them, oldest first.
func (r *rig) all(n int) (list []*atom.ExecutionView) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(2 * time.Millisecond) {
		views, _, err := r.atom.List(context.Background(), store.Filter{}, "", 100)
		if err != nil {
			r.t.Fatal(err)
		}
		list = nil
		for _, v := range views {
			if v.EndedAt != nil {
				list = append([]*atom.ExecutionView{r.ended(v.Execution)}, list...)
			}
		}
		if len(list) == n && len(views) == n {
			return list
		}
	}
	r.t.Fatalf("got %d ended executions, want %d", len(list), n)
	return nil
}

func order(n int) *connectors.Message {
	return &connectors.Message{Doc: document.FromJSON(fmt.Appendf(nil, `{"id":%d}`, n)), Cursor: fmt.Appendf(nil, "%06d", n), Stream: "orders"}
}

func TestRefusedMessageIsKept(t *testing.T) {
	s := newBroker()
	r := startWith(t, s.system, s.connector(), nil, subscribing)
	host := <-s.hosts
	props := &document.Object{}
	props.Set("name", "x")
	if err := host.Deliver(t.Context(), &connectors.Message{Doc: document.FromJSON([]byte(`{"no":1}`)), Props: props, Origin: "1", Remember: time.Hour}); err != nil {
		t.Fatalf("got %v, want nil: the message is kept", err)
	}
	v := r.all(1)[0]
	if v.Status != "failed" || v.Error.Code != fault.CodeRefused || len(v.Error.Problems) != 1 || v.Input == nil {
		t.Fatalf("got %s %+v, want a failed execution with the code refused, its problem and its document", v.Status, v.Error)
	}
	if err := host.Deliver(t.Context(), &connectors.Message{Doc: document.FromJSON([]byte(`{"no":1}`)), Origin: "1", Remember: time.Hour}); err != nil || len(r.all(1)) != 1 {
		t.Errorf("again: got %v, want nil and no second execution", err)
	}
	_, err := r.atom.Resubmit(t.Context(), v.Execution, atom.Resubmission{})
	if e := (*atom.ResubmissionError)(nil); !errors.As(err, &e) {
		t.Errorf("resubmitted as it is: got %v, want a ResubmissionError", err)
	}
	if v := r.resubmit(v.Execution, atom.Resubmission{Document: document.FromJSON([]byte(`{"id":7}`))}); v.Status != "completed" {
		t.Errorf("resubmitted with another document: got %s %+v, want completed", v.Status, v.Error)
	}
	if got := strings.Join(s.paths(), " "); got != "post /x" {
		t.Errorf("calls: got %s, want post /x", got)
	}
	bad := &connectors.Message{Doc: document.New([]byte("\xff"), "", ""), Invalid: errors.New("not UTF-8"), DeadLetter: "queue dead"}
	if err := host.Deliver(t.Context(), bad); !connectors.Refused(err) {
		t.Errorf("with a dead-letter target: got %v, want a refusal", err)
	}
	status, _ := r.atom.SubscriptionStatus(r.process("orders"))
	for result, want := range map[trigger.Result]int64{trigger.Refused: 1, trigger.Duplicate: 1, trigger.DeadLettered: 1, trigger.Accepted: 0} {
		if got := status.Counts[result]; got != want {
			t.Errorf("%s: got %d, want %d", result, got, want)
		}
	}
}

const filtered = `
process: orders
filter: ${doc.id != 2}
subscribe: { connection: sys, topic: x }
steps:
  - call: sys.post
    with: { path: "/${doc.id}" }
`

func TestCursorMovesWithEachAcceptance(t *testing.T) {
	s, kept := newBroker(), storetest.NewStore()
	r := startWith(t, s.system, s.connector(), kept, filtered)
	host := <-s.hosts
	if err := host.Deliver(t.Context(), order(1)); err == nil {
		t.Error("before the cursor was read: got nil, want an error")
	}
	position := func(want string) {
		t.Helper()
		if got, err := host.Cursor(t.Context(), "orders"); err != nil || string(got) != want {
			t.Errorf("cursor: got %q, %v, want %q", got, err, want)
		}
	}
	position("")
	for i, err := range host.DeliverBatch(t.Context(), []*connectors.Message{order(1), order(2), order(3)}) {
		if err != nil {
			t.Errorf("message %d: got %v, want nil", i+1, err)
		}
	}
	r.all(2)
	position("000003")
	kept.Fail(errors.New("disk"))
	if err := host.Deliver(t.Context(), order(4)); err == nil || connectors.Refused(err) {
		t.Errorf("while the store fails: got %v, want an error to redeliver after", err)
	}
	kept.Fail(nil)
	if err := host.Deliver(t.Context(), order(5)); err == nil {
		t.Error("after a failure, before the cursor was read again: got nil, want an error")
	}
	r.stop()
	r = startWith(t, s.system, s.connector(), kept, filtered)
	host = <-s.hosts
	position("000003")
	if err := host.Deliver(t.Context(), order(4)); err != nil {
		t.Error(err)
	}
	r.all(3)
	if got := strings.Join(slices.Sorted(slices.Values(s.paths())), " "); got != "post /1 post /3 post /4" {
		t.Errorf("calls: got %s, want /1, /3 and /4 once each", got)
	}
}

func TestReplyIsSentToTheAddressOfTheMessage(t *testing.T) {
	s := newBroker()
	s.fails = 2
	r := startWith(t, s.system, s.connector(), nil, `
process: prices
retry: { max_attempts: 5, backoff: 1ms..1ms }
subscribe: { connection: sys, topic: x }
steps:
  - reply: { price: "${doc.id * 2}" }
    status: 203
    headers: { Unit: EUR }
  - call: sys.post
    with: { path: /after }
`)
	host := <-s.hosts
	ask := order(21)
	ask.Cursor, ask.ReplyTo, ask.CorrelationID = nil, "inbox.7", "c-9"
	ask.Traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if err := host.Deliver(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	r.all(2)
	got := s.replied()
	if len(got) != 1 {
		t.Fatalf("got %d replies, want 1", len(got))
	}
	x := got[0]
	if x.To != "inbox.7" || x.Doc.Text() != `{"price":42}` || x.CorrelationID != "c-9" || x.Status != 203 || fmt.Sprint(x.Headers) != "[{Unit EUR}]" ||
		x.IdempotencyKey == "" || !strings.HasPrefix(x.Traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-") {
		t.Errorf("got %+v with %s, want the reply to the message", x, x.Doc.Text())
	}
	silent := order(1)
	silent.Cursor = nil
	if err := host.Deliver(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	views := r.all(3)
	if last := views[2]; last.Status != "completed_with_warnings" || len(s.replied()) != 1 {
		t.Errorf("without an address: got %s and %d replies, want a warning and no further reply", last.Status, len(s.replied()))
	}
}

// A key that was used with another body is a mistake of the sender, not a repeat.
func TestReusedDedupeKeyIsRefused(t *testing.T) {
	s := newBroker()
	r := startWith(t, s.system, s.connector(), nil, `
process: orders
dedupe: { key: "${doc.id}", window: 1h }
subscribe: { connection: sys, topic: x }
steps: [{ log: x }]
`)
	host := <-s.hosts
	send := func(body string) {
		t.Helper()
		if err := host.Deliver(t.Context(), &connectors.Message{Doc: document.FromJSON([]byte(body))}); err != nil {
			t.Error(err)
		}
	}
	send(`{"id":1}`)
	send(`{"id":1}`)
	send(`{"id":1,"n":2}`)
	if views := r.all(2); views[0].Status != "completed" || views[1].Error.Code != fault.CodeRefused {
		t.Errorf("got %s and %s, want completed and a refused message", views[0].Status, views[1].Status)
	}
}

// crashing is a store that fails after a number of commits of messages.
type crashing struct {
	*storetest.Store
	commits int // that succeed; negative: all
}

func (s *crashing) AcceptAll(ctx context.Context, list []*store.Arrival) error {
	if s.commits == 0 {
		return store.ErrUnavailable
	}
	s.commits--
	return s.Store.AcceptAll(ctx, list)
}

func (s *crashing) Accept(ctx context.Context, m *store.Message) (store.Receipt, error) {
	if s.commits == 0 {
		return store.Receipt{}, store.ErrUnavailable
	}
	s.commits--
	return s.Store.Accept(ctx, m)
}

// The cursor moves in the commit that stores a refused message, so that a crash at
// any time loses none.
func TestRefusedRepeatMovesTheCursorInItsCommit(t *testing.T) {
	s, kept := newBroker(), &crashing{storetest.NewStore(), -1}
	r := startWith(t, s.system, s.connector(), kept, `
process: orders
dedupe: { key: "${doc.key ?? doc.id}", window: 1h }
subscribe: { connection: sys, topic: x }
steps: [{ log: x }]
`)
	host := <-s.hosts
	batch := func() []*connectors.Message {
		list := []*connectors.Message{order(1), order(2), order(3)}
		list[1].Doc = document.FromJSON([]byte(`{"id":2,"key":1}`)) // the key of the first
		return list
	}
	position := func(want string) {
		t.Helper()
		if got, err := host.Cursor(t.Context(), "orders"); err != nil || string(got) != want {
			t.Errorf("cursor: got %q, %v, want %q", got, err, want)
		}
	}
	position("")
	kept.commits = 1
	got := host.DeliverBatch(t.Context(), batch())
	if got[0] != nil || got[1] == nil || got[2] == nil {
		t.Errorf("before the crash: got %v, want only the first to be accepted", got)
	}
	kept.commits = -1
	position("000001")
	for i, err := range host.DeliverBatch(t.Context(), batch()[1:]) {
		if err != nil {
			t.Errorf("message %d: got %v, want nil", i+2, err)
		}
	}
	position("000003")
	refused := 0
	for _, v := range r.all(3) {
		if v.Error != nil && v.Error.Code == fault.CodeRefused {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("got %d refused messages, want 1", refused)
	}
}

// A message that the process always fails to check is refused after some
// deliveries; a message that the atom has no room for is not.
func TestPoisonMessageIsRefused(t *testing.T) {
	s, kept := newBroker(), storetest.NewStore()
	r := startWith(t, s.system, s.connector(), kept, filtered)
	host := <-s.hosts
	poison := &connectors.Message{Doc: document.Empty, Delivery: 11, Invalid: &fault.Failure{Code: fault.CodeTimeout, Message: "too slow", Retryable: true}}
	if err := host.Deliver(t.Context(), poison); err != nil {
		t.Errorf("got %v, want nil: it is kept", err)
	}
	r.all(1)
	kept.Fail(errors.New("disk"))
	late := &connectors.Message{Doc: document.FromJSON([]byte(`{"id":1}`)), Delivery: 50}
	if err := host.Deliver(t.Context(), late); err == nil || connectors.Refused(err) {
		t.Errorf("while the store fails: got %v, want an error to redeliver after", err)
	}
	kept.Fail(nil)
}
