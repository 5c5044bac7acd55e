package atom_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/document"
)

// A system that was told where to answer knows that address alone: it is the
// one of the execution that failed, and ends the wait of the one that takes
// its place.
func TestACallbackFollowsAResubmission(t *testing.T) {
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
				down := true
				r.sys.answers["post /note"] = func(int) (*document.Document, error) {
					if down {
						return nil, refused()
					}
					return document.FromJSON([]byte(`{}`)), nil
				}
				id := r.failed("pay", `{}`)
				tok := token(t, r.asked("/charge"))
				if _, err := r.callBack(tok, `{"early":true}`); !errors.Is(err, atom.ErrEnded) {
					t.Fatalf("nobody has mended it yet: %v", err)
				}
				for range 2 { // it fails again, and is resubmitted again
					made, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: from})
					if err != nil {
						t.Fatal(err)
					}
					id = made
					if down {
						if v := r.ended(id); v.Status != "failed" {
							t.Fatalf("%+v", v)
						}
					}
					down = false
				}
				if v := r.waits(id); v.Status != "waiting" {
					t.Fatalf("%+v", v)
				}
				if repeated, err := r.callBack(tok, `{"paid":1}`); err != nil || repeated {
					t.Fatal(repeated, err)
				}
				if v := r.ended(id); v.Status != "completed" || r.asked("/done") != `{"paid":1}` {
					t.Fatalf("%+v %s", v, r.asked("/done"))
				}
				if repeated, err := r.callBack(tok, `{"paid":2}`); err != nil || !repeated {
					t.Error(repeated, err)
				}
			})
		})
	}
}

// A changed message is another effect: who was asked about the first one does
// not decide about the second.
func TestACallbackDoesNotFollowAChangedMessage(t *testing.T) {
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
		if _, err := r.callBack(tok, `{}`); !errors.Is(err, atom.ErrEnded) {
			t.Fatal(err)
		}
	})
}

// What was read of the state is out of date for ever: going on with it would
// fail for ever.
func TestAConflictBeginsAtTheStart(t *testing.T) {
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
			t.Fatalf("%+v %+v", v, v.Error)
		}
		v := r.ended(id)
		if v.Status != "failed" || v.Error.Code != atom.CodeConflict {
			t.Fatalf("%+v %+v", v, v.Error)
		}
		var unfit *atom.UnfitError
		if _, err := r.atom.Resubmit(context.Background(), id, atom.Resubmission{From: atom.FromFailedStep}); !errors.As(err, &unfit) {
			t.Fatal(err)
		}
		if v := r.resubmit(id, atom.Resubmission{}); v.Status != "completed" {
			t.Fatalf("%+v %+v", v, v.Error)
		}
	})
}
