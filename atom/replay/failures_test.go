package replay

import (
	"slices"
	"testing"

	"valence/atom"
	"valence/atom/run"
	"valence/processes/testrun"
)

func failedStep(retryable *bool) atom.StepView {
	return atom.StepView{Path: "0", Kind: "call", Operation: "erp.post", Outcome: "failed", TookMS: 5,
		Error: &run.ErrorView{Code: "status", Message: "erp.post: 503", Status: 503, Retryable: retryable, Detail: []byte(`{"code":"busy"}`)}}
}

// TestFailedAnswers answers the attempts of a call that failed as then.
func TestFailedAnswers(t *testing.T) {
	yes, no := true, false
	for _, test := range []struct {
		name      string
		retryable *bool
		attempts  int // that have an answer
	}{
		{"another attempt fails too", &yes, 3},
		{"no other attempt can succeed", &no, 1},
		{"an older record", nil, 1},
	} {
		answers := newAnswers(&atom.ExecutionView{Durable: true, Steps: []atom.StepView{failedStep(test.retryable)}})
		answered := 0
		for range 3 {
			a := answers.answer(&testrun.Call{Operation: "erp.post", Key: "0"})
			if a.Missing {
				continue
			}
			answered++
			if want := test.retryable == &yes; a.Fail.Retryable != want || string(a.Detail) != `{"code":"busy"}` {
				t.Errorf("%s: got retryable %v and the detail %s, want %v and the recorded detail", test.name, a.Fail.Retryable, a.Detail, want)
			}
		}
		if answered != test.attempts {
			t.Errorf("%s: got %d answers, want %d", test.name, answered, test.attempts)
		}
	}
}

// TestLacking names the parts that records of older versions do not have.
func TestLacking(t *testing.T) {
	no := false
	old := lacking(&atom.ExecutionView{Reply: &atom.DocumentView{}, Steps: []atom.StepView{failedStep(nil)}})
	if len(old) != 2 {
		t.Errorf("got %q for an older record, want the status of the reply and the failed call", old)
	}
	if got := lacking(&atom.ExecutionView{Reply: &atom.DocumentView{}, ReplyStatus: 200, Steps: []atom.StepView{failedStep(&no)}}); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
	r := NewReport("p")
	r.Add(&atom.ExecutionView{Execution: "x1"}, Result{notCompared: old})
	if got := r.NotCompared; r.Changed != 0 || len(got) != 2 || !slices.Contains(old, got[0].Kind) {
		t.Errorf("got %d changed and %v, want no change and both reasons", r.Changed, got)
	}
}
