package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
)

const onceProject = `process: add
steps:
  - call: sys.post
    with: { path: "${props.n}" }
---
process: bad
steps:
  - throw: "not today"
`

func TestExecuteOnce(t *testing.T) {
	r := start(t, newSystem(), nil, onceProject)
	told := make(chan atom.ExecutionEnd, 10)
	r.atom.OnEnded(func(e atom.ExecutionEnd) { told <- e })
	props := document.FromPlain(map[string]any{"n": "/1"}).(*document.Object)
	first, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "add", atom.Input{Props: props})
	if err != nil || first.Status != "accepted" {
		t.Fatalf("got %v, %v, want no error and status accepted", first, err)
	}
	again, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "gone", atom.Input{Props: props})
	if err != nil || again.Status != "duplicate" || again.Execution != first.Execution {
		t.Fatalf("got %v, %v, want no error, status duplicate and execution that of first", again, err)
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-2", "gone", atom.Input{}); !errors.Is(err, atom.ErrNoSuch) {
		t.Fatalf("got %v, want ErrNoSuch", err)
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-3", "bad", atom.Input{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var e atom.ExecutionEnd
		select {
		case e = <-told:
		case <-time.After(10 * time.Second):
			t.Fatal("no end was reported within 10s")
		}
		ok := e.Kind == atom.ByRequest && !e.Ended.Before(e.Started) && e.Execution != ""
		switch e.Process {
		case "add":
			ok = ok && e.Status == store.Completed && e.Error == "" && e.Execution == first.Execution
		case "bad":
			ok = ok && e.Status == store.Failed && strings.Contains(e.Error, "not today")
		}
		if !ok {
			t.Errorf("got %+v, want an end of one of the executions", e)
		}
	}
	if len(told) > 0 {
		t.Errorf("got another end %+v, want none", <-told)
	}
}

// The end of a requested execution has the id of the request. That of a
// resubmission names the execution that it runs again.
func TestEndHasRequestAndOriginal(t *testing.T) {
	r := start(t, newSystem(), nil, onceProject)
	told := make(chan atom.ExecutionEnd, 10)
	r.atom.OnEnded(func(e atom.ExecutionEnd) { told <- e })
	next := func() atom.ExecutionEnd {
		t.Helper()
		select {
		case e := <-told:
			return e
		case <-time.After(10 * time.Second):
			t.Fatal("no end was reported within 10s")
		}
		return atom.ExecutionEnd{}
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "bad", atom.Input{}); err != nil {
		t.Fatal(err)
	}
	first := next()
	if first.Kind != atom.ByRequest || first.Original != "" || first.Request != "executionrecord-1" {
		t.Errorf("got end %+v, want one of request executionrecord-1", first)
	}
	if _, err := r.atom.Resubmit(context.Background(), first.Execution, atom.Resubmission{}); err != nil {
		t.Fatal(err)
	}
	second := next()
	if second.Kind != atom.ByResubmission || second.Original != first.Execution || second.Request != "" {
		t.Errorf("got end %+v, want a resubmission of %s without request", second, first.Execution)
	}
	if _, err := r.atom.Resubmit(context.Background(), second.Execution, atom.Resubmission{Order: "executionrecord-2"}); err != nil {
		t.Fatal(err)
	}
	if third := next(); third.Original != second.Execution || third.Request != "executionrecord-2" {
		t.Errorf("got end %+v, want a resubmission of %s by request executionrecord-2", third, second.Execution)
	}
}
