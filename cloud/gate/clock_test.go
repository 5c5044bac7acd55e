package gate_test

import (
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

// TestClockOff: an atom whose clock is five minutes before or behind, or is put
// right in between, polls, executes and reports like any other. No time of an
// atom decides anything.
func TestClockOff(t *testing.T) {
	for name, off := range map[string]time.Duration{"before": 5 * time.Minute, "behind": -5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := begin(t, cloudtest.Options{})
			ctx := t.Context()
			now := func() time.Time { return time.Now().Add(off) }
			s.atom.Heartbeat = func(h *wire.Heartbeat) { h.StartedAt = now() }
			request := s.execute(t, "")
			polled, err := s.atom.Poll(ctx, s.generation, 0)
			if err != nil || len(polled.Messages) != 1 {
				t.Fatalf("%+v, %v", polled, err)
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
			r, err := s.WaitRecord(ctx, s.Admin, request, 0)
			if err != nil || r == nil || r.Status != cloud.Complete || r.Duration != time.Second {
				t.Errorf("%+v, %v", r, err)
			}
			if a, err := s.Atom(ctx, s.Admin, s.atom.ID); err != nil || a.Status != cloud.Online || time.Since(a.LastSeen).Abs() > time.Minute {
				t.Errorf("%+v, %v", a, err)
			}
			off = 0 // the clock is put right: what is told now is the newest, whatever it says
			err = s.atom.Report(ctx, wire.Reports{Deployments: []wire.DeploymentReport{
				{Generation: s.generation, Package: s.pack.SHA256, State: "rolled_back", At: now().Add(-time.Second)}}})
			if err != nil {
				t.Fatal(err)
			}
			all, err := s.Deployments(ctx, s.Admin)
			if err != nil || len(all) != 1 {
				t.Fatalf("%+v, %v", all, err)
			}
			d, err := s.Deployment(ctx, s.Admin, all[0].ID)
			if err != nil || len(d.Results) != 1 || d.Results[0].State != "rolled_back" {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}
