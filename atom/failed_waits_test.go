package atom_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/document"
)

// Another system knows only the callback URL of the failed execution. That URL
// ends the wait of the execution that runs it again.
func TestCallbackFollowsResubmission(t *testing.T) {
	for _, from := range []string{atom.FromStart, atom.FromFailedStep} {
		t.Run(from, func(t *testing.T) {
			bubbled(t, `
process: pay
listen: { path: /pay, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: /charge }
    body: { url: "${callback(\"paid\")}" }
  - call: sys.post
    with: { path: /note }
  - wait: paid
    timeout: 1h
  - call: sys.post
    with: { path: /done }
    body: ${doc}
`, func(t *testing.T, r *rig) {
				var down atomic.Bool
				down.Store(true)
				r.sys.answers["post /note"] = func(int) (*document.Document, error) {
					if down.Load() {
						return nil, refused()
					}
					return document.FromJSON([]byte(`{}`)), nil
				}
				id := r.failed("pay", `{}`)
				tok := token(t, r.asked("/charge"))
				if _, err := r.callBack(tok, `{"early":true}`); !errors.Is(err, store.ErrEnded) {
					t.Fatalf("nobody has mended it yet: got %v, want error store.ErrEnded", err)
				}
				for range 2 { // it fails again, and is resubmitted again
					made, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: from})
					if err != nil {
						t.Fatal(err)
					}
					id = made
					if down.Load() {
						if v := r.ended(id); v.Status != "failed" {
							t.Fatalf("got %+v, want status failed", v)
						}
					}
					down.Store(false)
				}
				if v := r.waits(id); v.Status != "waiting" {
					t.Fatalf("got %+v, want status waiting", v)
				}
				if repeated, err := r.callBack(tok, `{"paid":1}`); err != nil || repeated {
					t.Fatalf("got %v, %v, want no error and not repeated", repeated, err)
				}
				if v := r.ended(id); v.Status != "completed" || r.asked("/done") != `{"paid":1}` {
					t.Fatalf("got %+v, %s, want status completed with the payload", v, r.asked("/done"))
				}
				if repeated, err := r.callBack(tok, `{"paid":2}`); err != nil || !repeated {
					t.Errorf("got %v, %v, want no error and repeated", repeated, err)
				}
			})
		})
	}
}

// Waits of the failed execution do not count for the one that runs it again: a
// signal that arrives before its wait ends it.
func TestEarlyCallbackAfterResubmission(t *testing.T) {
	bubbled(t, `
process: pay
listen: { path: /pay, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: /charge }
    body: ${callback("paid")}
  - wait: paid
    timeout: 1h
  - call: sys.post
    with: { path: /note }
  - call: sys.post
    with: { path: /ship }
    body: ${callback("shipped")}
  - wait: shipped
    timeout: 1h
  - call: sys.post
    with: { path: /done }
    body: ${doc}
`, func(t *testing.T, r *rig) {
		down := true
		r.sys.answers["post /note"] = func(int) (*document.Document, error) {
			if down {
				return nil, refused()
			}
			return document.FromJSON([]byte(`{}`)), nil
		}
		r.sys.answers["post /ship"] = func(int) (*document.Document, error) { // it answers before it responds
			if _, err := r.callBack(token(t, r.asked("/ship")), `{"shipped":1}`); err != nil {
				t.Errorf("callback: %v", err)
			}
			return document.FromJSON([]byte(`{}`)), nil
		}
		id := r.accept("pay", `{}`).Execution
		if v := r.waits(id); v.Status != "waiting" {
			t.Fatalf("got %+v, want status waiting", v)
		}
		if _, err := r.callBack(token(t, r.asked("/charge")), `{"paid":1}`); err != nil {
			t.Fatal(err)
		}
		if v := r.ended(id); v.Status != "failed" {
			t.Fatalf("got %+v, want status failed", v)
		}
		down = false
		again, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if v := r.ended(again); v.Status != "completed" || r.asked("/done") != `{"shipped":1}` || time.Since(start) > time.Minute {
			t.Fatalf("got %+v with %s after %v, want it completed with the payload at once", v, r.asked("/done"), time.Since(start))
		}
	})
}

// A changed message has other effects: an answer to the first one does not end
// the wait of the second.
func TestCallbackDoesNotFollowChangedMessage(t *testing.T) {
	bubbled(t, `
process: pay
listen: { path: /pay, input: json, auth: none }
steps:
  - call: sys.post
    with: { path: /charge }
    body: { url: "${callback(\"paid\")}" }
  - if: ${input.bad ?? false}
    then:
      - throw: bad
  - wait: paid
    timeout: 1h
`, func(t *testing.T, r *rig) {
		id := r.failed("pay", `{"bad":true}`)
		tok := token(t, r.asked("/charge"))
		made, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{Document: document.FromJSON([]byte(`{}`))})
		if err != nil {
			t.Fatal(err)
		}
		r.waits(made)
		if _, err := r.callBack(tok, `{}`); !errors.Is(err, store.ErrEnded) {
			t.Fatalf("got %v, want ErrEnded", err)
		}
	})
}

// A state in the journal stays out of date, so a resubmission from the failed
// step would always fail.
func TestStateConflictResubmitsFromStart(t *testing.T) {
	yaml := `
process: counts
listen: { path: /counts, input: json, auth: none }
steps:
  - set: { n: "${state.n ?? 0}" }
  - call: sys.post
    with: { path: /slow }
  - state: { set: { n: "${vars.n + 1}" }, if_version: "${state.version}" }
`
	bubbled(t, yaml, func(t *testing.T, r *rig) {
		r.sys.answers["post /slow"] = func(n int) (*document.Document, error) {
			if n == 1 {
				time.Sleep(time.Second)
			}
			return document.FromJSON([]byte(`{}`)), nil
		}
		id := r.accept("counts", `{"i":1}`).Execution
		time.Sleep(100 * time.Millisecond)
		if v := r.ended(r.accept("counts", `{"i":2}`).Execution); v.Status != "completed" {
			t.Fatalf("got %+v %+v, want status completed", v, v.Error)
		}
		v := r.ended(id)
		if v.Status != "failed" || v.Error.Code != atom.CodeConflict {
			t.Fatalf("got %+v %+v, want status failed and code conflict", v, v.Error)
		}
		var unfit *atom.ResubmissionError
		if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.As(err, &unfit) {
			t.Fatalf("got %v, want a ResubmissionError", err)
		}
		if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
			t.Fatalf("got %+v %+v, want status completed", v, v.Error)
		}
	})
}
