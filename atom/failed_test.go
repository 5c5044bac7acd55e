package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/steps"
	"valence/atom/store"
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"
	"valence/processes/loader"
)

const mended = `process: p
listen: { path: /p, auth: none }
track: { n: "${doc.n}" }
steps:
  - name: first
    call: sys.get
    with: { path: /a }
  - call: sys.post
    with: { path: "/b/${steps.first.ok}/${uuid()}/${now()}" }
    body: ${input}
  - call: sys.post
    with: { path: /c }
`

func (r *rig) deploy(yaml string) {
	r.t.Helper()
	registry := connectors.Registry{"fake": r.sys.connector()}
	files := []processes.File{{Name: "p.yaml", Content: []byte(yaml + connection)}}
	project, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: registry})
	if problems.HasErrors() {
		r.t.Fatal(problems)
	}
	if err := r.atom.Deploy(context.Background(), atom.Release{Project: project, Files: files, Env: map[string]string{"PLACE": "test"}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) failed(name, body string) string {
	r.t.Helper()
	id := r.accept(name, body).Execution
	if v := r.ended(id); v.Status != "failed" {
		r.t.Fatalf("got %+v, want status failed", v)
	}
	return id
}

func (r *rig) resubmit(id string, how atom.Resubmission) *atom.ExecutionView {
	r.t.Helper()
	made, err := r.atom.Resubmit(context.Background(), id, how)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.ended(made)
}

func TestResubmissionFromFailedStepSkipsFinishedSteps(t *testing.T) {
	sys := newSystem()
	down := true
	sys.answers["post /c"] = func(int) (*document.Document, error) {
		if down {
			return nil, refused()
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := start(t, sys, nil, mended)
	id := r.failed("p", `{"n":1}`)
	down = false
	v := r.resubmit(id, atom.Resubmission{From: atom.FromFailedStep})
	if v.Status != "completed" || v.Original != id || v.Track["n"] != "1" {
		t.Fatalf("got %+v, want status completed, original %s and track n=1", v, id)
	}
	calls := sys.seen()
	if len(calls) != 4 || calls[3].path != "/c" || calls[3].key != calls[2].key {
		t.Fatalf("calls %+v, want 4 calls, path /c and key that of calls[2]", calls)
	}
	before, err := r.atom.Show(context.Background(), id)
	if err != nil || before.Resolution == nil || before.Resolution.How != "resubmitted" || before.Resolution.Execution != v.Execution {
		t.Fatalf("got %+v, %v, want no error, a resolution, how resubmitted and execution that of v", before, err)
	}
	if left, _, err := r.atom.Failed(context.Background(), store.Filter{}, "", 10); err != nil || len(left) != 0 {
		t.Fatalf("got %v, %v, want no error and 0 left", left, err)
	}
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{}); !errors.Is(err, store.ErrResolved) {
		t.Fatalf("got %v, want ErrResolved", err)
	}
}

func TestResubmissionFromStartHasSameKeys(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, mended)
	id := r.failed("p", `{"n":1}`)
	if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
	calls := sys.seen()
	if len(calls) != 6 || calls[1].key == "" || calls[1].key != calls[4].key || calls[2].key != calls[5].key {
		t.Fatalf("calls %+v, want 6 calls, a key, key that of calls[4] and key that of calls[5]", calls)
	}
}

func TestResubmissionWithAnotherMessageHasNewKeys(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, "profile: shape\nschema: { type: object, required: [n] }\n---\n"+strings.Replace(mended, "track:", "profile: shape\ntrack:", 1))
	id := r.failed("p", `{"n":1}`)
	_, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{Document: document.FromJSON([]byte(`{"m":2}`))})
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeInvalid {
		t.Fatalf("a document that does not match the profile: got %v, want code invalid", err)
	}
	doc := document.FromJSON([]byte(`{"n":2}`))
	var unfit *atom.ResubmissionError
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{Document: doc, From: atom.FromFailedStep}); !errors.As(err, &unfit) {
		t.Fatalf("a new document from the failed step: got %v, want a ResubmissionError", err)
	}
	v := r.resubmit(id, atom.Resubmission{Document: doc})
	calls := sys.seen()
	if v.Status != "completed" || v.Track["n"] != "2" || len(calls) != 6 || calls[4].body != `{"n":2}` || calls[1].key == calls[4].key {
		t.Fatalf("got %+v, calls %+v, want status completed with the new document and new keys", v, calls)
	}
}

func TestResubmissionOnAnotherVersion(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	sys.answers["post /d"] = nil
	r := start(t, sys, nil, mended)
	id := r.failed("p", `{"n":1}`)
	r.deploy(strings.Replace(mended, "path: /a", "path: /other", 1))
	var unfit *atom.ResubmissionError
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, "first") {
		t.Fatalf("a changed step before the failed one: got %v, want a ResubmissionError that names it", err)
	}
	r.deploy(strings.Replace(mended, "path: /c", "path: /d", 1))
	if v := r.resubmit(id, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
	if got := sys.paths(); len(got) != 4 || got[3] != "post /d" {
		t.Fatalf("got calls %v, want 4 with post /d as the last", got)
	}

	sys.mu.Lock()
	sys.answers["post /d"] = failing(2, refused, `{}`)
	sys.mu.Unlock()
	id = r.failed("p", `{"n":2}`)
	r.deploy("process: q\nsteps: [{ log: x }]\n")
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{}); !errors.As(err, &unfit) {
		t.Fatalf("not deployed any more: got %v, want a ResubmissionError", err)
	}
	if v := r.resubmit(id, atom.Resubmission{Version: atom.VersionOriginal}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
}

