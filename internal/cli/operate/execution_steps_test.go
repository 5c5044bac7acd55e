package operate

import (
	"fmt"
	"strings"
	"testing"

	"valence/atom"
)

func step(path, parent, outcome, kind string) stepView {
	return stepView{StepView: atom.StepView{Path: path, Parent: parent, Outcome: outcome, Kind: kind}}
}

func TestStepsAreATree(t *testing.T) {
	set := step("0", "", "ok", "set")
	set.Set = []byte(`{"a":1}`)
	log := step("1.then.0", "1", "ok", "log")
	log.Log = "two\nlines"
	var b strings.Builder
	writeSteps(&b, []stepView{
		set, step("1", "", "ok", "if"), log, step("2", "", "ok", "branch"),
		step("2.branch.erp.0", "2", "ok", "process"), step("2.branch.erp.0/0", "2.branch.erp.0", "ok", "map"),
		step("2.branch.crm.0", "2", "skipped", "call"), step("3", "", "ok", "for_each"), step("3.steps.0[0]", "3", "ok", "map"),
	}, false)
	want := `  ok       set  (0µs)
    set {
      "a": 1
    }
  ok       if  (0µs)
    then
      ok       log  (0µs)
        two
        lines
  ok       branch  (0µs)
    erp
      ok       process  (0µs)
        ok       map  (0µs)
    crm
      skipped  call  (0µs)
  ok       for_each  (0µs)
    element 0
      ok       map  (0µs)
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLoopsAreSummarized checks that a long loop shows its first, failed and
// last elements, and all of them on request.
func TestLoopsAreSummarized(t *testing.T) {
	steps := []stepView{step("0", "", "failed", "for_each")}
	for i := range 1000 {
		outcome := "ok"
		if i%50 == 7 {
			outcome = "failed"
		}
		steps = append(steps, step(fmt.Sprintf("0.steps.0[%d]", i), "0", outcome, "call"))
	}
	shown := func(all bool) string {
		var b strings.Builder
		writeSteps(&b, steps, all)
		return b.String()
	}
	got := shown(false)
	for want, n := range map[string]int{"    element ": 12, "failed   call": 10, "element 0\n": 1, "element 7\n": 1, "element 999\n": 1, "… 6 more elements (--all shows them)": 1, "… 49 more elements": 9, "… 541 more elements": 1} {
		if c := strings.Count(got, want); c != n {
			t.Errorf("got %q %d times, want %d times in\n%s", want, c, n, got)
		}
	}
	if c := strings.Count(shown(true), "    element "); c != 1000 {
		t.Errorf("got %d elements with --all, want 1000", c)
	}
}
