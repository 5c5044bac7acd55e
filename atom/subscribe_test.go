package atom_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom/store/storetest"
	"valence/atom/trigger"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/spec"
)

// radio is a system with a subscription. It delivers messages until they are
// accepted, and fails on demand.
type radio struct {
	*system
	mu      sync.Mutex
	begun   int
	refused []string
	breaks  bool
	in      chan *connectors.Message
}

func (s *radio) connector() *connectors.Connector {
	c := s.system.connector()
	c.Open = func(any, *access.Policy) (connectors.Connection, error) { return s, nil }
	c.Subscription = &connectors.Subscription{NewWith: func() any { return &with{} }, With: []spec.Field{spec.String("topic", func(w *with) *string { return &w.Path }, "Topic.").Required()}}
	return c
}

func (s *radio) Listen(ctx context.Context, v any, host *connectors.Host) error {
	s.mu.Lock()
	s.begun++
	breaks := s.breaks
	s.breaks = false
	s.mu.Unlock()
	if breaks || v.(*with).Path != "in-test" {
		return errors.New("no signal")
	}
	host.Up()
	for {
		select {
		case m := <-s.in:
			if err := host.Deliver(ctx, m); connectors.Refused(err) {
				s.mu.Lock()
				s.refused = append(s.refused, m.Origin)
				s.mu.Unlock()
			} else if err != nil {
				s.in <- m
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

const subscribing = `
process: orders
profile: order
subscribe: { connection: sys, topic: "in-${env.PLACE}" }
steps:
  - call: sys.post
    with: { path: "/${props.name}" }
---
profile: order
schema: { type: object, required: [id] }
`

func TestSubscription(t *testing.T) {
	s := &radio{system: newSystem(), breaks: true, in: make(chan *connectors.Message, 100)}
	kept := storetest.NewStore()
	r := startWith(t, s.system, s.connector(), kept, subscribing)
	send := func(origin, body string) {
		props := &document.Object{}
		props.Set("name", origin)
		s.in <- &connectors.Message{Doc: document.FromJSON([]byte(body)), Origin: origin, Remember: time.Hour, DeadLetter: "the ether", Props: props}
	}
	calls := func(want string) {
		t.Helper()
		got := ""
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
			if got = strings.Join(s.paths(), " "); got == want && len(s.in) == 0 {
				return
			}
		}
		t.Fatalf("%s, want %s", got, want)
	}
	send("a", `{"id":1}`)
	calls("post /a")      // after the first failure
	send("a", `{"id":1}`) // the source did not hear that it is done
	send("bad", `{}`)
	send("b", `{"id":2}`)
	calls("post /a post /b")
	if err := r.atom.Pause(context.Background(), "orders"); err != nil {
		t.Fatal(err)
	}
	<-time.After(50 * time.Millisecond)
	send("c", `{"id":3}`)
	<-time.After(50 * time.Millisecond)
	if len(s.in) != 1 {
		t.Error("a paused subscription takes messages")
	}
	if err := r.atom.Resume(context.Background(), "orders"); err != nil {
		t.Fatal(err)
	}
	calls("post /a post /b post /c")
	if got, ok := r.atom.SubscriptionStatus(r.process("orders")); !ok || got.State != trigger.Up {
		t.Errorf("got %+v, %v, want up", got, ok)
	}
	r.stop()
	s.mu.Lock()
	begun, refused := s.begun, strings.Join(s.refused, " ")
	s.mu.Unlock()
	if begun != 3 || refused != "bad" {
		t.Errorf("listened %d times, refused %s, want begun 3 and refused bad", begun, refused)
	}
	startWith(t, s.system, s.connector(), kept, subscribing)
	send("b", `{"id":2}`) // again after a restart
	send("d", `{"id":4}`)
	calls("post /a post /b post /c post /d")
}
