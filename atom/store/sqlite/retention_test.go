package sqlite_test

import (
	"strings"
	"testing"
	"time"

	"valence/atom/store"
	"valence/atom/store/sqlite"
)

const anyDay = 24 * time.Hour

// TestDocumentsAreKeptForAShorterTime checks that documents are deleted before
// their execution, also after a restart, and a list contains the execution
// once.
func TestDocumentsAreKeptForAShorterTime(t *testing.T) {
	dir := t.TempDir()
	options := sqlite.Options{BareTrace: func([]byte) []byte {
		return []byte(`{"steps":[{"k":"0","s":"map","p":"p.yaml:2:3"}]}`)
	}}
	s := open(t, dir, options)
	stop := startStore(t, s)
	m := message([]byte(`{"secret":"of a week"}`))
	seq := accept(t, s, m)
	usual := accept(t, s, message([]byte(`{"n":1}`)))
	o := outcome()
	o.Keep, o.Documents = 30*anyDay, 7*anyDay
	o.Trace = []byte(`{"steps":[{"k":"0","s":"map","p":"p.yaml:2:3","a":1,"t":2,"o":"ok","m":"application/json","j":{"secret":"of a week"},"z":22}],"reply":{"data":{"secret":"of a week"}}}`)
	apply(t, s, &store.Change{Seq: seq, Entries: []store.Entry{{Path: "1", Kind: "call", At: time.Now(), Body: []byte("secret of a week")}}, Disposition: o})
	apply(t, s, &store.Change{Seq: usual, Disposition: outcome()})
	if err := s.Archive(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	look := func(when string, documents, there bool) {
		t.Helper()
		x, err := s.Get(ctx, seq, m.Received)
		if !there {
			if err == nil {
				t.Errorf("%s: got the execution, want it deleted", when)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if got := x.Doc != nil && len(x.Journal) == 1 && strings.Contains(string(x.Outcome.Trace), "secret"); got != documents {
			t.Errorf("%s: documents: %v, want %v: %s %s", when, got, documents, x.Doc, x.Outcome.Trace)
		}
		if !documents && (x.Doc != nil || x.Journal != nil || strings.Contains(string(x.Outcome.Trace), "secret")) {
			t.Errorf("%s: got documents, want none: %s %s", when, x.Doc, x.Outcome.Trace)
		}
		if !strings.Contains(string(x.Outcome.Trace), "p.yaml:2:3") || x.Outcome.Status != store.Completed {
			t.Errorf("%s: got %+v, want it completed, with a trace", when, x.Outcome)
		}
		if list, _, err := s.List(ctx, store.Filter{}, "", 10); err != nil || len(list) != 2 {
			t.Errorf("%s: got %d listed executions, %v, want 2", when, len(list), err)
		}
	}
	purge := func(days time.Duration) {
		t.Helper()
		if err := s.PurgeAt(now.Add(days * anyDay)); err != nil {
			t.Fatal(err)
		}
	}
	look("at once", true, true)
	purge(6)
	look("after six days", true, true)
	stop()
	s = open(t, dir, options)
	defer startStore(t, s)()
	look("after a restart", true, true)
	purge(9)
	look("after nine days", false, true)
	purge(40)
	look("after forty days", false, false)
}
