package atom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"valence/atom"
	"valence/atom/store"
)

// TestStepsAreNested checks the steps that an execution shows: their order,
// their parents, variables, log lines, and attempts.
func TestStepsAreNested(t *testing.T) {
	sys := newSystem()
	sys.answers["get /flaky"] = failing(2, down, `{"n":1}`)
	r := start(t, sys, nil, `process: p
listen: { path: /p, input: json, auth: none }
retry: { max_attempts: 5, backoff: 1ms }
steps:
  - set: { total: "${doc.n}", "who": ada }
  - for_each: ${[10, 20]}
    parallel: 2
    steps:
      - if: ${item > 10}
        then:
          - log: big ${item}
  - branch:
      erp:
        - call: sys.get
          with: { path: /flaky }
      crm:
        - process: inner
  - log: done
---
process: inner
steps:
  - map: { x: 1 }
`)
	v := r.ended(r.accept("p", `{"n":7}`).Execution)
	var got []string
	for _, s := range v.Steps {
		line := fmt.Sprintf("%s in %q: %s %s", s.Path, s.Parent, s.Outcome, s.Kind)
		if s.Attempts > 0 {
			line += fmt.Sprint(" attempts ", s.Attempts)
		}
		if s.Error != nil {
			line += " " + s.Error.Code
		}
		if s.Set != nil {
			line += " " + string(s.Set)
		}
		if s.Log != "" {
			line += " " + s.Log
		}
		got = append(got, line)
	}
	want := []string{
		`0 in "": ok set {"total":7,"who":"ada"}`,
		`1 in "": ok for_each`,
		`1.steps.0[0] in "1": ok if`,
		`1.steps.0[1] in "1": ok if`,
		`1.steps.0.then.0[1] in "1.steps.0[1]": ok log big 20`,
		`2 in "": ok branch`,
		`2.branch.erp.0 in "2": ok call attempts 3`,
		`2.branch.crm.0 in "2": ok process`,
		`2.branch.crm.0/0 in "2.branch.crm.0": ok map`,
		`3 in "": ok log done`,
	}
	// The paths of the branch may end in any order.
	if len(got) == len(want) && strings.HasPrefix(got[6], "2.branch.crm") {
		got[6], got[7], got[8] = got[8], got[6], got[7]
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFailedStepsAreKept checks that a trace has the failed elements of a loop
// whose finished elements fill it.
func TestFailedStepsAreKept(t *testing.T) {
	r := start(t, newSystem(), nil, `process: p
listen: { path: /p, input: json, output: json, auth: none }
steps:
  - for_each: ${1..3000}
    on_error: continue
    steps:
      - if: ${item == 2900}
        then: [{ throw: broken }]
  - reply: x
`)
	if _, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{}`)); err == nil {
		t.Fatal("got no failure")
	}
	r.waitForStatus("p")
	v := r.newest("p")
	failed := 0
	for _, s := range v.Steps {
		if s.Outcome == "failed" && strings.HasSuffix(s.Path, "[2899]") {
			failed++
		}
	}
	if failed != 2 || v.StepsDropped == 0 {
		t.Errorf("got %d failed steps of element 2899 and %d dropped ones, want 2 and some", failed, v.StepsDropped)
	}
}

// newest shows the newest execution of a process.
func (r *rig) newest(process string) *atom.ExecutionView {
	r.t.Helper()
	list, _, err := r.atom.List(context.Background(), store.Filter{Process: process}, "", 1)
	if err != nil || len(list) != 1 {
		r.t.Fatalf("got %v, %v, want one execution", list, err)
	}
	v, err := r.atom.Show(context.Background(), list[0].Execution)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}
