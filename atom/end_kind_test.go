package atom_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store/storetest"
	"valence/connectors"
	"valence/internal/document"
)

// The end of an execution has its kind.
func TestEndHasKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &radio{system: newSystem(), in: make(chan *connectors.Message, 1)}
		s.answers["post /bad"] = failing(1, refused, `{}`)
		r := startWith(t, s.system, s.connector(), storetest.NewStore(), `
process: clock
schedule: { cron: "@hourly" }
steps: [{ log: x }]
---
process: heard
subscribe: { connection: sys, topic: in-test }
steps:
  - process: handed
    mode: handoff
---
process: handed
steps: [{ log: x }]
---
process: called
listen: { path: /called, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: /bad }
`)
		got := map[string]string{}
		told := make(chan atom.ExecutionEnd, 10)
		r.atom.OnEnded(func(e atom.ExecutionEnd) { told <- e })
		s.in <- &connectors.Message{Doc: document.Empty, Origin: "1", Remember: time.Hour}
		failed := r.failed("called", `{}`)
		r.resubmit(failed, atom.Resubmission{})
		if _, err := r.atom.Execute(context.Background(), "handed", atom.Input{}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		for len(told) > 0 {
			e := <-told
			got[e.Process] += e.Kind + " "
			if (e.Kind == atom.ByResubmission) != (e.Original == failed) {
				t.Errorf("got end %+v, want Original only for the resubmission of %s", e, failed)
			}
		}
		for process, want := range map[string]string{"clock": "schedule", "heard": "subscribe", "called": "listener retry", "handed": "handoff manual"} {
			if got := strings.TrimSpace(got[process]); got != want {
				t.Errorf("%s was begun by %s, want %s", process, got, want)
			}
		}
		r.stop()
	})
}
