package atom_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"valence/atom/store"
)

const refuses = `project: x
on_failure: tell
---
process: tell
steps:
  - log: told
---
process: p
listen: { path: /p, input: json, output: json, auth: none, reply_modes: [sync, deferred] }
steps:
  - if: ${doc.early ?? false}
    then:
      - reply: { early: true }
      - throw: too late
        code: late
        status: 409
  - throw: unknown customer
    code: unknown_customer
    status: ${STATUS}
---
process: checked
listen: { path: /checked, input: json, output: json, auth: none, reply_modes: [sync, deferred] }
steps:
  - set: { seen: true }
  - validate: order
  - map:
      id: 7
  - validate: text
  - reply: ok
---
process: stored-checked
listen: { path: /stored-checked, input: json, auth: none }
steps:
  - validate: order
---
profile: order
schema: { type: object, required: [id] }
---
profile: text
schema: { type: object, properties: { id: { type: string } } }
---
process: stored
listen: { path: /stored, input: json, auth: none }
steps:
  - throw: unknown customer
    code: unknown_customer
    status: 422
`

// waitForStatus returns the status of the newest execution of a process.
func (r *rig) waitForStatus(process string) string {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); r.tick() {
		list, _, err := r.atom.List(context.Background(), store.Filter{Process: process}, "", 10)
		if err == nil && len(list) > 0 && list[0].EndedAt != nil {
			return string(list[0].Status)
		}
	}
	r.t.Fatalf("got no ended execution of %s", process)
	return ""
}

// TestRejected checks which executions with a `throw` end as rejected: those
// whose caller was told a status of 4xx. They are not in the failed list, and
// on_failure does not run.
func TestRejected(t *testing.T) {
	deferred := func(r *rig, name, body string) { r.deferred(name, body) }
	request := func(r *rig, name, body string) {
		if _, err := r.atom.Request(context.Background(), r.process(name), arrival(body)); err == nil {
			r.t.Error("got no failure")
		}
	}
	stored := func(r *rig, name, body string) { r.accept(name, body) }
	for _, c := range []struct {
		name, status, process, body string
		send                        func(r *rig, name, body string)
		want                        string
		failed                      int
	}{
		{"a waiting caller is told 404", "404", "p", `{}`, request, "rejected", 0},
		{"a waiting caller is told 503", "503", "p", `{}`, request, "failed", 1},
		{"a deferred reply tells 404", "404", "p", `{}`, deferred, "rejected", 0},
		{"the deferred reply was sent before", "404", "p", `{"early":true}`, deferred, "failed", 1},
		{"nobody is told", "404", "stored", `{}`, stored, "failed", 1},
		{"a waiting caller sent an invalid document", "404", "checked", `{}`, request, "rejected", 0},
		{"a deferred reply for an invalid document", "404", "checked", `{}`, deferred, "rejected", 0},
		{"the process made the invalid document", "404", "checked", `{"id":1}`, request, "failed", 1},
		{"nobody is told of the invalid document", "404", "stored-checked", `{}`, stored, "failed", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, newSystem(), nil, strings.Replace(refuses, "${STATUS}", c.status, 1))
			c.send(r, c.process, c.body)
			if got := r.waitForStatus(c.process); got != c.want {
				t.Errorf("got status %s, want %s", got, c.want)
			}
			failed, _, err := r.atom.Failed(context.Background(), store.Filter{}, "", 10)
			if err != nil || len(failed) != c.failed {
				t.Errorf("got %d failures, %v, want %d", len(failed), err, c.failed)
			}
			if c.failed > 0 {
				if got := r.waitForStatus("tell"); got != "completed" {
					t.Errorf("on_failure: got status %s, want completed", got)
				}
			} else if list, _, err := r.atom.List(context.Background(), store.Filter{Process: "tell"}, "", 10); err != nil || len(list) > 0 {
				t.Errorf("got %d executions of on_failure, %v, want none", len(list), err)
			}
		})
	}
}
