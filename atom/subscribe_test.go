package atom_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom/atomtest"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/spec"
)

// radio is a system that listens: it delivers what is sent to it, again until
// it is taken, and breaks when it is told to.
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
	c.Open = func(any) (connectors.Connection, error) { return s, nil }
	c.Subscription = &connectors.Subscription{NewWith: func() any { return &with{} }, With: []spec.Field{spec.String("topic", func(w *with) *string { return &w.Path }, "Topic.").Required()}}
	return c
}

func (s *radio) Listen(ctx context.Context, v any, deliver connectors.Deliver) error {
	s.mu.Lock()
	s.begun++
	breaks := s.breaks
	s.breaks = false
	s.mu.Unlock()
	if breaks || v.(*with).Path != "in-test" {
		return errors.New("no signal")
	}
	for {
		select {
		case m := <-s.in:
			if err := deliver(ctx, m); connectors.Refused(err) {
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
	store := atomtest.NewStore()
	r := startWith(t, s.system, s.connector(), store, subscribing)
	send := func(origin, body string) {
		props := &document.Object{}
		props.Set("name", origin)
		s.in <- &connectors.Message{Doc: document.FromJSON([]byte(body)), Origin: origin, Props: props}
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
	if got := r.atom.Hearing(r.process("orders")); got != "" {
		t.Error(got)
	}
	r.stop()
	s.mu.Lock()
	begun, refused := s.begun, strings.Join(s.refused, " ")
	s.mu.Unlock()
	if begun != 3 || refused != "bad" {
		t.Errorf("listened %d times, refused %s", begun, refused)
	}
	startWith(t, s.system, s.connector(), store, subscribing)
	send("b", `{"id":2}`) // again after a restart
	send("d", `{"id":4}`)
	calls("post /a post /b post /c post /d")
}
