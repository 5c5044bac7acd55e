package atom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store/storetest"
)

// A follower reads each entry of the journal once, however long the journal is
// and however often it is woken.
func TestFollowersReadEachEntryOnce(t *testing.T) {
	const elements = 400
	kept := storetest.NewStore()

	r := start(t, newSystem(), kept, `process: long
listen: { path: /long, output: json, auth: none, reply_modes: [deferred] }
steps:
  - for_each: ${doc.items}
    as: n
    steps:
      - emit: { n: "${n}" }
  - reply: done
`)
	items := strings.Repeat("1,", elements)
	ack := r.deferred("long", `{"items":[`+items[:len(items)-1]+`]}`)
	w := r.atom.Watch(ack.Execution)
	defer w.Close()
	var at atom.EventPosition
	var got []atom.Event
	reads := 0
	for over := false; !over; {
		var list []atom.Event
		var err error
		if list, at, over, err = r.atom.Events(context.Background(), ack.Execution, "shop/1", "", at); err != nil {
			t.Fatal(err)
		}
		reads++
		got = append(got, list...)
		if !over {
			<-w.C
		}
	}
	if want := elements + 3; len(got) != want || got[0].ID != "accepted" || got[1].ID != "started" || got[elements+2].ID != "reply" {
		t.Fatalf("got %d events in %d reads, want %d from accepted to reply: %s", len(got), reads, want, ids(got))
	}
	for i := range elements {
		if want := fmt.Sprintf("progress-%d", i+1); got[i+2].ID != want {
			t.Fatalf("event %d: got %s, want %s", i, got[i+2].ID, want)
		}
	}
	if most := elements + 10; kept.TailEntries > most {
		t.Errorf("got %d entries read in %d reads, want at most %d", kept.TailEntries, reads, most)
	}
}
