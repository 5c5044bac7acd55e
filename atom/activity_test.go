package atom_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"valence/atom"
)

func TestSubscribe(t *testing.T) {
	bubbled(t, approval+`
---
process: asks
listen: { path: /asks, output: json, auth: none }
steps:
  - throw: no
`, func(t *testing.T, r *rig) {
		heard := r.atom.Subscribe(nil)
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
		r.ended(cancelled)
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
				t.Errorf("got event %+v, want one of the process approval and its executions", h)
			}
			got = append(got, strings.TrimSpace(fmt.Sprint(h.Event, " ", h.Status, " ", h.Reason)))
		}
		want := "accepted, started, parked waiting wait approved, started, ended completed, accepted, started, parked waiting wait approved, started, ended cancelled, paused"
		if strings.Join(got, ", ") != want {
			t.Errorf("got events %s, want %s", strings.Join(got, ", "), want)
		}
	})
}

func TestSubscribeSelects(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		heard := r.atom.Subscribe(func(h atom.ActivityEvent) bool { return h.Event == atom.ActivityResumed })
		defer heard.Close()
		for range 2000 { // unwanted events use no buffer
			if err := r.atom.Pause(context.Background(), "approval"); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.atom.Resume(context.Background(), "approval"); err != nil {
			t.Fatal(err)
		}
		if h := <-heard.C; h.Event != atom.ActivityResumed || len(heard.C) > 0 || heard.Dropped() > 0 {
			t.Errorf("got event %+v, want the resumed trigger and nothing else", h)
		}
	})
}

// A subscriber that does not receive delays nobody.
func TestSlowSubscriberDropsEvents(t *testing.T) {
	bubbled(t, approval, func(t *testing.T, r *rig) {
		slow := r.atom.Subscribe(nil)
		defer slow.Close()
		for range 600 {
			for _, f := range []func(context.Context, string) error{r.atom.Pause, r.atom.Resume} {
				if err := f(context.Background(), "approval"); err != nil {
					t.Fatal(err)
				}
			}
		}
		if n := slow.Dropped(); n != 1200-int64(cap(slow.C)) || slow.Dropped() != 0 {
			t.Errorf("got %d dropped events, want %d", n, 1200-int64(cap(slow.C)))
		}
		var first = <-slow.C
		if first.Event != atom.ActivityPaused {
			t.Errorf("got %+v, want event paused", first)
		}
	})
}
