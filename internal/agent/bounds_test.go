package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"valence/atom"
	"valence/internal/wire"
)

// TestReportsAreBounded: what nobody asked for is dropped first, the oldest of it.
func TestReportsAreBounded(t *testing.T) {
	s, err := openSpool(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- s.db.Run(ctx) }()
	asked := reportOf(aRequest, wire.ExecutionReport{Request: "executionrecord-1"})
	if _, err := s.add(ctx, []report{asked}, nil); err != nil {
		t.Fatal(err)
	}
	var dropped int64
	for i := range 13 {
		batch := make([]report, 5000)
		for k := range batch {
			batch[k] = reportOf(another, wire.ExecutionReport{Execution: fmt.Sprint(i*5000 + k)})
		}
		n, err := s.add(ctx, batch, nil)
		if err != nil {
			t.Fatal(err)
		}
		dropped += n
	}
	if n := s.number.Load(); n > maxWaiting || n+dropped != 13*5000+1 {
		t.Errorf("%d wait, %d were dropped", n, dropped)
	}
	batch, err := s.batch(ctx, 2)
	if err != nil || len(batch) != 2 || batch[0].kind != aRequest {
		t.Fatal(batch, err)
	}
	if oldest := fmt.Sprintf(`"execution":"%d"`, dropped); !strings.Contains(string(batch[1].body), oldest) {
		t.Errorf("the oldest is %s, not %s", batch[1].body, oldest)
	}
	if err := s.sent(ctx, batch); err != nil || s.number.Load() != 13*5000+1-dropped-2 {
		t.Error(s.number.Load(), err)
	}
}

func TestJudge(t *testing.T) {
	begin := time.Now()
	end := func(status atom.Status, received time.Time) atom.Ended {
		return atom.Ended{Process: "one", Status: status, Received: received}
	}
	after := begin.Add(time.Millisecond)
	for name, c := range map[string]struct {
		bound              float64
		judged             bool
		before, after      int // that failed, of 20
		others             func(*judge)
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
		"others' do not count":  {bound: 0.2, judged: true, others: func(j *judge) { j.observe(atom.Ended{Process: "local", Status: atom.Failed, Received: after}) }},
		"others' do not hide it": {bound: 0.2, judged: true, after: 5, want: true, others: func(j *judge) {
			for range 1000 {
				j.observe(atom.Ended{Process: "unchanged", Status: atom.Completed, Received: after})
			}
		}},
		"cancelled do not count":  {bound: 0.2, judged: true, after: 4, others: func(j *judge) { j.observe(end(atom.Cancelled, after)) }},
		"of before do not count":  {bound: 0.2, judged: true, after: 4, others: func(j *judge) { j.observe(end(atom.Failed, begin.Add(-time.Hour))) }},
		"expired count as failed": {bound: 0.2, judged: true, after: 4, others: func(j *judge) { j.observe(end(atom.Expired, after)) }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{}
			names := map[string]string{"one": "p"}
			since := begin.Add(-time.Duration(c.sinceMins) * time.Minute)
			j.begin(since.Add(-time.Hour), wire.Policy{}, nil, nil)
			run := func(failed int, at time.Time) {
				for i := range 20 {
					status := atom.Completed
					if i < failed {
						status = atom.Failed
					}
					j.observe(end(status, at))
				}
			}
			run(c.before, since.Add(-time.Minute))
			if !c.judged {
				names = nil
			}
			j.begin(since, wire.Policy{RollbackRate: c.bound, RollbackMinutes: c.minutes}, names, map[string]bool{"p": true})
			for range 19 {
				if j.observe(end(atom.Failed, after)) {
					t.Fatal("put back after fewer than 20")
				}
			}
			clear(j.now)
			run(c.after, after)
			if c.others != nil {
				c.others(j)
			}
			if _, why := j.verdict(); (why != "") != c.want {
				t.Errorf("put back: %s", why)
			}
		})
	}
}

// TestPollingFallsBack: where long requests are cut, it is asked every few
// seconds instead.
func TestPollingFallsBack(t *testing.T) {
	a := &Agent{pace: Pace{}.orGood(), id: &Identity{}, log: slog.New(slog.DiscardHandler)}
	p := &polling{backoff: backoff{first: time.Second, most: time.Minute}}
	cut := &Refused{Status: http.StatusGatewayTimeout}
	a.pollFailed(p, 30*time.Second, 10*time.Second, cut)
	if !p.short.IsZero() {
		t.Error("one cut is no proof")
	}
	a.pollFailed(p, 30*time.Second, 10*time.Second, errors.New("EOF"))
	if time.Until(p.short) < 50*time.Minute {
		t.Error("two cuts, and it asks for long answers again")
	}
	p = &polling{backoff: backoff{first: time.Second, most: time.Minute}}
	for range 5 {
		a.pollFailed(p, 30*time.Second, 10*time.Millisecond, errors.New("connection refused"))
	}
	if !p.short.IsZero() {
		t.Error("a control plane that is away is no proxy that cuts")
	}
}
