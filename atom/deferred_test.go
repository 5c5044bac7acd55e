package atom_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
	"valence/internal/fault"
)

// deferred accepts a message with a deferred reply.
func (r *rig) deferred(name, body string) *atom.Acknowledgement {
	r.t.Helper()
	ack, reply, err := r.tryDefer(name, body, "")
	if err != nil || ack == nil {
		r.t.Fatalf("got %+v, %+v, %v, want no error and an ack", ack, reply, err)
	}
	return ack
}

func (r *rig) tryDefer(name, body, callback string) (*atom.Acknowledgement, *atom.Reply, error) {
	r.t.Helper()
	in := arrival(body)
	in.Principal, in.Deferred = "shop/1", &atom.DeferredReply{Callback: callback}
	return r.atom.AcceptDeferred(context.Background(), r.process(name), in)
}

// follow waits until the execution has a reply or has ended.
func (r *rig) follow(id string) *atom.Progress {
	r.t.Helper()
	w := r.atom.Watch(id)
	defer w.Close()
	over := time.After(10 * time.Second)
	for {
		p, err := r.atom.Follow(context.Background(), id, "shop/1", "")
		if err != nil {
			r.t.Fatal(err)
		}
		if p.Reply != nil || p.Gone || !p.EndedAt.IsZero() {
			return p
		}
		select {
		case <-w.C:
		case <-over:
			r.t.Fatalf("no reply: %+v", p)
		}
	}
}

const asks = `process: asks
listen: { path: /asks, output: json, auth: none, reply_modes: [sync, deferred] }
dedupe: { key: "${doc.key}", window: 1h, when_missing: accept }
expires: { response: 1h }
steps:
  - name: order
    call: sys.get
    with: { path: /order }
  - if: ${doc.ok == false}
    then:
      - throw: no such order
        code: no_order
        status: 404
  - emit: { state: found }
  - if: ${input.early == true}
    then:
      - reply: { early: true }
      - call: sys.post
        with: { path: /behind }
  - reply: { total: "${doc.total}" }
    status: 201
    headers: { X-Total: "${doc.total}" }
`

func TestDeferred(t *testing.T) {
	sys := newSystem()
	sys.answers["get /order"] = json(`{"total":7}`)
	r := start(t, sys, nil, asks)
	ack := r.deferred("asks", `{}`)
	if ack.Status != "accepted" || ack.Location != "/executions/"+ack.Execution || len(ack.ReplyToken) != 32 {
		t.Errorf("got receipt %+v, want an accepted execution with its location and reply token", ack)
	}
	p := r.follow(ack.Execution)
	if p.Reply == nil || p.Reply.Status != 201 || string(p.Reply.Body) != `{"total":7}` || p.Reply.Media != "application/json" || p.Reply.Headers[0].Value != "7" || !p.HasReply || p.Gone {
		t.Errorf("got %+v, %+v, want status 201 with the body, type and header of the reply", p, p.Reply)
	}
	for _, who := range [][2]string{{"", ""}, {"shop/2", ""}, {"", "0123456789abcdef0123456789abcdef"}} {
		if p, err := r.atom.Follow(context.Background(), ack.Execution, who[0], who[1]); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("%q sees %+v, %v, want error store.ErrUnknown", who, p, err)
		}
	}
	if p, err := r.atom.Follow(context.Background(), ack.Execution, "", ack.ReplyToken); err != nil || p.Reply == nil {
		t.Errorf("the bearer of the token sees %+v, %v, want no error and a reply", p, err)
	}
}

func TestDeferredFails(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, asks)
	for _, c := range []struct {
		answer string
		fail   error
		status int
		kind   string
	}{
		{`{"ok":false}`, nil, 404, "no_order"},
		{"", refused(), 502, "upstream_failed"},
	} {
		sys.answers["get /order"] = func(int) (*document.Document, error) {
			if c.fail != nil {
				return nil, c.fail
			}
			return document.FromJSON([]byte(c.answer)), nil
		}
		p := r.follow(r.deferred("asks", `{}`).Execution)
		if p.Reply == nil || p.Reply.Status != c.status || !p.Reply.Problem || !strings.Contains(string(p.Reply.Body), c.kind) || !strings.Contains(string(p.Reply.Body), p.Execution) {
			t.Errorf("got %+v, %s, want a problem with status %d and type %s", p, p.Reply.Body, c.status, c.kind)
		}
	}
}

