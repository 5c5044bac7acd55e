package atom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"valence/atom"
)

func TestHear(t *testing.T) {
	bubbled(t, approval+`
---
process: asks
listen: { path: /asks, output: json, auth: none }
steps:
  - throw: no
`, func(t *testing.T, r *rig) {
		heard := r.atom.Hear(nil)
		id := r.accept("approval", `{"id":"4711"}`).Execution
		r.waits(id)
		if _, err := r.callBack(token(t, r.asked("/ask")), `{}`); err != nil {
			t.Fatal(err)
		}
		r.ended(id)
		cancelled := r.accept("approval", `{"id":"4712"}`).Execution
		r.waits(cancelled)
		if err := r.atom.Cancel(context.Background(), cancelled); err != nil {
			t.Fatal(err)
		}
		if err := r.atom.Pause(context.Background(), "approval"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		heard.Close()
		heard.Close()
		if err := r.atom.Resume(context.Background(), "approval"); err != nil {
			t.Fatal(err)
		}
		var got []string
		for len(heard.C) > 0 {
			h := <-heard.C
			if h.At.IsZero() || h.Process != "approval" || h.Execution != "" && h.Execution != id && h.Execution != cancelled {
				t.Errorf("%+v", h)
			}
			got = append(got, strings.TrimSpace(fmt.Sprint(h.Event, " ", h.Status, " ", h.Reason)))
		}
		want := "accepted, started, parked waiting wait approved, started, ended completed, accepted, started, parked waiting wait approved, ended cancelled, paused"
		if strings.Join(got, ", ") != want {
			t.Errorf("%s", strings.Join(got, ", "))
		}
	})
}

func TestHearSome(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		heard := r.atom.Hear(func(h atom.Happening) bool { return h.Event == atom.HappenedResumed })
		defer heard.Close()
		for range 2000 { // what it does not want takes no room
			if err := r.atom.Pause(context.Background(), "approval"); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.atom.Resume(context.Background(), "approval"); err != nil {
			t.Fatal(err)
		}
		if h := <-heard.C; h.Event != atom.HappenedResumed || len(heard.C) > 0 || heard.Missed() > 0 {
			t.Errorf("%+v", h)
		}
	})
}

// Whoever does not listen to what they asked to hear keeps nobody.
func TestHearTooSlowly(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		slow := r.atom.Hear(nil)
		defer slow.Close()
		for range 600 {
			for _, f := range []func(context.Context, string) error{r.atom.Pause, r.atom.Resume} {
				if err := f(context.Background(), "approval"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := slow.Missed(); n != 1200-int64(cap(slow.C)) || slow.Missed() != 0 {
			t.Errorf("%d were missed", n)
		}
		var first = <-slow.C
		if first.Event != atom.HappenedPaused {
			t.Errorf("%+v", first)
		}
	})
}
