package atom_test

import (
	"context"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/document"
)

// stopping is a process whose path b waits for a long time when path a fails.
func stopping(before, branch, after string) string {
	return `
process: p
listen: { path: /p, auth: none }
steps:
` + before + `  - branch:
      a:
        - call: sys.post
          with: { path: /a }
      b:
        - call: sys.post
          with: { path: /b }
        - wait: decision
          key: k
          timeout: 30d
        - call: sys.post
          with: { path: /decided }
          body: ${doc}
      c:
        - sleep: 20d
        - call: sys.post
          with: { path: /slept }
` + branch + after + `
---
process: decide
steps:
  - resume: decision
    key: k
    body: { yes: true }
`
}

// With on_error: stop a failure ends the execution at once, even if other paths
// wait. A resubmission from the failed step runs only the missing steps.
func TestFailureDoesNotWaitForSuspendedPaths(t *testing.T) {
	bubbled(t, stopping("", "    on_error: stop\n", ""), func(t *testing.T, r *rig) {
		broken := true
		r.sys.answers["post /a"] = func(int) (*document.Document, error) {
			if broken {
				return nil, refused()
			}
			return document.FromJSON([]byte(`{}`)), nil
		}
		begun := time.Now()
		id := r.accept("p", `{}`).Execution
		if v := r.ended(id); v.Status != "failed" || v.Error.Code != "status" || time.Since(begun) > time.Minute {
			t.Fatalf("after %s: got %+v %+v, want status failed with code status within a minute", time.Since(begun), v, v.Error)
		}
		resume := func() string { return r.ended(r.accept("decide", `{}`).Execution).Status }
		if got := resume(); got != "failed" {
			t.Errorf("a wait that was given up takes a signal: got %s, want failed", got)
		}
		broken = false
		again, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep})
		if err != nil {
			t.Fatal(err)
		}
		r.waits(again)
		if got := resume(); got != "completed" {
			t.Errorf("nobody waits after the resubmission: got %s, want completed", got)
		}
		<-time.After(20*24*time.Hour - time.Since(begun) - time.Minute)
		if v := r.shown(again); v.Status != "waiting" {
			t.Errorf("the sleep is over too early: got %+v, want status waiting", v)
		}
		<-time.After(2 * time.Minute) // its time went on all along
		if v := r.ended(again); v.Status != "completed" {
			t.Errorf("got %+v %+v, want status completed", v, v.Error)
		}
		count := map[string]int{}
		for _, p := range r.sys.paths() {
			count[p]++
		}
		if count["post /a"] != 2 || count["post /b"] != 1 || count["post /decided"] != 1 || count["post /slept"] != 1 || r.asked("/decided") != `{"yes":true}` {
			t.Errorf("got calls %v, want /a twice, /b, /decided and /slept once, and the decision yes", count)
		}
	})
}

// If the execution continues after the failure, all paths end first. Otherwise
// waiting paths could not be distinguished from abandoned ones.
func TestCaughtFailureWaitsForSuspendedPaths(t *testing.T) {
	for name, yaml := range map[string]string{
		"continue": stopping("", "", ""),
		"a try": `
process: p
listen: { path: /p, auth: none }
steps:
  - try:
      - for_each: ${[1, 2]}
        parallel: 2
        steps:
          - if: ${item == 1}
            then: [{ throw: broken }]
            else: [{ sleep: 20d }]
    catch:
      - throw: caught
`,
		"another path": `
process: p
listen: { path: /p, auth: none }
steps:
  - branch:
      a:
        - for_each: ${[1, 2]}
          parallel: 2
          steps:
            - if: ${item == 1}
              then: [{ throw: broken }]
              else: [{ sleep: 20d }]
      b: [{ log: x }]
`,
	} {
		t.Run(name, func(t *testing.T) {
			bubbled(t, yaml, func(t *testing.T, r *rig) {
				r.sys.answers["post /a"] = failing(99, refused, `{}`)
				id := r.accept("p", `{}`).Execution
				<-time.After(19 * 24 * time.Hour)
				if v := r.shown(id); v.Status != "waiting" {
					t.Errorf("got %+v, want status waiting", v)
				}
				<-time.After(12 * 24 * time.Hour)
				if v := r.ended(id); v.Status != "failed" {
					t.Errorf("got %+v, want status failed", v)
				}
			})
		})
	}
}

// Elements of a loop are abandoned likewise, also inside a called process.
func TestLoopDoesNotWaitForSuspendedElements(t *testing.T) {
	bubbled(t, `
process: p
listen: { path: /p, auth: none }
steps:
  - process: inner
---
process: inner
steps:
  - for_each: ${[1, 2, 3]}
    parallel: 3
    steps:
      - if: ${item == 2}
        then: [{ throw: broken }]
        else: [{ sleep: 20d }]
`, func(t *testing.T, r *rig) {
		begun := time.Now()
		v := r.ended(r.accept("p", `{}`).Execution)
		if v.Status != "failed" || v.Error.Message != "broken" || time.Since(begun) > time.Minute {
			t.Errorf("after %s: got %+v, want failure broken within a minute", time.Since(begun), v)
		}
	})
}
