package atom_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"valence/atom/store"
	"valence/atom/store/storetest"
	"valence/internal/document"
	"valence/internal/fault"
)

// hanging answers never, until the context of the call ends.
func hanging() *system {
	sys := newSystem()
	sys.block = make(chan struct{})
	return sys
}

// unblock lets later calls be answered.
func (s *system) unblock() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.block, s.blocked = nil, s.block
}

// cancel cancels an execution and returns it once it has ended.
func (r *rig) cancel(id string) string {
	r.t.Helper()
	if err := r.atom.Cancel(context.Background(), id); err != nil {
		r.t.Fatal(err)
	}
	return r.failure(id)
}

// failure returns the status and the error of an execution once it has ended.
func (r *rig) failure(id string) string {
	r.t.Helper()
	v := r.ended(id)
	if v.Error == nil {
		r.t.Fatalf("got %+v, want an error", v)
	}
	return v.Status + " " + v.Error.Message
}

const cleaning = `
process: work
listen: { path: /w, input: json, auth: none }
retry: { max_attempts: 5, backoff: 1s }
steps:
  - try:
%s
    catch:
      - call: sys.post
        with: { path: /caught }
    finally:
%s
  - call: sys.post
    with: { path: /after }
`

// post returns a step that posts to a path.
func post(path string) string {
	return "      - call: sys.post\n        with: { path: " + path + " }"
}

// A cancellation is honored whatever the execution is doing, and its `finally`
// runs to its end.
func TestCancellationIsHonored(t *testing.T) {
	const cancelled = "cancelled cancelled by an operator"
	for name, c := range map[string]struct {
		steps, finally string
		reach          string // the call that is under way when it is cancelled; "": it is suspended
		failing        string // call that fails once, with a retry after one second
		want           string
		calls          []string
	}{
		"call":               {steps: post("/slow"), finally: post("/fin"), reach: "post /slow", want: cancelled + " during this call, whose outcome is not known", calls: []string{"post /slow", "post /fin"}},
		"retry in finally":   {steps: post("/slow"), finally: post("/fin"), reach: "post /slow", failing: "post /fin", want: cancelled + " during this call, whose outcome is not known", calls: []string{"post /slow", "post /fin", "post /fin"}},
		"sleep in finally":   {steps: post("/slow"), finally: "      - sleep: 5s\n" + post("/fin"), reach: "post /slow", want: cancelled + " during this call, whose outcome is not known", calls: []string{"post /slow", "post /fin"}},
		"call of finally":    {steps: "      - log: nothing", finally: post("/fin"), reach: "post /fin", want: cancelled, calls: []string{"post /fin"}},
		"suspended finally":  {steps: post("/one"), finally: "      - sleep: 5s\n" + post("/fin"), want: cancelled + " before this call", calls: []string{"post /one", "post /fin"}},
		"wait":               {steps: "      - wait: approval\n        key: ${doc.id}", finally: post("/fin"), want: cancelled + " before this wait ended", calls: []string{"post /fin"}},
		"sleep":              {steps: "      - sleep: 1h", finally: post("/fin"), want: cancelled + " before this sleep ended", calls: []string{"post /fin"}},
		"retry":              {steps: post("/flaky"), finally: post("/fin"), failing: "post /flaky", want: cancelled + " before this call", calls: []string{"post /flaky", "post /fin"}},
		"retry of finally":   {steps: post("/one"), finally: post("/fin"), failing: "post /fin", want: cancelled + " before this call", calls: []string{"post /one", "post /fin", "post /fin"}},
		"no cleanup is long": {steps: post("/slow"), finally: "      - sleep: 10m\n" + post("/fin"), reach: "post /slow", want: cancelled + " during this call, whose outcome is not known", calls: []string{"post /slow"}},
		"nested finally": {steps: "      - try:\n    " + strings.ReplaceAll(post("/slow"), "\n", "\n    ") + "\n        finally:\n          - sleep: 29s", finally: "      - sleep: 2s\n" + post("/fin"),
			reach: "post /slow", want: cancelled + " during this call, whose outcome is not known", calls: []string{"post /slow"}}, // 30 s in all
		"branches": {steps: "      - branch:\n          a:\n            - try: [{ sleep: 1h }]\n              finally: [{ call: sys.post, with: { path: /a } }]\n          b:\n            - call: sys.post\n              with: { path: /slow }",
			finally: post("/fin"), reach: "post /slow", want: cancelled + " before this sleep ended", calls: []string{"post /slow", "post /a", "post /fin"}},
		"elements": {steps: "      - for_each: ${1..3}\n        parallel: 2\n        on_error: continue\n        errors: bad\n        steps:\n          - try: [{ sleep: 1h }]\n            finally: [{ call: sys.post, with: { path: /element } }]",
			finally: post("/fin"), want: cancelled + " before this sleep ended", calls: []string{"post /element", "post /element", "post /element", "post /fin"}},
	} {
		for _, elsewhere := range []bool{false, true} { // committed by another member of a group
			if elsewhere {
				name += ", elsewhere"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sys := newSystem()
					if c.reach != "" {
						sys = hanging()
					}
					if c.failing != "" {
						sys.answers[c.failing] = failing(1, down, `{}`)
					}
					kept := storetest.NewStore()
					r := start(t, sys, kept, fmt.Sprintf(cleaning, c.steps, c.finally))
					defer r.stop()
					id := r.accept("work", `{"id":"1"}`).Execution
					synctest.Wait()
					sys.unblock()
					if c.reach == "post /fin" { // it is in `finally` already: nothing interrupts it
						time.AfterFunc(time.Second, func() { close(sys.held()) })
					}
					began := time.Now()
					if elsewhere {
						r.cancelElsewhere(kept, id)
						r.cancelAgain(id)
					} else {
						r.cancel(id)
					}
					if got := r.failure(id); got != c.want {
						t.Errorf("got %q, want %q", got, c.want)
					}
					if took := time.Since(began); took > 31*time.Second {
						t.Errorf("it took %s, want 30 s at most", took)
					}
					if got := sys.paths(); fmt.Sprint(got) != fmt.Sprint(c.calls) {
						t.Errorf("got calls %v, want %v", got, c.calls)
					}
					if err := r.atom.Cancel(context.Background(), id); !errors.Is(err, store.ErrEnded) {
						t.Errorf("after the end: got %v, want store.ErrEnded", err)
					}
				})
			})
		}
	}
}

