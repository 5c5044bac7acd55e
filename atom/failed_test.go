package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/processes"

	"valence/atom/steps"
	"valence/connectors"
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
	project, problems := processes.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: registry})
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
		r.t.Fatalf("%+v", v)
	}
	return id
}

func (r *rig) resubmit(id string, how atom.Resubmission) *atom.View {
	r.t.Helper()
	made, err := r.atom.Resubmit(context.Background(), id, how)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.ended(made)
}

func TestResubmissionFromTheFailedStepDoesNotRepeatWhatWasDone(t *testing.T) {
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
		t.Fatalf("%+v", v)
	}
	calls := sys.seen()
	if len(calls) != 4 || calls[3].path != "/c" || calls[3].key != calls[2].key {
		t.Fatalf("calls %+v", calls)
	}
	before, err := r.atom.Show(context.Background(), id)
	if err != nil || before.Resolution == nil || before.Resolution.How != "resubmitted" || before.Resolution.Execution != v.Execution {
		t.Fatalf("%+v, %v", before, err)
	}
	if left, _, err := r.atom.Failed(context.Background(), atom.Filter{}, "", 10); err != nil || len(left) != 0 {
		t.Fatalf("%v, %v", left, err)
	}
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{}); !errors.Is(err, atom.ErrResolved) {
		t.Fatal(err)
	}
}

func TestResubmissionFromTheStartRepeatsWithTheSameKeys(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, mended)
	id := r.failed("p", `{"n":1}`)
	if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
	calls := sys.seen()
	if len(calls) != 6 || calls[1].key == "" || calls[1].key != calls[4].key || calls[2].key != calls[5].key {
		t.Fatalf("calls %+v", calls)
	}
}

func TestResubmissionWithAnotherMessageHasKeysOfItsOwn(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	r := start(t, sys, nil, "profile: shape\nschema: { type: object, required: [n] }\n---\n"+strings.Replace(mended, "track:", "profile: shape\ntrack:", 1))
	id := r.failed("p", `{"n":1}`)
	_, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{Document: document.FromJSON([]byte(`{"m":2}`))})
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeInvalid {
		t.Fatalf("a message that does not fit: %v", err)
	}
	doc := document.FromJSON([]byte(`{"n":2}`))
	var unfit *atom.UnfitError
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{Document: doc, From: atom.FromFailedStep}); !errors.As(err, &unfit) {
		t.Fatalf("a new message from the failed step: %v", err)
	}
	v := r.resubmit(id, atom.Resubmission{Document: doc})
	calls := sys.seen()
	if v.Status != "completed" || v.Track["n"] != "2" || len(calls) != 6 || calls[4].body != `{"n":2}` || calls[1].key == calls[4].key {
		t.Fatalf("%+v, calls %+v", v, calls)
	}
}

func TestResubmissionOnAnotherVersion(t *testing.T) {
	sys := newSystem()
	sys.answers["post /c"] = failing(1, refused, `{}`)
	sys.answers["post /d"] = nil
	r := start(t, sys, nil, mended)
	id := r.failed("p", `{"n":1}`)
	r.deploy(strings.Replace(mended, "path: /a", "path: /other", 1))
	var unfit *atom.UnfitError
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.As(err, &unfit) || !strings.Contains(unfit.Reason, "first") {
		t.Fatalf("a step before it has changed: %v", err)
	}
	r.deploy(strings.Replace(mended, "path: /c", "path: /d", 1))
	if v := r.resubmit(id, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
	if got := sys.paths(); len(got) != 4 || got[3] != "post /d" {
		t.Fatalf("calls %v", got)
	}

	sys.mu.Lock()
	sys.answers["post /d"] = failing(2, refused, `{}`)
	sys.mu.Unlock()
	id = r.failed("p", `{"n":2}`)
	r.deploy("process: q\nsteps: [{ log: x }]\n")
	if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{}); !errors.As(err, &unfit) {
		t.Fatalf("not deployed any more: %v", err)
	}
	if v := r.resubmit(id, atom.Resubmission{Version: atom.VersionOriginal}); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
}