// An early reply can be collected while later steps still run. It expires after
// the end of the execution.
func TestDeferredEarly(t *testing.T) {
	sys := newSystem()
	sys.answers["get /order"] = json(`{"total":7}`)
	sys.block = make(chan struct{})
	sys.entered = make(chan string, 4)
	r := start(t, sys, nil, asks)
	ack := r.deferred("asks", `{"early":true}`)
	<-sys.entered
	sys.block <- struct{}{}
	<-sys.entered // the call after the reply
	p := r.follow(ack.Execution)
	if p.Reply == nil || string(p.Reply.Body) != `{"early":true}` || !p.EndedAt.IsZero() {
		t.Errorf("got %+v, want the early reply of a live execution", p)
	}
	sys.block <- struct{}{}
	r.ended(ack.Execution)
	if p := r.follow(ack.Execution); p.Reply == nil || p.EndedAt.IsZero() {
		t.Errorf("got %+v, want the reply of an ended execution", p)
	}
}

func TestDeferredRepeats(t *testing.T) {
	sys := newSystem()
	sys.answers["get /order"] = json(`{"total":7}`)
	sys.block = make(chan struct{})
	r := start(t, sys, nil, asks)
	first := r.deferred("asks", `{"key":"k"}`)
	inProgress := func(err error) bool {
		var f *fault.Failure
		return errors.As(err, &f) && f.Code == atom.CodeInProgress
	}
	if _, _, err := r.tryDefer("asks", `{"key":"k"}`, ""); !inProgress(err) {
		t.Errorf("while it runs: got %v, want code in_progress", err)
	}
	close(sys.block)
	r.ended(first.Execution)
	ack, reply, err := r.tryDefer("asks", `{"key":"k"}`, "")
	if err != nil || ack != nil || reply.Status != 201 || !reply.Duplicate || string(reply.Doc.Body()) != `{"total":7}` {
		t.Errorf("after the end: got %+v, %+v, %v, want the stored reply", ack, reply, err)
	}
	if again, err := r.atom.Request(context.Background(), r.process("asks"), from("shop/1", `{"key":"k"}`)); err != nil || !again.Duplicate {
		t.Errorf("a synchronous repeat: got %+v, %v, want no error and duplicate", again, err)
	}
	sync, err := r.atom.Request(context.Background(), r.process("asks"), from("shop/1", `{"key":"s"}`))
	if err != nil || sync.Duplicate {
		t.Fatalf("got %v, %v, want no error and not duplicate", sync, err)
	}
	if _, reply, err := r.tryDefer("asks", `{"key":"s"}`, ""); err != nil || reply == nil || string(reply.Doc.Body()) != `{"total":7}` {
		t.Errorf("a deferred repeat of a synchronous request: got %+v, %v, want its reply", reply, err)
	}

	sys.mu.Lock()
	sys.answers["get /order"] = json(`{"ok":false}`)
	sys.mu.Unlock()
	bad := r.deferred("asks", `{"key":"bad"}`)
	r.ended(bad.Execution)
	if ack, _, err := r.tryDefer("asks", `{"key":"bad"}`, ""); err != nil || ack == nil || ack.Execution == bad.Execution {
		t.Errorf("after a failure: got %+v, %v, want no error, an ack and execution other than that of bad", ack, err)
	}
}

func TestDeferredCancelledAndExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.answers["get /order"] = failing(1, down, `{"total":1}`)
		r := start(t, sys, nil, asks)
		defer r.stop()
		ack := r.deferred("asks", `{}`)
		synctest.Wait() // its first attempt failed, it waits
		if p, err := r.atom.Follow(context.Background(), ack.Execution, "shop/1", ""); err != nil || p.Reply != nil || p.Status != "waiting" {
			t.Errorf("got %+v, %v, want no error, no reply and status waiting", p, err)
		}
		if err := r.atom.Cancel(context.Background(), ack.Execution); err != nil {
			t.Fatal(err)
		}
		p := r.follow(ack.Execution)
		if p.Reply == nil || !p.Reply.Problem || !strings.Contains(string(p.Reply.Body), "cancelled") {
			t.Errorf("got %+v, want a reply, problem and text containing cancelled", p)
		}
		<-time.After(time.Hour)
		if p := r.follow(ack.Execution); p.Reply != nil || !p.Gone {
			t.Errorf("after its time: got %+v, want no reply and gone", p)
		}
	})
}