func TestOnlyFailedElementsRunAgain(t *testing.T) {
	sys := newSystem()
	sys.answers["post /2"] = failing(1, refused, `{}`)
	sys.answers["post /4"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, `process: p
steps:
  - for_each: ${doc}
    on_error: continue
    steps:
      - try:
          - call: sys.get
            with: { path: "/${item}" }
        catch:
          handled: true
          steps: [{ log: caught }]
      - call: sys.post
        with: { path: "/${index}" }
`)
	sys.answers["get /c"] = failing(5, refused, `{}`)
	ack, err := r.atom.Execute(context.Background(), "p", atom.Input{Document: document.FromJSON([]byte(`["a","b","c","d","e"]`))})
	if err != nil {
		t.Fatal(err)
	}
	if v := r.ended(ack.Execution); v.Status != "failed" {
		t.Fatalf("got %+v, want status failed", v)
	}
	n := len(sys.seen())
	if v := r.resubmit(ack.Execution, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
	if got := sys.paths()[n:]; len(got) != 2 || got[0] != "post /2" || got[1] != "post /4" {
		t.Fatalf("got calls %v, want post /2 post /4", got)
	}
}

func TestGroupsAreResubmittedInTheirOrder(t *testing.T) {
	sys := newSystem()
	down := true
	sys.answers["post /x"] = func(int) (*document.Document, error) {
		if down {
			return nil, refused()
		}
		return document.FromJSON([]byte(`{}`)), nil
	}
	r := start(t, sys, nil, "process: p\nworkers: 1\nlisten: { path: /p, auth: none }\nsteps:\n  - call: sys.post\n    with: { path: /x }\n")
	for _, body := range []string{`1`, `2`, `3`} {
		r.failed("p", body)
	}
	groups, err := r.atom.FailureGroups(context.Background(), "", 10)
	if err != nil || len(groups) != 1 || groups[0].Count != 3 || groups[0].Error == nil || groups[0].Error.Code != fault.CodeStatus {
		t.Fatalf("got %+v, %v, want no error, 1 group, count 3, an error and code status", groups, err)
	}
	down = false
	b, err := r.atom.ResubmitMany(context.Background(), store.Filter{Fingerprint: groups[0].Fingerprint}, atom.Resubmission{}, 1000, false)
	if err != nil || b.Matched != 3 {
		t.Fatalf("got %+v, %v, want no error and matched 3", b, err)
	}
	for end := time.Now().Add(10 * time.Second); len(sys.seen()) < 6 && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	var bodies []string
	for _, c := range sys.seen()[3:] {
		bodies = append(bodies, c.body)
	}
	if strings.Join(bodies, " ") != "1 2 3" {
		t.Fatalf("got bodies %v, want 1 2 3", bodies)
	}
	for end := time.Now().Add(10 * time.Second); b.State == "running" && time.Now().Before(end); {
		if b, err = r.atom.Batch(b.ID); err != nil {
			t.Fatal(err)
		}
	}
	if b.State != "done" || b.Done != 3 || b.Refused != 0 {
		t.Fatalf("got %+v, want state done, done 3 and refused 0", b)
	}
}

func TestFailureInMemoryIsResubmittedFromStart(t *testing.T) {
	sys := newSystem()
	sys.answers["get /x"] = failing(1, refused, `{"a":1}`)
	r := start(t, sys, nil, "process: p\nlisten: { path: /p, output: json, auth: none }\nsteps:\n  - call: sys.get\n    with: { path: /x }\n  - reply: ${doc}\n")
	reply, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{"n":1}`))
	if err == nil {
		t.Fatal("it did not fail")
	}
	id := reply.Execution
	var unfit *atom.ResubmissionError
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err = r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.Is(err, store.ErrUnknown) || time.Now().After(end) {
			break
		}
	}
	if !errors.As(err, &unfit) {
		t.Fatalf("got %v, want a ResubmissionError", err)
	}
	if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
		t.Fatalf("got %+v, want status completed", v)
	}
}

func TestOnFailureRunsOncePerFailureAndNotForItself(t *testing.T) {
	sys := newSystem()
	sys.answers["post /x"] = failing(100, refused, `{}`)
	sys.answers["post /tell"] = failing(100, refused, `{}`)
	r := start(t, sys, nil, `project: x
on_failure: tell
---
process: tell
steps:
  - process: loud
    mode: handoff
  - call: sys.post
    with: { path: /tell }
---
process: loud
steps:
  - call: sys.post
    with: { path: /x }
---
process: p
listen: { path: /p, auth: none }
track: { n: "${doc.n}" }
steps:
  - call: sys.post
    with: { path: /x }
`)
	id := r.failed("p", `{"n":7}`)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if list, _, err := r.atom.Failed(context.Background(), store.Filter{}, "", 10); err != nil || len(list) == 3 {
			break
		}
		<-time.After(time.Millisecond)
	}
	told := 0
	for _, c := range sys.seen() {
		if c.path == "/tell" {
			told++
			rec, _ := document.Decode(document.Parse(c.body)).(*document.Object)
			if rec == nil {
				t.Fatalf("got document %s, want a failure record", c.body)
			}
			if v, _ := rec.Get("execution"); v != id {
				t.Errorf("got failure %v, want that of %v", v, id)
			}
			if !strings.Contains(c.body, `"track":{"n":"7"}`) || !strings.Contains(c.body, `"code":"status"`) || !strings.Contains(c.body, `"status":"failed"`) {
				t.Errorf("got failure record %s, want its track, code and status", c.body)
			}
		}
	}
	// The on_failure execution commits with the failure: nothing else follows.
	list, _, err := r.atom.List(context.Background(), store.Filter{}, "", 10)
	if told != 1 || err != nil || len(list) != 3 {
		t.Fatalf("told %d times, %d failures, %v, want 1 time, 3 failures and no error", told, len(list), err)
	}
}

func TestDiscardedFailures(t *testing.T) {
	sys := newSystem()
	sys.answers["post /x"] = failing(9, refused, `{}`)
	r := start(t, sys, nil, "process: p\nlisten: { path: /p, auth: none }\nsteps:\n  - call: sys.post\n    with: { path: /x }\n")
	id := r.failed("p", `{"n":1}`)
	if err := r.atom.Discard(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if err := r.atom.Discard(context.Background(), id); !errors.Is(err, store.ErrResolved) {
		t.Fatalf("got %v, want ErrResolved", err)
	}
	v, err := r.atom.Show(context.Background(), id)
	if err != nil || v.Resolution == nil || v.Resolution.How != "deleted" || v.Input != nil {
		t.Fatalf("got %+v, %v, want no error, a resolution, how deleted and no input", v, err)
	}
}

// TestKeptFailuresAreBounded checks that callers who wait cannot make a process
// keep more failures than its limit, and that acknowledged messages are kept
// beyond it.
func TestKeptFailuresAreBounded(t *testing.T) {
	sys := newSystem()
	sys.kept = 20 << 10
	sys.answers["post /x"] = failing(1000, refused, `{}`)
	const step = "\nsteps:\n  - set: { trace: \"${repeat(doc.n ?? '', 5)}\" }\n  - call: sys.post\n    with: { path: /x }\n"
	r := start(t, sys, nil, "process: sync\nlisten: { path: /sync, output: json, auth: none }"+step+"  - reply: {}\n---\nprocess: other\nlisten: { path: /other, output: json, auth: none }"+step+"  - reply: {}\n"+
		"---\nprocess: stored\nlisten: { path: /stored, auth: none }"+step)
	ctx := context.Background()
	const calls = 40
	for range calls {
		if _, err := r.atom.Request(ctx, r.process("sync"), arrival(`{"n":"`+strings.Repeat("x", 1000)+`"}`)); err == nil {
			t.Fatal("got no error, want the failure")
		}
	}
	if _, err := r.atom.Request(ctx, r.process("other"), arrival(`{}`)); err == nil {
		t.Fatal("got no error, want the failure")
	}
	r.failed("stored", `{"n":1}`)
	all := 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && all < calls; r.tick() {
		list, _, err := r.atom.List(ctx, store.Filter{Process: "sync"}, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		all = len(list)
	}
	kept := func(process string) []*atom.ExecutionView {
		list, _, err := r.atom.Failed(ctx, store.Filter{Process: process}, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if n := len(kept("sync")); all != calls || n == 0 || n > 7 {
		t.Errorf("got %d executions, %d kept, want %d and 1 to 7", all, n, calls)
	}
	problems, err := r.atom.Problems(ctx)
	if n := problems["sync"].KeptBytes; err != nil || n == 0 || n > sys.kept {
		t.Errorf("got %d bytes kept, %v, want at most %d", n, err, sys.kept)
	}
	if len(kept("other")) != 1 || len(kept("stored")) != 1 {
		t.Errorf("got %d and %d kept failures of other processes, want 1 and 1", len(kept("other")), len(kept("stored")))
	}
	list, _, err := r.atom.List(ctx, store.Filter{Process: "sync"}, "", 1)
	if err != nil || len(list) != 1 || list[0].Status != string(store.Failed) || list[0].Resolution == nil || list[0].Resolution.How != "dropped" {
		t.Fatalf("got %+v, %v, want a failure that was dropped", list, err)
	}
	if v, err := r.atom.Show(ctx, list[0].Execution); err != nil || v.Input != nil {
		t.Errorf("got the input %v, %v of a dropped failure, want none", v.Input, err)
	}
	if _, err := r.atom.Resubmit(ctx, list[0].Execution, atom.Resubmission{}); !errors.Is(err, store.ErrResolved) {
		t.Errorf("resubmit: got %v, want ErrResolved", err)
	}
}
