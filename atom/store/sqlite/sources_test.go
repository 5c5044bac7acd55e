package sqlite_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

// deliver accepts and ends n messages of a source, in batches of a hundred.
func deliver(t *testing.T, s *sqlite.Store, n int, arrival func(i int) *store.Arrival) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		var batch []*store.Arrival
		for j := range 100 {
			batch = append(batch, arrival(i+j))
		}
		if err := s.AcceptAll(ctx, batch); err != nil {
			t.Fatal(err)
		}
		var ends sync.WaitGroup
		for _, a := range batch {
			if a.Err != nil || a.Receipt.Duplicate {
				t.Fatalf("got %v, duplicate %v, want an accepted message", a.Err, a.Receipt.Duplicate)
			}
			ends.Go(func() {
				if err := s.Apply(ctx, &store.Change{Seq: a.Receipt.Seq, Disposition: outcome()}); err != nil {
					t.Error(err)
				}
			})
		}
		ends.Wait()
	}
}

func wantRows(t *testing.T, s *sqlite.Store, want map[string]int64) {
	t.Helper()
	for table, n := range want {
		if got, err := s.CountRows(table); err != nil || got != n {
			t.Errorf("%s: got %d rows, %v, want %d", table, got, err, n)
		}
	}
}

// TestSourceLeavesNoRowPerMessage checks that the database does not grow with
// the messages of a source that has a cursor, and that a restart continues from
// the cursor.
func TestSourceLeavesNoRowPerMessage(t *testing.T) {
	dir, n := t.TempDir(), 3000
	s := open(t, dir, sqlite.Options{})
	stop := startStore(t, s)
	position := func(i int) []byte {
		if i < 0 {
			return nil
		}
		return fmt.Appendf(nil, "%d", i)
	}
	arrival := func(i int) *store.Arrival {
		return &store.Arrival{Message: message([]byte("x")), Cursor: &store.Cursor{Source: "topic", From: position(i - 1), To: position(i)}}
	}
	deliver(t, s, n, arrival)
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, map[string]int64{"cursor": 1, "origin": 0, "dedupe": 0, "intake": 0, "execution": 0, "change": 0})
	stop()
	s = open(t, dir, sqlite.Options{})
	defer startStore(t, s)()
	if got, err := s.Cursor(ctx, "topic"); err != nil || string(got) != string(position(n-1)) {
		t.Errorf("after a restart: got cursor %q, %v, want %q", got, err, position(n-1))
	}
}

// TestOriginsAreForgotten checks that origins that are remembered for a time
// are deleted after it, and others are not.
func TestOriginsAreForgotten(t *testing.T) {
	s := open(t, t.TempDir(), sqlite.Options{})
	defer startStore(t, s)()
	now := time.Now()
	deliver(t, s, 3000, func(i int) *store.Arrival {
		m := message([]byte("x"))
		m.Origin, m.Remember = fmt.Sprint("tag ", i), now.Add(time.Hour)
		if i == 0 {
			m.Remember = time.Time{}
		}
		return &store.Arrival{Message: m}
	})
	if err := s.ForgetOrigins(now.Add(59 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, map[string]int64{"origin": 3000})
	if err := s.ForgetOrigins(now.Add(61 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, map[string]int64{"origin": 1})
}
