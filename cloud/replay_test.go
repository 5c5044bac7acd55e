package cloud_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"valence/cloud"
	"valence/internal/wire"
)

// replayable is the heartbeat of an atom that replays executions.
func replayable(started time.Time, packages ...string) wire.Heartbeat {
	return wire.Heartbeat{Version: "2", Health: "ok", StartedAt: started, Packages: packages, Features: []string{wire.KindReplay}}
}

// TestReplay follows a replay from the request to the result.
func TestReplay(t *testing.T) {
	d, _ := open(t, t.TempDir())
	x := d.upload(t, "1", shop)
	id := d.enrol(t, "prod", "edge-01")
	start := func(atom string) (cloud.Replay, error) {
		return d.Replays.Start(d.ctx, d.admin, cloud.ReplayRequest{EnvironmentID: "prod", PackageID: x.ID, Atom: atom, Last: 5})
	}
	if r, err := start(""); err != nil || r.State != wire.ReplayFinished || !strings.Contains(r.Error, "is not deployed to prod yet") {
		t.Errorf("without a deployment: got %+v, %v, want a finished replay that says so", r, err)
	}
	d.deploy(t, "prod", x)
	for _, test := range []struct {
		name, atom, want string
		beat             *wire.Heartbeat
	}{
		{"unknown atom", "nobody", "has no atom nobody", nil},
		{"offline", "", "no atom of prod is online to replay executions (edge-01): start one", nil},
		{"older version", "", "the atom edge-01 runs version 1, which cannot replay executions: upgrade it", &wire.Heartbeat{Version: "1", Health: "ok"}},
		{"not heard of", "edge-01", "has not reported since this control plane started", &wire.Heartbeat{Health: "ok"}},
	} {
		if test.beat != nil {
			d.AtomAPI.RecordHeartbeat(id, *test.beat, 0)
		}
		if _, err := start(test.atom); !errors.Is(err, cloud.ErrConflict) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want a conflict with %q", test.name, err, test.want)
		}
	}

	began := time.Now().UTC()
	d.AtomAPI.RecordHeartbeat(id, replayable(began, x.SHA256), 0)
	next := d.upload(t, "2", shop+"# more\n")
	if _, err := d.AtomAPI.OpenPackage(d.ctx, id, next.SHA256); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a package without a replay: got %v, want cloud.ErrNotFound", err)
	}
	r, err := d.Replays.Start(d.ctx, d.admin, cloud.ReplayRequest{EnvironmentID: "prod", PackageID: next.ID, Last: 5})
	if err != nil || r.AtomName != "edge-01" || r.State != wire.ReplayRequested {
		t.Fatalf("got %+v, %v, want a replay requested of edge-01", r, err)
	}
	if f, err := d.AtomAPI.OpenPackage(d.ctx, id, next.SHA256); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	polled, _, err := d.AtomAPI.Next(d.ctx, id, 0)
	if err != nil || len(polled.Instructions) != 1 || polled.Instructions[0].Replay.Last != 5 || polled.Instructions[0].Replay.Deployment.Package != next.SHA256 {
		t.Fatalf("got %+v, %v, want the instruction", polled, err)
	}
	report := func(atom string, x wire.ReplayReport) error {
		x.Instruction = polled.Instructions[0].ID
		if x.AtomStarted.IsZero() {
			x.AtomStarted = began
		}
		return d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Replay: &x})
	}
	other := d.enrol(t, "prod", "edge-02")
	if err := report(other, wire.ReplayReport{State: wire.ReplayFinished, Result: json.RawMessage("{}")}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("a report of another atom: got %v, want a conflict", err)
	}
	if err := report(id, wire.ReplayReport{State: wire.ReplayRunning, Done: 1, Total: 5}); err != nil {
		t.Fatal(err)
	}
	d.AtomAPI.Requeue(id)
	if polled, _, err := d.AtomAPI.Next(d.ctx, id, 0); err != nil || len(polled.Instructions) != 0 {
		t.Errorf("after the first report: got %+v, %v, want no instruction", polled.Instructions, err)
	}
	if err := report(id, wire.ReplayReport{State: wire.ReplayFinished, Result: json.RawMessage("{}"), AtomStarted: began.Add(1)}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("a report of a later run of the atom: got %v, want a conflict", err)
	}
	if got, err := d.Replays.Get(d.ctx, d.admin, r.ID); err != nil || got.State != wire.ReplayRunning || got.Done != 1 || got.Total != 5 {
		t.Errorf("got %+v, %v, want 1 of 5", got, err)
	}
	if err := report(id, wire.ReplayReport{State: wire.ReplayFinished, Done: 5, Total: 5, Result: json.RawMessage(`{"processes":[]}`)}); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Replays.Get(d.ctx, d.admin, r.ID); err != nil || got.State != wire.ReplayFinished || string(got.Result) != `{"processes":[]}` {
		t.Errorf("got %+v, %v, want the result", got, err)
	}
	if err := report(id, wire.ReplayReport{State: wire.ReplayRunning}); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("a report after the end: got %v, want a conflict", err)
	}
	entries, _, err := d.Audit.List(d.ctx, d.admin, 0, 100)
	if err != nil || !strings.Contains(mustJSON(t, entries), "shop 2 on edge-01 in prod, last 5") {
		t.Errorf("got %+v, %v, want the replay in the audit log", entries, err)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReplayEnds: a replay may end without a result of its atom.
func TestReplayEnds(t *testing.T) {
	began := time.Now().UTC()
	for _, test := range []struct {
		name, want string
		end        func(t *testing.T, d *fixture, atom string, r cloud.Replay)
	}{
		{"restart", "the atom edge-01 restarted during the replay", func(_ *testing.T, d *fixture, atom string, _ cloud.Replay) {
			d.AtomAPI.RecordHeartbeat(atom, replayable(began.Add(time.Second)), 0)
		}},
		{"revoked", "the atom edge-01 is no longer enrolled", func(t *testing.T, d *fixture, atom string, _ cloud.Replay) {
			if err := d.Fleet.RevokeAtom(d.ctx, d.admin, atom); err != nil {
				t.Fatal(err)
			}
		}},
		{"cancelled", "it was cancelled", func(t *testing.T, d *fixture, _ string, r cloud.Replay) {
			if err := d.Replays.Cancel(d.ctx, d.admin, r.ID); err != nil {
				t.Fatal(err)
			}
		}},
		{"invalid result", "the atom sent an invalid result", func(t *testing.T, d *fixture, atom string, r cloud.Replay) {
			d.report(t, atom, wire.ReplayReport{Instruction: r.Instruction, AtomStarted: began, State: wire.ReplayFinished, Result: json.RawMessage(`"` + strings.Repeat("x", wire.MaxReplayResult) + `"`)})
		}},
		{"failed", "it has errors\ufffd[0m", func(t *testing.T, d *fixture, atom string, r cloud.Replay) {
			d.report(t, atom, wire.ReplayReport{Instruction: r.Instruction, AtomStarted: began, State: wire.ReplayFailed, Error: "it has errors\x1b[0m"})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := open(t, t.TempDir())
			x := d.upload(t, "1", shop)
			atom := d.enrol(t, "prod", "edge-01")
			d.deploy(t, "prod", x)
			d.AtomAPI.RecordHeartbeat(atom, replayable(began), 0)
			r, err := d.Replays.Start(d.ctx, d.admin, cloud.ReplayRequest{EnvironmentID: "prod", PackageID: x.ID, Last: 1})
			if err != nil {
				t.Fatal(err)
			}
			d.report(t, atom, wire.ReplayReport{Instruction: r.Instruction, AtomStarted: began, State: wire.ReplayRunning})
			test.end(t, d, atom, r)
			if got, err := d.Replays.Get(d.ctx, d.admin, r.ID); err != nil || got.State != wire.ReplayFailed || got.Error != test.want {
				t.Errorf("got %s %q, %v, want failed %q", got.State, got.Error, err, test.want)
			}
			err = d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Replay: &wire.ReplayReport{Instruction: r.Instruction, AtomStarted: began, State: wire.ReplayRunning}})
			if !errors.Is(err, cloud.ErrConflict) {
				t.Errorf("a report after the end: got %v, want a conflict, so that the atom stops", err)
			}
		})
	}
}