// cancelElsewhere cancels an execution as another member of the group would, and
// reports it to this one.
func (r *rig) cancelElsewhere(kept *storetest.Store, id string) {
	r.t.Helper()
	r.cancelUnnoticed(kept, id)
	seq, _, _ := r.atom.ParseID(id)
	kept.News().Cancelled(seq)
}

// cancelUnnoticed is cancelElsewhere if the notification is lost.
func (r *rig) cancelUnnoticed(kept *storetest.Store, id string) {
	r.t.Helper()
	kept.Elsewhere(true)
	defer kept.Elsewhere(false)
	if err := r.atom.Cancel(context.Background(), id); err != nil {
		r.t.Fatal(err)
	}
	r.cancelAgain(id)
}

// cancelAgain repeats a cancellation, which changes nothing. The execution may have ended
// meanwhile.
func (r *rig) cancelAgain(id string) {
	r.t.Helper()
	if err := r.atom.Cancel(context.Background(), id); err != nil && !errors.Is(err, store.ErrEnded) {
		r.t.Error(err)
	}
}

// A cancellation by another member whose notification is lost is found when the
// run ends or is suspended; of one that nobody runs, after its takeover.
func TestUnnoticedCancellation(t *testing.T) {
	for name, c := range map[string]struct {
		steps string
		want  string
		calls []string
	}{
		"end":        {steps: post("/slow"), want: "cancelled cancelled by an operator", calls: []string{"post /slow", "post /fin", "post /after"}},
		"suspension": {steps: post("/slow") + "\n      - sleep: 1h", want: "cancelled cancelled by an operator before this sleep ended", calls: []string{"post /slow", "post /fin"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sys, kept := hanging(), storetest.NewStore()
				r := start(t, sys, kept, fmt.Sprintf(cleaning, c.steps, post("/fin")))
				defer r.stop()
				id := r.accept("work", `{"id":"1"}`).Execution
				synctest.Wait()
				r.cancelUnnoticed(kept, id)
				sys.unblock()
				close(sys.held())
				v := r.ended(id)
				if got := v.Status + " " + v.Error.Message; got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if got := sys.paths(); fmt.Sprint(got) != fmt.Sprint(c.calls) {
					t.Errorf("got calls %v, want %v", got, c.calls)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // taken over
		sys, kept := newSystem(), storetest.NewStore()
		r := start(t, sys, kept, fmt.Sprintf(cleaning, post("/one")+"\n      - sleep: 1h", post("/fin")))
		defer r.stop()
		id := r.accept("work", `{"id":"1"}`).Execution
		synctest.Wait()
		kept.Expire()
		synctest.Wait()
		if err := r.atom.Cancel(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		kept.Rejoin()
		if v := r.ended(id); v.Status != "cancelled" {
			t.Errorf("got %+v, want it cancelled", v)
		}
		if got, want := sys.paths(), []string{"post /one", "post /fin"}; !slices.Equal(got, want) {
			t.Errorf("got calls %v, want %v", got, want)
		}
	})
}

// An execution that has not begun ends at once after another member has cancelled it.
func TestUnbegunIsCancelledElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, kept := hanging(), storetest.NewStore()
		r := start(t, sys, kept, strings.Replace(fmt.Sprintf(cleaning, post("/slow"), post("/fin")), "retry:", "workers: 1\nretry:", 1))
		defer r.stop()
		r.accept("work", `{"id":"1"}`)
		second := r.accept("work", `{"id":"2"}`).Execution
		synctest.Wait()
		r.cancelElsewhere(kept, second)
		if v := r.ended(second); v.Status != "cancelled" {
			t.Errorf("got %+v, want it cancelled", v)
		}
		if got, want := sys.paths(), []string{"post /slow"}; !slices.Equal(got, want) {
			t.Errorf("got calls %v, want %v: only the first has begun", got, want)
		}
		sys.unblock()
		close(sys.held())
	})
}

