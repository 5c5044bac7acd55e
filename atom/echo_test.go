package atom_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store/storetest"
	"valence/internal/document"
)

func TestCoalesceRunsNewestOfWindow(t *testing.T) {
	sys := newSystem()
	kept := storetest.NewStore()
	yaml := `
process: thin
listen: { path: /thin, input: json, auth: none }
coalesce: { key: "${doc.id}", window: 300ms }
steps:
  - call: sys.post
    with: { path: "/${doc.id}" }
    body: ${doc.n}
`
	r := start(t, sys, kept, yaml)
	var acks []*atom.Acknowledgement
	for i := range 4 {
		acks = append(acks, r.accept("thin", fmt.Sprintf(`{"id":"a","n":%d}`, i)))
	}
	other := r.accept("thin", `{"id":"b","n":9}`)
	for i := range 3 {
		v := r.ended(acks[i].Execution)
		if v.Status != "superseded" || v.Resolution == nil || v.Resolution.Execution != acks[i+1].Execution {
			t.Errorf("execution %d: got %+v %+v, want it superseded by the next one", i, v, v.Resolution)
		}
	}
	r.stop() // the window goes on past a restart
	r = start(t, sys, kept, yaml)
	for _, a := range []*atom.Acknowledgement{acks[3], other} {
		if v := r.ended(a.Execution); v.Status != "completed" {
			t.Errorf("got %+v, want status completed", v)
		}
	}
	if calls := sys.seen(); len(calls) != 2 || calls[0].body+calls[1].body != "39" && calls[0].body+calls[1].body != "93" {
		t.Errorf("got calls %+v, want the newest message of each key once", calls)
	}
	again := r.accept("thin", `{"id":"a","n":7}`)
	if v := r.ended(again.Execution); v.Status != "completed" {
		t.Errorf("after the window: got %+v, want status completed", v)
	}
	if load, err := r.atom.Load(context.Background(), "thin"); err != nil || load.Waiting != 0 {
		t.Errorf("got %+v %v, want no error and waiting 0", load, err)
	}
}

const twoWays = `
process: from-shop
listen: { path: /shop, input: json, auth: none }
echo_guard: { system: shop, record: "${doc.id}", version: "${doc.version}" }
steps:
  - call: sys.post
    with: { path: "/erp/${doc.id}" }
    marks: { system: erp, record: "${input.id}", version: "${doc.version}" }
---
process: from-erp
listen: { path: /erp, input: json, auth: none }
echo_guard: { system: erp, record: "${doc.id}", version: "${doc.version}" }
steps:
  - call: sys.post
    with: { path: "/shop/${doc.id}" }
    marks: { system: shop, record: "${doc.id}", version: "${doc.version}" }
`

func TestEventOfOwnWriteIsEcho(t *testing.T) {
	sys := newSystem()
	sys.answers["post /erp/1"] = json(`{"id":1,"version":7}`)
	kept := storetest.NewStore()
	r := start(t, sys, kept, twoWays)
	r.ended(r.accept("from-shop", `{"id":1,"version":3}`).Execution)
	if ack := r.accept("from-erp", `{"id":1,"version":7}`); ack.Status != "echo" || ack.Execution != "" {
		t.Errorf("got %+v, want status echo and no execution", ack)
	}
	if ack := r.accept("from-erp", `{"id":1,"version":6}`); ack.Status != "accepted" {
		t.Errorf("another version: got %+v, want status accepted", ack)
	}
	if ack := r.accept("from-erp", `{"id":2,"version":7}`); ack.Status != "accepted" {
		t.Errorf("another record: got %+v, want status accepted", ack)
	}
	if ack := r.accept("from-erp", `{"id":1}`); ack.Status != "accepted" {
		t.Errorf("no version: got %+v, want status accepted", ack)
	}
	r.stop()
	r = start(t, sys, kept, twoWays)
	if ack := r.accept("from-erp", `{"id":1,"version":7}`); ack.Status != "echo" {
		t.Errorf("after a restart: got %+v, want status echo", ack)
	}
}

