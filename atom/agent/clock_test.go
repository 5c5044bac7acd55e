package agent

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"valence/atom"
	"valence/atom/agent/cloudclient"
	"valence/cloud"
	"valence/cloud/cloudtest"
)

// shifted is an atom on a machine with a wrong clock.
type shifted struct {
	Atom
	clock func(time.Time) time.Time
}

func (s *shifted) OnEnded(f func(atom.ExecutionEnd)) {
	s.Atom.OnEnded(func(e atom.ExecutionEnd) {
		e.Received, e.Started, e.Ended = s.clock(e.Received), s.clock(e.Started), s.clock(e.Ended)
		f(e)
	})
}

func (s *shifted) Show(ctx context.Context, id string) (*atom.ExecutionView, error) {
	v, err := s.Atom.Show(ctx, id)
	if err == nil {
		v.ReceivedAt = s.clock(v.ReceivedAt)
		for _, at := range []*time.Time{v.StartedAt, v.EndedAt} {
			if at != nil {
				*at = s.clock(*at)
			}
		}
	}
	return v, err
}

// An atom whose clock is off by five minutes, and is corrected meanwhile, works
// like any other: no signature, poll or instruction depends on the clock.
func TestClockFiveMinutesOff(t *testing.T) {
	for name, by := range map[string]time.Duration{"before": 5 * time.Minute, "behind": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			p := cloudtest.Start(t, cloudtest.Options{})
			environment := p.Environment(t, "prod")
			data := t.TempDir()
			id, err := cloudclient.NewIdentity(p.URL, "edge-01", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := cloudclient.Join(t.Context(), data, id, p.InstallToken(t, "prod"), "test", "here"); err != nil {
				t.Fatal(err)
			}
			var off atomic.Int64
			off.Store(int64(by))
			clock := func(at time.Time) time.Time { return at.Add(time.Duration(off.Load())) }
			start(t, nil, data, nil, func(o *Options) {
				o.Clock = func() time.Time { return clock(time.Now()).Round(0) }
				o.Atom = &shifted{o.Atom, clock}
			})
			became := func(deployment string) cloud.DeploymentResult {
				t.Helper()
				var found cloud.DeploymentResult
				eventually(t, "the deployment's result", func() bool {
					x, err := p.Deployments.Get(t.Context(), p.Admin, deployment)
					if err != nil || len(x.Results) != 1 || x.Results[0].State != "active" {
						return false
					}
					found = x.Results[0]
					return true
				})
				return found
			}
			execute := func() *cloud.ExecutionRecord {
				t.Helper()
				request, err := p.Executions.Execute(t.Context(), p.Admin, cloud.ExecutionRequest{AtomID: id.Atom, ProcessName: "one", Props: json.RawMessage(`{"n":"1"}`)})
				if err != nil {
					t.Fatal(err)
				}
				r, err := p.Executions.WaitRecord(t.Context(), p.Admin, request, 20*time.Second)
				if err != nil || r == nil || r.Status != cloud.Complete || r.Duration < 0 || r.Duration > time.Minute {
					t.Fatalf("got %+v, %v, want no error, r, Status cloud.Complete, Duration >= 0, Duration <= time.Minute", r, err)
				}
				return r
			}
			_, d := p.Deploy(t, environment.ID, "orders", "1", scheduled+"---\n"+oneProcess)
			if r := became(d.ID); time.Since(r.At.Add(-by)).Abs() > time.Minute {
				t.Errorf("its clock shows %s: it is not off", r.At)
			}
			if r := execute(); time.Since(r.Time.Add(-by)).Abs() > time.Minute {
				t.Errorf("its clock shows %s: it is not off", r.Time)
			}
			a, err := p.Fleet.Atom(t.Context(), p.Admin, id.Atom)
			if err != nil || a.Status != cloud.Online || time.Since(a.LastSeen).Abs() > time.Minute {
				t.Errorf("got %+v, %v, want Status ONLINE, time at most %v and no error", a, err, time.Minute)
			}
			if _, err := p.Triggers.SwitchSchedule(t.Context(), p.Admin, id.Atom, "nightly", false); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the schedule is off", func() bool {
				all, err := p.Triggers.States(t.Context(), p.Admin, id.Atom)
				return err == nil && len(all) == 2 && all[1].State == cloud.Paused
			})

			off.Store(0) // the clock is corrected
			_, d = p.Deploy(t, environment.ID, "orders", "2", scheduled+"---\n"+oneProcess+"# 2\n")
			if r := became(d.ID); time.Since(r.At).Abs() > time.Minute {
				t.Errorf("got %s, want at most %v", r.At, time.Minute)
			}
			execute()
		})
	}
}
