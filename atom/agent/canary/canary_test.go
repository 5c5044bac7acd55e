package canary

import (
	"testing"
	"time"

	"valence/atom"
	"valence/atom/store"
	"valence/internal/wire"
)

func TestCanary(t *testing.T) {
	begin := time.Now()
	end := func(status store.Status, received time.Time) atom.ExecutionEnd {
		return atom.ExecutionEnd{Process: "one", Status: status, Received: received}
	}
	after := begin.Add(time.Millisecond)
	for name, c := range map[string]struct {
		bound              float64
		judged             bool
		before, after      int // failures out of 20
		others             func(*Canary)
		want               bool
		minutes, sinceMins int
	}{
		"good":                  {bound: 0.2, judged: true, after: 4},
		"bad":                   {bound: 0.2, judged: true, after: 5, want: true},
		"as bad as before":      {bound: 0.2, judged: true, before: 10, after: 10},
		"worse than before":     {bound: 0.2, judged: true, before: 10, after: 11, want: true},
		"no bound":              {judged: true, after: 20},
		"nothing to go back to": {bound: 0.2, after: 20},
		"not new any more":      {bound: 0.2, judged: true, after: 20, sinceMins: 6},
		"new for longer":        {bound: 0.2, judged: true, after: 20, sinceMins: 6, minutes: 10, want: true},
		"others' do not count":  {bound: 0.2, judged: true, others: func(j *Canary) { j.Observe(atom.ExecutionEnd{Process: "local", Status: store.Failed, Received: after}) }},
		"others' do not hide it": {bound: 0.2, judged: true, after: 5, want: true, others: func(j *Canary) {
			for range 1000 {
				j.Observe(atom.ExecutionEnd{Process: "unchanged", Status: store.Completed, Received: after})
			}
		}},
		"cancelled do not count":  {bound: 0.2, judged: true, after: 4, others: func(j *Canary) { j.Observe(end(store.Cancelled, after)) }},
		"of before do not count":  {bound: 0.2, judged: true, after: 4, others: func(j *Canary) { j.Observe(end(store.Failed, begin.Add(-time.Hour))) }},
		"expired count as failed": {bound: 0.2, judged: true, after: 4, others: func(j *Canary) { j.Observe(end(store.Expired, after)) }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &Canary{}
			names := map[string]string{"one": "p"}
			since := begin.Add(-time.Duration(c.sinceMins) * time.Minute)
			j.Start(since.Add(-time.Hour), wire.Policy{}, nil, nil)
			run := func(failed int, at time.Time) {
				for i := range 20 {
					status := store.Completed
					if i < failed {
						status = store.Failed
					}
					j.Observe(end(status, at))
				}
			}
			run(c.before, since.Add(-time.Minute))
			if !c.judged {
				names = nil
			}
			j.Start(since, wire.Policy{RollbackRate: c.bound, RollbackMinutes: c.minutes}, names, map[string]bool{"p": true})
			for range 19 {
				if j.Observe(end(store.Failed, after)) {
					t.Fatal("got a failed probation before 20 executions, want none")
				}
			}
			clear(j.current)
			run(c.after, after)
			if c.others != nil {
				c.others(j)
			}
			if _, why := j.FailingProject(); (why != "") != c.want {
				t.Errorf("got failing for %q, want failing %t", why, c.want)
			}
		})
	}
}
