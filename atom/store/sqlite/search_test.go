package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// TestSearchReachesTheEndOfHistory checks that a tracked value is found in one
// page after any number of newer executions, and a text on a later page, each of
// which says how far it looked.
func TestSearchReachesTheEndOfHistory(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	defer startStore(t, s)()
	const n = 45_000
	start := time.Now().Add(-time.Hour)
	for i := range n {
		m := store.Message{Seq: s.Reserve(), Process: "p", Received: start.Add(time.Duration(i) * time.Millisecond),
			Track: map[string]string{"order": fmt.Sprint(i)}, Meta: fmt.Appendf(nil, `{"correlation_id":"c%d"}`, i)}
		s.Record(&store.Finished{Record: store.Record{Message: m}, Outcome: *outcome()})
		if i%5000 == 0 {
			if err := s.Archive(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	for _, i := range []string{"7", "44999"} {
		found, next, err := s.List(ctx, store.Filter{Track: map[string]string{"order": i}}, "", 1)
		if err != nil || len(found) != 1 || found[0].Track["order"] != i {
			t.Errorf("order %s: got %d executions, next %q, %v, want it on the first page", i, len(found), next, err)
		}
	}
	found, next, err := s.List(ctx, store.Filter{Track: map[string]string{"order": "none"}}, "", 1)
	if len(found) != 0 || next != "" || err != nil {
		t.Errorf("no such order: got %d executions, next %q, %v, want the end of the list", len(found), next, err)
	}
	for _, f := range []store.Filter{{Text: "no text", MetaText: `"correlation_id":"c3"`}, {Text: "00003", MetaText: `"c3"`, Track: nil}} {
		until, pages := time.Now(), 0
		for cursor := ""; ; pages++ {
			found, next, err := s.List(ctx, f, cursor, 5)
			if err != nil {
				t.Fatal(err)
			}
			if len(found) > 0 {
				if got := found[0].Track["order"]; got != "3" {
					t.Errorf("got order %s, want 3", got)
				}
				break
			}
			if next == "" {
				t.Fatalf("got nothing after %d pages", pages)
			}
			p, err := store.ParseCursor(next)
			if err != nil || !p.Received.Before(until) || p.Received.Before(start) {
				t.Fatalf("the page stopped at %s, %v, want a time before %s", p.Received, err, until)
			}
			cursor, until = next, p.Received
		}
		if pages < 2 {
			t.Errorf("got the oldest execution on page %d, want a later one", pages+1)
		}
	}
}
