package gate_test

import (
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// TestWrongClock: an atom whose clock is five minutes off, or is corrected
// meanwhile, polls, executes and reports normally. No time of an atom decides
// anything.
func TestWrongClock(t *testing.T) {
	for name, off := range map[string]time.Duration{"before": 5 * time.Minute, "behind": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := startPlane(t, cloudtest.Options{})
			ctx := t.Context()
			now := func() time.Time { return time.Now().Add(off) }
			s.atom.Heartbeat = func(h *wire.Heartbeat) { h.StartedAt = now() }
			request := s.execute(t, "")
			polled, err := s.atom.Poll(ctx, s.generation, 0)
			if err != nil || len(polled.Instructions) != 1 {
				t.Fatalf("got %+v, %v, want len(polled.Instructions) 1 and no error", polled, err)
			}
			received := now()
			err = s.atom.Report(ctx, wire.Reports{
				Executions: []wire.ExecutionReport{{Execution: "e1", Request: request, Process: "relay", Kind: "manual", Status: "completed",
					Received: received, Started: received, Ended: received.Add(time.Second)}},
				Deployments: []wire.DeploymentReport{{Generation: s.generation, Package: s.pack.SHA256, State: "active", At: now()}},
			})
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Executions.WaitRecord(ctx, s.Admin, request, 0)
			if err != nil || r == nil || r.Status != cloud.Complete || r.Duration != time.Second {
				t.Errorf("%+v, %v", r, err)
			}
			if a, err := s.Fleet.Atom(ctx, s.Admin, s.atom.ID); err != nil || a.Status != cloud.Online || time.Since(a.LastSeen).Abs() > time.Minute {
				t.Errorf("got %+v, %v, want Status ONLINE, time at most %v and no error", a, err, time.Minute)
			}
			off = 0 // the clock is corrected: the last report counts, whatever its time
			err = s.atom.Report(ctx, wire.Reports{Deployments: []wire.DeploymentReport{
				{Generation: s.generation, Package: s.pack.SHA256, State: "rolled_back", At: now().Add(-time.Second)}}})
			if err != nil {
				t.Fatal(err)
			}
			all, err := s.Deployments.List(ctx, s.Admin)
			if err != nil || len(all) != 1 {
				t.Fatalf("got %+v, %v, want len(all) 1 and no error", all, err)
			}
			d, err := s.Deployments.Get(ctx, s.Admin, all[0].ID)
			if err != nil || len(d.Results) != 1 || d.Results[0].State != "rolled_back" {
				t.Errorf("got %+v, %v, want len(d.Results) 1, State rolled_back and no error", d, err)
			}
		})
	}
}