func (d *fixture) report(t *testing.T, atom string, x wire.ReplayReport) {
	t.Helper()
	if err := d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Replay: &x}); err != nil {
		t.Fatal(err)
	}
}

// TestReplayLimits: at most 20 replays of an account run, for the executions and
// environments that the token allows.
func TestReplayLimits(t *testing.T) {
	d, _ := open(t, t.TempDir())
	x := d.upload(t, "1", shop)
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", x)
	d.AtomAPI.RecordHeartbeat(atom, replayable(time.Now()), 0)
	start := func(p cloud.Principal, last int) (cloud.Replay, error) {
		return d.Replays.Start(d.ctx, p, cloud.ReplayRequest{EnvironmentID: "prod", PackageID: x.ID, Last: last})
	}
	var invalid *cloud.InvalidError
	for _, n := range []int{-1, 0, 10_001} {
		if _, err := start(d.admin, n); !errors.As(err, &invalid) {
			t.Errorf("last %d: got %v, want an InvalidError", n, err)
		}
	}
	limited := d.admin
	limited.Environments = []string{"another"}
	if _, err := start(limited, 1); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a token of another environment: got %v, want cloud.ErrNotFound", err)
	}
	var first cloud.Replay
	for i := range 20 {
		r, err := start(d.admin, 1)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = r
		}
	}
	if _, err := start(d.admin, 1); !errors.Is(err, cloud.ErrBusy) {
		t.Errorf("the 21st: got %v, want cloud.ErrBusy", err)
	}
	if _, err := d.Replays.Get(d.ctx, limited, first.ID); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a token of another environment: got %v, want cloud.ErrNotFound", err)
	}
	if err := d.Replays.Cancel(d.ctx, d.admin, first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := start(d.admin, 1); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}
