package atom_test

import (
	"context"
	"strings"
	"testing"

	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/connectors"
	"valence/internal/document"
)

// ending is a store that counts the messages that are stored with an outcome.
type ending struct {
	*storetest.Store
	cautious   bool
	with, bare int // messages
}

func (s *ending) Outcomes() (stored, cautious bool) { return true, s.cautious }

func (s *ending) AcceptAll(ctx context.Context, list []*store.Arrival) error {
	for _, a := range list {
		if a.Outcome != nil {
			s.with++
		} else {
			s.bare++
		}
	}
	return s.Store.AcceptAll(ctx, list)
}

// Executions that only compute end in the commit that stores their messages, and
// look like any other. The others run after it.
func TestExecutionsThatOnlyComputeEndInTheCommitOfTheirMessage(t *testing.T) {
	const begin = "process: orders\nsubscribe: { connection: sys, topic: x }\n"
	for _, c := range []struct {
		name, process string
		with          int // of the messages 1, 2 and 3
		statuses      string
	}{
		{"set", begin + "steps: [{ set: { n: \"${doc.id}\" } }]", 3, "completed completed completed"},
		{"nested", begin + "steps: [{ if: \"${doc.id == 2}\", then: [{ log: two }, { map: { n: 2 } }] }]", 3, "completed completed completed"},
		{"one fails", begin + "steps: [{ if: \"${doc.id == 2}\", then: [{ throw: no }] }]", 2, "completed failed completed"},
		{"its own id", begin + "steps: [{ set: { n: \"${execution.id}\" } }]", 0, "completed completed completed"},
		{"an identifier", begin + "steps: [{ set: { n: \"${uuid()}\" } }]", 0, "completed completed completed"},
		{"a call", begin + "steps: [{ set: { n: 1 } }, { call: sys.post, with: { path: /x } }]", 0, "completed completed completed"},
		{"a sequence", begin + "sequence: { key: \"${doc.id}\" }\nsteps: [{ set: { n: 1 } }]", 0, "completed completed completed"},
		{"redacted", begin + "redact: [id]\nsteps: [{ set: { n: 1 } }]", 0, "completed completed completed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, kept := newBroker(), &ending{Store: storetest.NewStore()}
			r := startWith(t, s.system, s.connector(), kept, c.process+"\n")
			host := <-s.hosts
			if _, err := host.Cursor(t.Context(), "orders"); err != nil {
				t.Fatal(err)
			}
			for i, err := range host.DeliverBatch(t.Context(), []*connectors.Message{order(1), order(2), order(3)}) {
				if err != nil {
					t.Errorf("message %d: got %v, want nil", i+1, err)
				}
			}
			var statuses []string
			for _, v := range r.all(3) {
				statuses = append(statuses, v.Status)
				if v.Input == nil || v.StartedAt == nil || len(v.Steps) == 0 {
					t.Errorf("got %+v, want its document and its steps", v)
				}
			}
			if got := strings.Join(statuses, " "); got != c.statuses || kept.with != c.with {
				t.Errorf("got %s, %d stored with their messages, want %s, %d", got, kept.with, c.statuses, c.with)
			}
		})
	}
}

// A message that may have made the atom stop is stored before it runs, so that its
// crashes are counted.
func TestEarlyMessagesAreStoredBeforeTheyRun(t *testing.T) {
	s, kept := newBroker(), &ending{Store: storetest.NewStore(), cautious: true}
	startWith(t, s.system, s.connector(), kept, "process: orders\nsubscribe: { connection: sys, topic: x }\nsteps: [{ set: { n: 1 } }]\n")
	host := <-s.hosts
	deliver := func(n, delivery int) {
		t.Helper()
		var batch []*connectors.Message
		for range n {
			batch = append(batch, &connectors.Message{Doc: document.FromJSON([]byte(`{"id":1}`)), Delivery: delivery})
		}
		for _, err := range host.DeliverBatch(t.Context(), batch) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	deliver(10_000, 1) // as many as a topic has records in one commit
	deliver(6388, 1)
	deliver(10, 2)
	if kept.bare != 16_384+10 || kept.with != 4 {
		t.Errorf("got %d stored before they ran and %d with their outcome, want %d and 4", kept.bare, kept.with, 16_384+10)
	}
}