func TestEventWaitsForAnswerItOvertook(t *testing.T) {
	sys := newSystem()
	sys.answers["post /erp/1"] = json(`{"id":1,"version":7}`)
	sys.answers["post /shop/5"] = json(`{"id":5,"version":"x"}`)
	sys.block, sys.entered = make(chan struct{}), make(chan string, 10)
	r := start(t, sys, nil, twoWays)
	r.accept("from-shop", `{"id":1,"version":3}`)
	<-sys.entered
	if ack := r.accept("from-erp", `{"id":2,"version":7}`); ack.Status != "accepted" {
		t.Errorf("an event of another record waits: got %+v, want status accepted", ack)
	}
	<-sys.entered // its call, whose answer names the record
	got := make(chan string, 2)
	for process, body := range map[string]string{"from-erp": `{"id":1,"version":7}`, "from-shop": `{"id":9,"version":1}`} {
		go func() {
			ack, err := r.atom.Accept(context.Background(), r.process(process), arrival(body))
			if err != nil {
				got <- err.Error()
				return
			}
			got <- process + " " + ack.Status
		}()
	}
	select {
	case s := <-got:
		t.Fatalf("it did not wait: %s", s)
	case <-time.After(50 * time.Millisecond):
	}
	close(sys.block)
	both := <-got + "," + <-got
	if !strings.Contains(both, "from-erp echo") || !strings.Contains(both, "from-shop accepted") {
		t.Errorf("got %v, want both containing from-erp echo and both containing from-shop accepted", both)
	}
}

// A failed write may have been applied: its event waits for the next attempt.
func TestEventWaitsForNextAttemptOfWrite(t *testing.T) {
	sys := newSystem()
	sys.answers["post /erp/1"] = failing(1, down, `{"id":1,"version":7}`)
	sys.entered = make(chan string, 10)
	r := start(t, sys, nil, strings.Replace(twoWays, "echo_guard: { system: shop", "retry: { max_attempts: 3, backoff: 300ms }\necho_guard: { system: shop", 1))
	ack := r.accept("from-shop", `{"id":1,"version":3}`)
	<-sys.entered
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // the store commits in real time
		v, err := r.atom.Show(context.Background(), ack.Execution)
		if err != nil || time.Now().After(end) {
			t.Fatalf("got %+v, %v, want the execution to be suspended", v, err)
		}
		if v.Status == "waiting" {
			break
		}
	}
	if ack := r.accept("from-erp", `{"id":1,"version":7}`); ack.Status != "echo" {
		t.Errorf("got %+v, want status echo", ack)
	}
}

// app is one of two applications. Each versions its records and publishes every
// change before it answers.
type app struct {
	mu      sync.Mutex
	value   string
	version int
	tell    func(version int)
}

func (a *app) write(value string) (*document.Document, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.value = value
	a.version++
	go a.tell(a.version)
	return document.FromJSON([]byte(fmt.Sprintf(`{"id":1,"version":%d}`, a.version))), nil
}

func (a *app) read() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// synced is the process that copies changes of one application to the other.
func synced(from, to string) string {
	return strings.NewReplacer("FROM", from, "TO", to).Replace(`
process: from-FROM
listen: { path: /FROM, input: json, auth: none }
echo_guard: { system: FROM, record: "${doc.id}", version: "${doc.version}" }
sequence: { key: "${doc.id}", scope: record }
steps:
  - call: sys.get
    with: { path: /FROM }
  - call: sys.post
    with: { path: /TO }
    marks: { system: TO, record: "${input.id}", version: "${doc.version}" }
`)
}

func TestConcurrentChangesConverge(t *testing.T) {
	sys := newSystem()
	r := start(t, sys, nil, synced("a", "b")+"---"+synced("b", "a"))
	acks := make(chan string, 100)
	event := func(process string) func(int) {
		return func(version int) {
			ack, err := r.atom.Accept(context.Background(), r.process(process), arrival(fmt.Sprintf(`{"id":1,"version":%d}`, version)))
			if err != nil {
				acks <- err.Error()
				return
			}
			acks <- ack.Status
		}
	}
	a, b := &app{tell: event("from-a")}, &app{tell: event("from-b")}
	sys.answers["get /a"] = func(int) (*document.Document, error) {
		return document.FromJSON([]byte(`{"value":"` + a.read() + `"}`)), nil
	}
	sys.answers["get /b"] = func(int) (*document.Document, error) {
		return document.FromJSON([]byte(`{"value":"` + b.read() + `"}`)), nil
	}
	sys.answers["post /a"] = func(int) (*document.Document, error) { return a.write(b.read()) }
	sys.answers["post /b"] = func(int) (*document.Document, error) { return b.write(a.read()) }
	a.write("from a") // both at once
	b.write("from b")
	count := map[string]int{}
	for range 4 { // two changes, and the echo of each write that they cause
		count[<-acks]++
	}
	select {
	case s := <-acks:
		t.Errorf("it goes on: %s", s)
	case <-time.After(100 * time.Millisecond):
	}
	if count["accepted"] != 2 || count["echo"] != 2 {
		t.Errorf("got %v, want 2 accepted and 2 echoes", count)
	}
	if a.read() != b.read() {
		t.Errorf("got %q and %q, want equal records", a.read(), b.read())
	}
}