// A held execution ends although its connection is down, and its `finally` has
// its 30 seconds.
func TestHeldExecutionIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		sys.answers["post /slow"] = failing(1000, down, `{}`)
		r := startAll(t, sys, nil, fmt.Sprintf(cleaning, post("/slow"), post("/fin"))+"---\nconnection: sys\nconnector: fake\ncircuit: { failures: 1, probe: 5s }\n")
		defer r.stop()
		id := r.accept("work", `{"id":"1"}`).Execution
		time.Sleep(3 * time.Second)
		if v := r.shown(id); v.Status != "held" {
			t.Fatalf("got %+v, want status held", v)
		}
		if got := r.cancel(id); !strings.HasPrefix(got, "cancelled cancelled by an operator before this call") {
			t.Errorf("got %q, want it cancelled", got)
		}
	})
}

// One that has not begun ends at once, without a step.
func TestCancelBeforeBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := hanging()
		r := start(t, sys, nil, strings.Replace(fmt.Sprintf(cleaning, post("/slow"), post("/fin")), "retry:", "workers: 1\nretry:", 1))
		defer r.stop()
		r.accept("work", `{"id":"1"}`)
		waiting := r.accept("work", `{"id":"2"}`).Execution
		synctest.Wait()
		gone, hangUp := context.WithCancel(context.Background())
		hangUp() // the client hangs up before the commit
		if err := r.atom.Cancel(gone, waiting); err != nil {
			t.Fatal(err)
		}
		if v := r.shown(waiting); v.Status != "cancelled" {
			t.Errorf("got %+v, want status cancelled", v)
		}
		if n := len(sys.seen()); n != 1 {
			t.Errorf("got %d calls, want 1", n)
		}
	})
}

// A request that could not be committed changes nothing: the execution runs.
func TestRefusedCancellationChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := hanging()
		s := storetest.NewStore()
		r := start(t, sys, s, strings.Replace(fmt.Sprintf(cleaning, post("/slow"), post("/fin")), "retry:", "workers: 1\nretry:", 1))
		defer r.stop()
		running, waiting := r.accept("work", `{"id":"1"}`).Execution, r.accept("work", `{"id":"2"}`).Execution
		synctest.Wait()
		s.Fail(errors.New("the disk is away"))
		for _, id := range []string{running, waiting} {
			if err := r.atom.Cancel(context.Background(), id); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("got %v, want store.ErrUnavailable", err)
			}
		}
		s.Fail(nil)
		close(sys.held())
		for _, id := range []string{running, waiting} {
			if v := r.ended(id); v.Status != "completed" {
				t.Errorf("got %+v, want status completed", v)
			}
		}
	})
}

// held returns the channel that calls wait for.
func (s *system) held() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil {
		return s.blocked
	}
	return s.block
}

// A cancellation that arrives while the execution is being suspended is not lost.
func TestCancelWhileSuspending(t *testing.T) {
	r := start(t, newSystem(), nil, `
process: naps
listen: { path: /n, input: json, auth: none }
workers: 32
steps:
  - repeat: { max: 20, until: "${false}", steps: [{ sleep: 1ms }] }
  - call: sys.post
    with: { path: /after }
`)
	accepted := 0
	for i := range 60 {
		id := r.accept("naps", `{}`).Execution
		<-time.After(time.Duration(i) * time.Millisecond / 2)
		err := r.atom.Cancel(context.Background(), id)
		v := r.ended(id)
		switch {
		case err == nil && v.Status != "cancelled":
			t.Errorf("the request was accepted, got status %s, want cancelled", v.Status)
		case err == nil:
			accepted++
		case !errors.Is(err, store.ErrEnded):
			t.Error(err)
		}
	}
	if accepted == 0 {
		t.Error("no request was accepted")
	}
	if n := len(r.sys.seen()); n < 60-accepted {
		t.Errorf("got %d calls after %d cancellations, want %d at least", n, accepted, 60-accepted)
	}
}

