package sqlite_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// Reading the next entry of a long journal costs no more than that of a short
// one, in a pack and in rows.
func TestTailCostsTheNewEntriesOnly(t *testing.T) {
	for _, suspended := range []bool{false, true} {
		t.Run(fmt.Sprintf("suspended %t", suspended), func(t *testing.T) {
			s := open(t, t.TempDir(), sqlite.Options{})
			defer startStore(t, s)()
			m := &store.Message{Process: "p", Received: time.Now().UTC().Truncate(time.Millisecond), DocType: "application/json", Doc: []byte(`{}`)}
			r, err := s.Accept(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			apply := func(c *store.Change) {
				t.Helper()
				c.Seq = r.Seq
				if err := s.Apply(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			if suspended {
				apply(&store.Change{Disposition: &store.Suspension{State: store.Accepted}})
			}
			var at store.JournalPosition
			n := 0
			// cost adds an entry and returns the bytes that reading it allocates.
			cost := func() uint64 {
				t.Helper()
				apply(&store.Change{Entries: []store.Entry{{Path: fmt.Sprint(n), Kind: "emit", At: time.Now(), Body: bytes.Repeat([]byte("x"), 1000)}}})
				n++
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				x, err := s.Tail(t.Context(), r.Seq, m.Received, at)
				runtime.ReadMemStats(&after)
				if err != nil || len(x.Journal) != 1 || x.Journal[0].Path != fmt.Sprint(n-1) {
					t.Fatalf("entry %d: got %+v, %v, want that entry", n, x, err)
				}
				at = x.Next
				return after.TotalAlloc - before.TotalAlloc
			}
			least := func() uint64 { // of some, because other goroutines allocate, too
				all := cost()
				for range 20 {
					all = min(all, cost())
				}
				return all
			}
			short := least()
			body := make([]store.Entry, 2000)
			for i := range body {
				body[i] = store.Entry{Path: fmt.Sprint(n), Kind: "emit", At: time.Now(), Body: bytes.Repeat([]byte("x"), 1000)}
				n++
			}
			apply(&store.Change{Entries: body})
			x, err := s.Tail(t.Context(), r.Seq, m.Received, at)
			if err != nil || len(x.Journal) != len(body) {
				t.Fatalf("got %v, want %d entries", err, len(body))
			}
			at = x.Next
			if long := least(); long > 2*short+4096 {
				t.Errorf("got %d bytes for the next of %d entries and %d for the next of 20, want about the same", long, n, short)
			}
		})
	}
}
