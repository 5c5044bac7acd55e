package atom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

const counting = `
process: count
listen: { path: /count, input: json, auth: none }
filter: ${doc.n > (state.last ?? 0)}
steps:
  - call: sys.post
    with: { path: "/${state.version}/${state.last ?? 0}" }
  - state:
      set: { last: "${input.n}", list: ["${input.n}", 0.10] }
      if_version: ${state.version}
  - if: ${input.fails}
    then: [{ throw: as asked }]
`

func (r *rig) known(process string) string {
	r.t.Helper()
	p, err := r.store.State(context.Background(), process)
	if err != nil {
		r.t.Fatal(err)
	}
	text := fmt.Sprint(p.Version)
	for _, x := range p.Properties {
		text += fmt.Sprintf(" %s=%s", x.Name, x.Value)
	}
	return text
}

func TestStateIsCommittedOnSuccess(t *testing.T) {
	r := start(t, newSystem(), nil, counting)
	for i, c := range []struct{ body, status, state string }{
		{`{"n":3,"fails":false}`, "completed", "1 last=3 list=[3,0.10]"},
		{`{"n":7,"fails":true}`, "failed", "1 last=3 list=[3,0.10]"},
		{`{"n":5,"fails":false}`, "completed", "2 last=5 list=[5,0.10]"},
	} {
		if v := r.ended(r.accept("count", c.body).Execution); v.Status != c.status {
			t.Fatalf("execution %d: got %s %+v, want %s", i, v.Status, v.Error, c.status)
		}
		if got := r.known("count"); got != c.state {
			t.Errorf("%d: %s, want %s", i, got, c.state)
		}
	}
	if ack := r.accept("count", `{"n":5,"fails":false}`); ack.Status != "filtered" {
		t.Errorf("an old version is taken: got %+v, want status filtered", ack)
	}
	if got := strings.Join(r.sys.paths(), " "); got != "post /0/0 post /1/3 post /1/3" {
		t.Errorf("got %v, want post /0/0 post /1/3 post /1/3", got)
	}
}

// Of two executions that read the same version, the first to end wins. The other
// fails and changes nothing.
func TestStateConflict(t *testing.T) {
	sys := newSystem()
	sys.entered, sys.block = make(chan string, 10), make(chan struct{})
	r := start(t, sys, nil, counting)
	a, b := r.accept("count", `{"n":1,"fails":false}`), r.accept("count", `{"n":2,"fails":false}`)
	<-sys.entered
	<-sys.entered
	close(sys.block)
	views := []*atom.ExecutionView{r.ended(a.Execution), r.ended(b.Execution)}
	won, lost := views[0], views[1]
	if won.Status == "failed" {
		won, lost = lost, won
	}
	if won.Status != "completed" || lost.Status != "failed" || lost.Error.Code != atom.CodeConflict || lost.Error.Position != "p.yaml:8:5" {
		t.Errorf("got %+v\n%+v %+v, want the first completed, the second failed with state_conflict at p.yaml:8:5", won, lost, lost.Error)
	}
	if got := r.known("count"); !strings.HasPrefix(got, "1 ") {
		t.Errorf("got state %s, want version 1", got)
	}
}

// A repeated run reads the same state as the first run.
func TestStateIsReadOnce(t *testing.T) {
	sys := newSystem()
	sys.answers["post /0/0"] = failing(1, down, `{}`)
	kept := storetest.NewStore()
	yaml := strings.Replace(strings.Replace(counting, "if_version: ${state.version}", "", 1), "filter:", "retry: { max_attempts: 3, backoff: 50ms }\nfilter:", 1)
	sys.entered = make(chan string, 10)
	r := start(t, sys, kept, yaml)
	ack := r.accept("count", `{"n":1,"fails":false}`)
	<-sys.entered
	if err := kept.UpdateState(context.Background(), &store.StateUpdate{States: []store.StateChange{{Process: "count", Version: -1, Set: []store.Property{{Name: "last", Value: []byte("99")}}}}}); err != nil {
		t.Fatal(err)
	}
	if v := r.ended(ack.Execution); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v.Error)
	}
	if got := strings.Join(sys.paths(), " "); got != "post /0/0 post /0/0" {
		t.Errorf("got %v, want post /0/0 post /0/0", got)
	}
	if got := r.known("count"); got != "2 last=1 list=[1,0.10]" {
		t.Errorf("got %v, want 2 last=1 list=[1,0.10]", got)
	}
}