// A request survives the stop of the atom: the next run continues with `finally`
// and repeats no step before it.
func TestCancellationSurvivesStop(t *testing.T) {
	s := storetest.NewStore()
	sys := hanging()
	sys.entered = make(chan string, 10)
	yaml := fmt.Sprintf(cleaning, post("/slow"), post("/fin"))
	r := start(t, sys, s, yaml)
	id := r.accept("work", `{"id":"1"}`).Execution
	<-sys.entered
	if err := r.atom.Cancel(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	if got := <-sys.entered; got != "post /fin" {
		t.Fatalf("got %s, want the call of finally", got)
	}
	r.stop() // it interrupts the call
	sys.unblock()
	r = start(t, sys, s, yaml)
	if v := r.ended(id); v.Status != "cancelled" || !strings.Contains(v.Error.Message, "outcome is not known") {
		t.Errorf("got %+v %+v, want status cancelled and an unknown outcome", v, v.Error)
	}
	if got := fmt.Sprint(sys.paths()); got != "[post /slow post /fin post /fin]" {
		t.Errorf("got calls %s, want finally once more and nothing else", got)
	}
}

// A cancelled execution is not a failure, and a signal does not reach it.
func TestCancelledWaitTakesNoSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, newSystem(), nil, fmt.Sprintf(cleaning, "      - wait: approval\n        key: ${doc.id}", "      - sleep: 10s")+`---
process: approve
listen: { path: /a, input: json, auth: none }
steps:
  - resume: approval
    key: ${doc.id}
`)
		defer r.stop()
		id := r.accept("work", `{"id":"1"}`).Execution
		synctest.Wait()
		if err := r.atom.Cancel(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		if v := r.ended(r.accept("approve", `{"id":"1"}`).Execution); v.Status != "failed" || v.Error.Code != fault.CodeWaitUnknown {
			t.Errorf("got %+v, want status failed and code wait_unknown", v)
		}
		r.ended(id)
	})
}

const conflicting = `
process: counts
listen: { path: /c, output: json, auth: none, reply_modes: [sync, deferred] }
dedupe: { key: "${doc.key}", window: 1h }
steps:
  - state: { set: { c: "${(state.c ?? 0) + 1}" }, if_version: "${state.version}" }
  - call: sys.post
    with: { path: "/job/${doc.key}" }
  - process: kid
    mode: handoff
    body: "${input}"
  - reply: { ok: "${input.key}" }
---
process: kid
listen: { path: /k, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: "/kid/${doc.key}" }
`

// When the state has changed at the end, nothing of the successful end remains:
// no reply, no result for repeats and no hand-off.
func TestStateConflictDropsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newSystem()
		slow := func(int) (*document.Document, error) {
			time.Sleep(time.Second)
			return document.FromJSON([]byte(`{}`)), nil
		}
		sys.answers["post /job/a"], sys.answers["post /job/b"] = slow, func(n int) (*document.Document, error) {
			if n == 1 {
				time.Sleep(time.Second)
			}
			return slow(n)
		}
		r := start(t, sys, nil, conflicting)
		defer r.stop()
		first, second := r.deferred("counts", `{"key":"a"}`).Execution, r.deferred("counts", `{"key":"b"}`).Execution
		if p := r.follow(first); p.Reply == nil || string(p.Reply.Body) != `{"ok":"a"}` {
			t.Errorf("the first: got %+v, want its reply", p)
		}
		p := r.follow(second)
		if p.Status != "failed" || p.Reply == nil || !p.Reply.Problem || p.Reply.Status != 500 || p.Gone {
			t.Errorf("the second: got %+v %+v, want status failed and a problem", p, p.Reply)
		}
		v := r.ended(second)
		if v.Error.Code != "state_conflict" || v.Warnings != nil {
			t.Errorf("got %+v, want code state_conflict and no warning", v)
		}
		synctest.Wait()
		paths := sys.paths()
		slices.Sort(paths) // the first two calls run at the same time
		if got := fmt.Sprint(paths); got != "[post /job/a post /job/b post /kid/a]" {
			t.Errorf("got calls %s, want no hand-off of the second", got)
		}
		ack, reply, err := r.tryDefer("counts", `{"key":"b"}`, "")
		if err != nil || ack == nil || ack.Execution == second {
			t.Fatalf("a repeat after the failure: got %+v, %+v, %v, want a new execution", ack, reply, err)
		}
		if p := r.follow(ack.Execution); p.Reply == nil || string(p.Reply.Body) != `{"ok":"b"}` {
			t.Errorf("the repeat: got %+v, want its reply", p)
		}
	})
}
