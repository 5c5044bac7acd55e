package connectortest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/fault"
)

// listen runs the subscription of a new connection as an atom does: Listen is
// called again after it failed. stop ends it and checks that it ends in time.
func (s *Subject) listen(t *testing.T, settings Settings, r *Runtime) (stop func()) {
	t.Helper()
	c, ok := s.open(t, settings).(connectors.Listener)
	if !ok {
		t.Fatal("the connection is no Listener")
	}
	var with any
	if sub := s.Connector.Subscription; sub.NewWith != nil {
		with = sub.NewWith()
		bind(t, sub.With, with, s.Source.With)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			err := c.Listen(ctx, with, r.Host())
			switch {
			case ctx.Err() != nil && err != nil:
				t.Errorf("Listen: got %v after ctx ended, want nil", err)
			case ctx.Err() == nil && err == nil:
				t.Error("Listen: got nil before ctx ended, want the reason")
			case ctx.Err() == nil:
				r.Down(err)
			}
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(Grace):
			t.Fatalf("Listen has not ended %v after ctx", Grace)
		}
	}
}

// sourceTests are the tests of a subscription. They share a runtime, because a
// new one would read a source with a cursor from its beginning.
type sourceTests struct {
	*Subject
	runtime *Runtime
}

// fresh makes the runtime forget its messages, but not its cursors and origins,
// and returns it with other answers.
func (s sourceTests) fresh(answer func(*connectors.Message) error, lose func(*connectors.Message) bool) *Runtime {
	r := s.runtime
	r.change(func() {
		r.Answer, r.Lose, r.accepted, r.refused, r.dead, r.up, r.down = answer, lose, nil, nil, nil, false, nil
	})
	return r
}

// drains reads the messages that are in the source before the tests.
func (s sourceTests) drains(t *testing.T) {
	r := s.fresh(nil, nil)
	stop := s.listen(t, s.Settings, r)
	want := s.sent(t, 0, 1)[0]
	await(t, r, "the first message", func(state State) bool {
		return slices.ContainsFunc(state.Accepted, func(m *connectors.Message) bool { return s.doc(m) == want })
	})
	stop()
}

// await waits for a state of the runtime.
func await(t *testing.T, r *Runtime, what string, wanted func(State) bool) State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := r.Await(ctx, wanted)
	if err != nil {
		t.Fatalf("%s: got %d accepted and %d refused messages, up %v, down %v", what, len(s.Accepted), len(s.Refused), s.Up, s.Down)
	}
	return s
}

// sent makes the source deliver n messages and returns their documents.
func (s *Subject) sent(t *testing.T, from, n int) (docs []string) {
	t.Helper()
	for i := range n {
		doc := fmt.Sprintf(`{"n":%d}`, from+i)
		s.Source.Send(t, doc)
		docs = append(docs, doc)
	}
	return docs
}

// doc returns the document that Send was given for a message.
func (s *Subject) doc(m *connectors.Message) string {
	if s.Source.Doc != nil {
		return s.Source.Doc(m)
	}
	return m.Doc.Text()
}

// same checks that the accepted messages are those that were sent, once each.
func (s *Subject) same(t *testing.T, got []*connectors.Message, want []string) {
	t.Helper()
	var docs []string
	for _, m := range got {
		docs = append(docs, s.doc(m))
	}
	want = slices.Clone(want)
	if !s.Source.Ordered {
		slices.Sort(docs)
		slices.Sort(want)
	}
	if !slices.Equal(docs, want) {
		t.Errorf("accepted: got %v, want %v", docs, want)
	}
}

func (s sourceTests) delivers(t *testing.T) {
	r := s.fresh(nil, nil)
	stop := s.listen(t, s.Settings, r)
	await(t, r, "up", func(s State) bool { return s.Up })
	want := s.sent(t, 100, 20)
	got := await(t, r, "all messages", func(s State) bool { return len(s.Accepted) >= len(want) })
	stop()
	stop = s.listen(t, s.Settings, r) // nothing comes again
	want = append(want, s.sent(t, 120, 1)...)
	got = await(t, r, "one more message", func(s State) bool { return len(s.Accepted) >= len(want) })
	stop()
	s.same(t, got.Accepted, want)
}

// redelivers checks that a message that was not accepted comes again.
func (s sourceTests) redelivers(t *testing.T) {
	var refusals atomic.Int32
	r := s.fresh(func(*connectors.Message) error {
		if refusals.Add(1) <= 2 {
			return connectors.Retry(fault.CodeUnavailable, "the store is full", 0, nil)
		}
		return nil
	}, nil)
	stop := s.listen(t, s.Settings, r)
	want := s.sent(t, 200, 3)
	got := await(t, r, "all messages", func(s State) bool { return len(s.Accepted) >= len(want) })
	stop()
	s.same(t, got.Accepted, want)
}

// recognizes checks that a message is accepted once if the atom stops after it
// accepted the message and before the source knows.
func (s sourceTests) recognizes(t *testing.T) {
	var kills atomic.Int32
	r := s.fresh(nil, func(*connectors.Message) bool { return kills.Add(1) <= 2 })
	stop := s.listen(t, s.Settings, r)
	want := s.sent(t, 300, 3)
	await(t, r, "all messages", func(s State) bool { return len(s.Accepted) >= len(want) && kills.Load() > 2 })
	want = append(want, s.sent(t, 303, 1)...)
	got := await(t, r, "one more message", func(state State) bool {
		return len(state.Accepted) >= len(want) && slices.ContainsFunc(state.Accepted, func(m *connectors.Message) bool { return s.doc(m) == want[3] })
	}).Accepted
	stop()
	if s.Source.Anonymous {
		got = slices.CompactFunc(got, func(a, b *connectors.Message) bool { return s.doc(a) == s.doc(b) })
	}
	s.same(t, got, want)
}

// refuses checks that a refused message is kept or dead-lettered, and stops no
// other one.
func (s sourceTests) refuses(t *testing.T) {
	r := s.fresh(func(m *connectors.Message) error {
		if s.doc(m) == `{"n":400}` {
			return fault.Failf(fault.CodeInvalid, "not an order")
		}
		return nil
	}, nil)
	stop := s.listen(t, s.Settings, r)
	want := s.sent(t, 400, 2)[1:]
	got := await(t, r, "the other message", func(s State) bool { return len(s.Accepted) >= 1 && len(s.Refused)+len(s.DeadLettered) >= 1 })
	stop()
	s.same(t, got.Accepted, want)
	if n := len(got.Refused) + len(got.DeadLettered); n != 1 {
		t.Errorf("got %d refused messages, want 1", n)
	}
}

func (s sourceTests) reportsDown(t *testing.T) {
	r := s.fresh(nil, nil)
	stop := s.listen(t, s.Away, r)
	got := await(t, r, "down", func(s State) bool { return s.Down != nil })
	stop()
	if f := s.failure(t, "Listen", got.Down); f != nil && !f.Retryable {
		t.Errorf("Listen: got %v, want a retryable failure", f)
	}
}