func ids(list []atom.Event) string {
	var out []string
	for _, e := range list {
		out = append(out, e.ID)
	}
	return strings.Join(out, " ")
}

// Events have the same ids for every follower, also after a restart.
func TestEvents(t *testing.T) {
	sys := newSystem()
	sys.answers["get /a"] = json(`{"total":7}`)
	sys.answers["post /b"] = failing(1, down, `{"n":2}`)
	kept := storetest.NewStore()
	yaml := `process: seats
listen: { path: /seats, output: json, auth: none, reply_modes: [deferred] }
retry: { max_attempts: 3, backoff: 5ms..5ms }
steps:
  - emit: { state: looking }
  - call: sys.get
    with: { path: /a }
  - for_each: ${[1, 2]}
    as: n
    steps:
      - emit: { seat: "${n}" }
  - call: sys.post
    with: { path: /b }
  - reply: { seats: 2 }
`
	r := start(t, sys, kept, yaml)
	ack := r.deferred("seats", `{}`)
	r.follow(ack.Execution)
	events := func(after string) []atom.Event {
		t.Helper()
		list, _, over, err := r.atom.Events(context.Background(), ack.Execution, "shop/1", "", atom.EventPosition{After: after})
		if err != nil || !over {
			t.Fatalf("got %v, %v, want no error and over", over, err)
		}
		return list
	}
	all := events("")
	if got := ids(all); got != "accepted started progress-1 progress-2 progress-3 reply" {
		t.Fatalf("got %v, want accepted started progress-1 progress-2 progress-3 reply", got)
	}
	for i, e := range all {
		if got, want := ids(events(e.ID)), ids(all[i+1:]); got != want {
			t.Errorf("after %s: got %s, want %v", e.ID, got, want)
		}
	}
	if string(all[3].Data) != `{"seat":1}` || !strings.Contains(string(all[5].Data), `"document":{"seats":2}`) || !strings.Contains(string(all[5].Data), `"status":200`) {
		t.Errorf("got progress %s and reply %s, want the emitted and replied documents", all[3].Data, all[5].Data)
	}
	if _, _, _, err := r.atom.Events(context.Background(), ack.Execution, "shop/2", "", atom.EventPosition{}); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("another sees them: got %v, want error store.ErrUnknown", err)
	}
	r.stop()
	again := start(t, sys, kept, yaml)
	list, _, _, err := again.atom.Events(context.Background(), ack.Execution, "shop/1", "", atom.EventPosition{After: "progress-2"})
	if err != nil || ids(list) != "progress-3 reply" {
		t.Errorf("after a restart: got events %s, %v, want progress-3 reply", ids(list), err)
	}
}

func TestEmitTooMuch(t *testing.T) {
	sys := newSystem()
	sys.answers["get /a"] = json(fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 70<<10)))
	r := start(t, sys, nil, `process: tells
listen: { path: /tells, auth: none }
steps:
  - call: sys.get
    with: { path: /a }
  - emit:
`)
	v := r.ended(r.accept("tells", `{}`).Execution)
	if v.Error == nil || !strings.Contains(v.Error.Message, "emit") {
		t.Errorf("got %+v, want an error and message containing emit", v.Error)
	}
}

// A listener with XML output reports failures in XML, also in events.
func TestFailedEventOfXML(t *testing.T) {
	r := start(t, newSystem(), nil, `process: x
listen: { path: /x, input: xml, output: xml, auth: none, reply_modes: [deferred] }
steps:
  - throw: no good
    status: 422
    when: ${doc.n == nil}
  - reply:
`)
	id := r.deferred("x", `{}`).Execution
	r.follow(id)
	list, _, over, err := r.atom.Events(context.Background(), id, "shop/1", "", atom.EventPosition{After: "started"})
	if err != nil || !over || ids(list) != "failed" {
		t.Fatalf("got events %s, over %t, %v, want failed as the last one", ids(list), over, err)
	}
	if got := string(list[0].Data); !strings.Contains(got, `"status":422,`) || !strings.Contains(got, `"content_type":"application/problem+xml"`) || !strings.Contains(got, `no good`) {
		t.Errorf("got %s, want status 422 with an XML problem", got)
	}
}
