package atom_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/atom"
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
	told := make(chan atom.Ended, 10)
	r.atom.OnEnded(func(e atom.Ended) { told <- e })
	props := document.FromPlain(map[string]any{"n": "/1"}).(*document.Object)
	first, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "add", props, nil)
	if err != nil || first.Status != "accepted" {
		t.Fatal(first, err)
	}
	again, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "gone", props, nil)
	if err != nil || again.Status != "duplicate" || again.Execution != first.Execution {
		t.Fatal(again, err)
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-2", "gone", nil, nil); !errors.Is(err, atom.ErrNoSuch) {
		t.Fatal(err)
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-3", "bad", nil, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var e atom.Ended
		select {
		case e = <-told:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told of the end")
		}
		ok := e.Kind == atom.ByRequest && !e.Ended.Before(e.Started) && e.Execution != ""
		switch e.Process {
		case "add":
			ok = ok && e.Status == atom.Completed && e.Error == "" && e.Execution == first.Execution
		case "bad":
			ok = ok && e.Status == atom.Failed && strings.Contains(e.Error, "not today")
		}
		if !ok {
			t.Errorf("%+v", e)
		}
	}
	if len(told) > 0 {
		t.Errorf("told of %+v, too", <-told)
	}
}

// TestEndedTellsWhatBegan: a resubmission names the execution that it repeats.
func TestEndedTellsWhatBegan(t *testing.T) {
	r := start(t, newSystem(), nil, onceProject)
	told := make(chan atom.Ended, 10)
	r.atom.OnEnded(func(e atom.Ended) { told <- e })
	next := func() atom.Ended {
		t.Helper()
		select {
		case e := <-told:
			return e
		case <-time.After(10 * time.Second):
			t.Fatal("nobody was told of the end")
		}
		return atom.Ended{}
	}
	if _, err := r.atom.ExecuteOnce(context.Background(), "executionrecord-1", "bad", nil, nil); err != nil {
		t.Fatal(err)
	}
	first := next()
	if first.Kind != atom.ByRequest || first.Original != "" {
		t.Errorf("%+v", first)
	}
	if _, err := r.atom.Resubmit(context.Background(), first.Execution, atom.Resubmission{}); err != nil {
		t.Fatal(err)
	}
	if second := next(); second.Kind != atom.ByResubmission || second.Original != first.Execution {
		t.Errorf("%+v", second)
	}
}