func TestOnlyTheElementsThatFailedRunAgain(t *testing.T) {
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
	ack, err := r.atom.Execute(context.Background(), "p", nil, document.FromJSON([]byte(`["a","b","c","d","e"]`)))
	if err != nil {
		t.Fatal(err)
	}
	if v := r.ended(ack.Execution); v.Status != "failed" {
		t.Fatalf("%+v", v)
	}
	n := len(sys.seen())
	if v := r.resubmit(ack.Execution, atom.Resubmission{From: atom.FromFailedStep}); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
	if got := sys.paths()[n:]; len(got) != 2 || got[0] != "post /2" || got[1] != "post /4" {
		t.Fatalf("calls again %v", got)
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
		t.Fatalf("%+v, %v", groups, err)
	}
	down = false
	b, err := r.atom.ResubmitMany(context.Background(), atom.Filter{Fingerprint: groups[0].Fingerprint}, atom.Resubmission{}, 1000, false)
	if err != nil || b.Matched != 3 {
		t.Fatalf("%+v, %v", b, err)
	}
	for end := time.Now().Add(10 * time.Second); len(sys.seen()) < 6 && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	var bodies []string
	for _, c := range sys.seen()[3:] {
		bodies = append(bodies, c.body)
	}
	if strings.Join(bodies, " ") != "1 2 3" {
		t.Fatalf("again %v", bodies)
	}
	for end := time.Now().Add(10 * time.Second); b.State == "running" && time.Now().Before(end); {
		if b, err = r.atom.Batch(b.ID); err != nil {
			t.Fatal(err)
		}
	}
	if b.State != "done" || b.Done != 3 || b.Refused != 0 {
		t.Fatalf("%+v", b)
	}
}

func TestAFailureInMemoryIsKeptAndRunsAgainFromTheStart(t *testing.T) {
	sys := newSystem()
	sys.answers["get /x"] = failing(1, refused, `{"a":1}`)
	r := start(t, sys, nil, "process: p\nlisten: { path: /p, output: json, auth: none }\nsteps:\n  - call: sys.get\n    with: { path: /x }\n  - reply: ${doc}\n")
	reply, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{"n":1}`))
	if err == nil {
		t.Fatal("it did not fail")
	}
	id := reply.Execution
	var unfit *atom.UnfitError
	for end := time.Now().Add(10 * time.Second); ; {
		if _, err = r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.Is(err, atom.ErrUnknown) || time.Now().After(end) {
			break
		}
	}
	if !errors.As(err, &unfit) {
		t.Fatal(err)
	}
	if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
		t.Fatalf("%+v", v)
	}
}

func TestOnFailureRunsOnceForEachFailureAndNotForItsOwn(t *testing.T) {
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
		if list, _, err := r.atom.Failed(context.Background(), atom.Filter{}, "", 10); err != nil || len(list) == 3 {
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
				t.Fatalf("told %s", c.body)
			}
			if v, _ := rec.Get("execution"); v != id {
				t.Errorf("told of %v", v)
			}
			if !strings.Contains(c.body, `"track":{"n":"7"}`) || !strings.Contains(c.body, `"code":"status"`) || !strings.Contains(c.body, `"status":"failed"`) {
				t.Errorf("told %s", c.body)
			}
		}
	}
	// What a failure starts is committed with it: there is nothing else to come.
	list, _, err := r.atom.List(context.Background(), atom.Filter{}, "", 10)
	if told != 1 || err != nil || len(list) != 3 {
		t.Fatalf("told %d times, %d failures, %v", told, len(list), err)
	}
}

func TestDeletedFailuresAreGone(t *testing.T) {
	sys := newSystem()
	sys.answers["post /x"] = failing(9, refused, `{}`)
	r := start(t, sys, nil, "process: p\nlisten: { path: /p, auth: none }\nsteps:\n  - call: sys.post\n    with: { path: /x }\n")
	id := r.failed("p", `{"n":1}`)
	if err := r.atom.Discard(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if err := r.atom.Discard(context.Background(), id); !errors.Is(err, atom.ErrResolved) {
		t.Fatal(err)
	}
	v, err := r.atom.Show(context.Background(), id)
	if err != nil || v.Resolution == nil || v.Resolution.How != "deleted" || v.Input != nil {
		t.Fatalf("%+v, %v", v, err)
	}
}
