package sqlite_test

import (
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/store/sqlite"
)

const anyDay = 24 * time.Hour

// Documents that are kept for a shorter time than the record go at their time,
// and the record stays for its own, over a restart too. A list gives it once.
func TestDocumentsAreKeptForAShorterTime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, sqlite.Options{})
	stop := running(t, s)
	m := message([]byte(`{"secret":"of a week"}`))
	seq := accept(t, s, m)
	usual := accept(t, s, message([]byte(`{"n":1}`)))
	o := outcome()
	o.Keep, o.Documents = 30*anyDay, 7*anyDay
	o.Trace = []byte(`{"steps":[{"k":"0","s":"map","p":"p.yaml:2:3","a":1,"t":2,"o":"ok","m":"application/json","j":{"secret":"of a week"},"z":22}],"reply":{"data":{"secret":"of a week"}}}`)
	apply(t, s, &atom.Change{Seq: seq, Entries: []atom.Entry{{Path: "1", Kind: "call", At: time.Now(), Body: []byte("secret of a week")}}, Outcome: o})
	apply(t, s, &atom.Change{Seq: usual, Outcome: outcome()})
	if err := s.Move(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	look := func(when string, documents, there bool) {
		t.Helper()
		x, err := s.Get(ctx, seq, m.Received)
		if !there {
			if err == nil {
				t.Errorf("%s: it is still there", when)
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
			t.Errorf("%s: something of the documents is left: %s %s", when, x.Doc, x.Outcome.Trace)
		}
		if !strings.Contains(string(x.Outcome.Trace), "p.yaml:2:3") || x.Outcome.Status != atom.Completed {
			t.Errorf("%s: the record is not whole: %+v", when, x.Outcome)
		}
		if list, _, err := s.List(ctx, atom.Filter{}, "", 10); err != nil || len(list) != 2 {
			t.Errorf("%s: %d in the list, %v", when, len(list), err)
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
	s = open(t, dir, sqlite.Options{})
	defer func() { running(t, s)() }()
	look("after a restart", true, true)
	purge(9)
	look("after nine days", false, true)
	purge(40)
	look("after forty days", false, false)
}
