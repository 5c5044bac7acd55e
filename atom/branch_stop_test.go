package atom_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom"
	"valence/connectors"
	"valence/internal/access"
	"valence/internal/document"
	"valence/internal/fault"
)

// stuckSystem is a system whose answers to /slow never come. Its calls of
// /broken fail after a second.
type stuckSystem struct{ *system }

func (s stuckSystem) call(ctx context.Context, op, path string, c *connectors.Call) (*connectors.Result, error) {
	r, err := s.system.call(ctx, op, path, c)
	switch path {
	case "/slow":
		<-ctx.Done()
		return nil, connectors.Retry(fault.CodeTimeout, "no answer", 0, ctx.Err())
	case "/broken":
		time.Sleep(time.Second)
		return nil, refused()
	}
	return r, err
}

// TestStopCancelsCalls checks that the failure of a path of a branch with
// `on_error: stop` cancels the calls of the others, however they are nested, and
// that nothing but their `finally` runs afterwards.
func TestStopCancelsCalls(t *testing.T) {
	slow := "call: sys.get\n          with: { path: /slow }\n"
	for name, c := range map[string]struct {
		path   string // of the other branch path
		around string // indents the branch
		calls  []string
		status string
	}{
		"call":    {path: "        - " + slow + "        - call: sys.get\n          with: { path: /never }\n", status: "failed"},
		"retries": {path: "        - " + slow + "          retry: { max_attempts: 9, backoff: 1s }\n", status: "failed"},
		"for_each": {path: "        - for_each: ${1..3}\n          parallel: 2\n          on_error: continue\n          errors: bad\n          steps:\n            - call: sys.get\n              with: { path: /slow }\n" +
			"        - call: sys.get\n          with: { path: /never }\n", calls: []string{"get /slow"}, status: "failed"},
		"branch":  {path: "        - branch:\n            a:\n              - call: sys.get\n                with: { path: /slow }\n            b: [{ log: x }]\n        - call: sys.get\n          with: { path: /never }\n", status: "failed"},
		"process": {path: "        - process: inner\n        - call: sys.get\n          with: { path: /never }\n", status: "failed"},
		"try": {path: "        - try:\n            - call: sys.get\n              with: { path: /slow }\n          catch:\n            - call: sys.get\n              with: { path: /caught }\n" +
			"          finally:\n            - call: sys.post\n              with: { path: /tidy }\n", calls: []string{"post /tidy"}, status: "failed"},
		"caught": {around: "try", path: "        - " + slow, calls: []string{"post /after"}, status: "completed"},
	} {
		process := "process: p\nlisten: { path: /p, input: json, output: json, auth: none }\nsteps:\n  - branch:\n      slow:\n" + c.path +
			"      broken:\n        - call: sys.get\n          with: { path: /broken }\n    on_error: stop\n  - reply: x\n"
		if c.around != "" {
			process = "process: p\nlisten: { path: /p, input: json, output: json, auth: none }\nsteps:\n  - try:\n    - branch:\n        slow:\n          - call: sys.get\n            with: { path: /slow }\n" +
				"        broken:\n          - call: sys.get\n            with: { path: /broken }\n      on_error: stop\n    catch:\n      codes: [422]\n      handled: true\n      steps:\n        - call: sys.post\n          with: { path: /after }\n  - reply: x\n"
		}
		process += "---\nprocess: inner\nsteps:\n  - call: sys.get\n    with: { path: /slow }\n"
		for _, mode := range []string{"memory", "durable"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sys := newSystem()
					connector := sys.connector()
					connector.Open = func(any, *access.Policy) (connectors.Connection, error) { return stuckSystem{sys}, nil }
					r := startWith(t, sys, connector, nil, process)
					defer r.stop()
					begin := time.Now()
					if mode == "memory" {
						_, err := r.atom.Request(context.Background(), r.process("p"), arrival(`{}`))
						var f *fault.Failure
						if failed := errors.As(err, &f); failed != (c.status == "failed") || failed && f.Status != 422 {
							t.Errorf("got %v, want the failure of the broken path only if it is not caught", err)
						}
					} else {
						ack, err := r.atom.Execute(context.Background(), "p", execInput())
						if err != nil {
							t.Fatal(err)
						}
						if v := r.ended(ack.Execution); v.Status != c.status || c.status == "failed" && v.Error.Status != 422 {
							t.Errorf("got %s %+v, want %s by the broken path", v.Status, v.Error, c.status)
						}
					}
					if took := time.Since(begin); took > 2*time.Second {
						t.Errorf("took %s, want about a second", took)
					}
					want := append([]string{"get /broken", "get /slow"}, c.calls...)
					got := sys.paths()
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("got calls %q, want %q", got, want)
					}
				})
			})
		}
	}
}

func execInput() atom.Input { return atom.Input{Document: document.FromJSON([]byte(`{}`))} }