// In request/reply the state is on disk before the caller has its reply.
func TestStateOfARequest(t *testing.T) {
	r := start(t, newSystem(), nil, `
process: next
listen: { path: /next, input: json, output: json, auth: none }
steps:
  - state: { set: { n: "${(state.n ?? 0) + 1}" }, if_version: "${state.version}" }
  - reply: ${(state.n ?? 0) + 1}
`)
	for i := 1; i < 4; i++ {
		reply, err := r.atom.Request(context.Background(), r.process("next"), arrival(`{}`))
		if err != nil || string(reply.Doc.Body()) != fmt.Sprint(i) {
			t.Fatalf("got %+v, %v, want the count %d", reply, err, i)
		}
	}
	if got := r.known("next"); got != "3 n=3" {
		t.Errorf("got %v, want 3 n=3", got)
	}
}

const comparing = `
process: sync
listen: { path: /sync, input: json, auth: none }
retry: { max_attempts: 3, backoff: 10ms }
steps:
  - changes: { records: "${doc.list}", key: "${item.id}", set: customers }
  - call: sys.post
    with: { path: /changes }
  - if: ${input.fails ?? false}
    then: [{ throw: as asked }]
`

func TestChanges(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, comparing)
	for i, c := range []struct{ body, want string }{
		{`{"list":[{"id":1,"a":0.10},{"id":"b"}]}`, `{"adds":[{"id":1,"a":0.10},{"id":"b"}],"updates":[],"deletes":[]}`},
		{`{"list":[{"id":1,"a":0.10},{"id":"b"}]}`, `{"adds":[],"updates":[],"deletes":[]}`},
		{`{"list":[{"id":1,"a":0.2},{"id":3}],"fails":true}`, `{"adds":[{"id":3}],"updates":[{"id":1,"a":0.2}],"deletes":["b"]}`},
		{`{"list":[{"id":1,"a":0.2},{"id":3}]}`, `{"adds":[{"id":3}],"updates":[{"id":1,"a":0.2}],"deletes":["b"]}`}, // the failed change is found again
		{`{"list":[{"id":1,"a":0.2},{"id":3}]}`, `{"adds":[],"updates":[],"deletes":[]}`},
	} {
		if i == 3 { // its first attempt fails: the run again must find the same
			sys.mu.Lock()
			sys.counts["post /changes"] = 0
			sys.answers["post /changes"] = failing(1, down, `{}`)
			sys.mu.Unlock()
		}
		before := len(sys.seen())
		r.ended(r.accept("sync", c.body).Execution)
		for _, call := range sys.seen()[before:] {
			if call.body != c.want {
				t.Errorf("%d:\n got %s\nwant %s", i, call.body, c.want)
			}
		}
	}
	v := r.ended(r.accept("sync", `{"list":[{"id":1},{"id":1}]}`).Execution)
	if v.Status != "failed" || !strings.Contains(v.Error.Message, "have the same key 1") {
		t.Errorf("got %+v, want status failed and message containing have the same key 1", v.Error)
	}
	if v = r.ended(r.accept("sync", `{"list":null}`).Execution); v.Status != "failed" {
		t.Errorf("no list is taken for an empty one: got %+v, want status failed", v)
	}
}

func TestManyChanges(t *testing.T) {
	r := start(t, newSystem(), nil, comparing)
	list := make([]any, 5000)
	for i := range list {
		list[i] = document.Raw(fmt.Sprintf(`{"id":%d}`, i))
	}
	all := string(document.AppendJSON(nil, list))
	r.ended(r.accept("sync", `{"list":`+all+`}`).Execution)
	if v := r.ended(r.accept("sync", `{"list":`+all+`}`).Execution); v.Status != "completed" {
		t.Errorf("got %+v, want status completed", v)
	}
	if got := r.sys.seen()[1].body; got != `{"adds":[],"updates":[],"deletes":[]}` {
		t.Errorf("got changes %s, want none", got[:100])
	}
}
