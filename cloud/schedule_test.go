package cloud_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"valence/cloud"
	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

const clocks = `process: nightly
schedule: { cron: "30 2 * * *", timezone: Europe/Lisbon }
steps:
  - log: x
---
process: heard
listen: { path: /heard, auth: none }
steps:
  - log: x
---
process: bare
steps:
  - log: x
`

// TestSchedules: schedules come with packages; a switch is part of the desired
// state, and a later report of the atom overrides it.
func TestSchedules(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", clocks))
	all, err := d.Triggers.Schedules(d.ctx, d.admin, "")
	if err != nil || len(all) != 2 || all[0].ProcessName != "bare" || all[0].Cron != "" || all[1].Cron != "30 2 * * *" || all[1].Zone != "Europe/Lisbon" {
		t.Fatalf("%+v, %v", all, err)
	}
	if due := all[1].NextDue; due.Before(time.Now()) || due.After(time.Now().Add(25*time.Hour)) || !all[1].Enabled {
		t.Errorf("%+v", all[1])
	}
	if _, err := d.Triggers.Schedule(d.ctx, d.admin, atom, "heard"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a process with a listener: got the schedule %v", err)
	}
	before := d.desired(t, atom)
	s, err := d.Triggers.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false)
	if err != nil || s.Enabled || !s.NextDue.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	after := d.desired(t, atom)
	if after.Generation <= before.Generation || !slices.Equal(after.Paused, []string{"nightly"}) || after.SwitchedIn["nightly"] != after.Generation {
		t.Errorf("%+v", after)
	}
	if _, err := d.Triggers.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false); err != nil || d.desired(t, atom).Generation != after.Generation {
		t.Errorf("repeating the switch raised the generation: %v", err)
	}

	tell := func(switched int64, state string) {
		d.AtomAPI.RecordHeartbeat(atom, wire.Heartbeat{TriggerStatus: wire.TriggerStatus{Digest: state, Switched: switched,
			Triggers: []wire.Trigger{{Process: "nightly", Kind: "schedule", State: state, Cron: "30 2 * * *", Zone: "Europe/Lisbon"}}}}, switched)
	}
	enabled := func() bool {
		s, err := d.Triggers.Schedule(d.ctx, d.admin, "edge-01", "nightly")
		if err != nil {
			t.Fatal(err)
		}
		return s.Enabled
	}
	if tell(before.Generation, "running"); enabled() {
		t.Error("a report from before the switch overrides it")
	}
	if tell(after.Generation, "paused"); enabled() {
		t.Error("the schedule is enabled after the atom reported it as paused")
	}
	if tell(after.Generation, "running"); !enabled() { // switched on the machine
		t.Error("the atom's later report is ignored")
	}
	if _, err := d.Triggers.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false); err != nil || enabled() || d.desired(t, atom).Generation <= after.Generation {
		t.Errorf("switching it off again had no effect: %v", err)
	}

	stop()
	again, _ := open(t, dir)
	if s, err := again.Triggers.Schedule(again.ctx, again.admin, atom, "nightly"); err != nil || s.Enabled || s.Cron == "" {
		t.Errorf("after a restart, before a report: got %+v, %v", s, err)
	}

	// Listeners and schedules are separate.
	if err := again.Triggers.Change(again.ctx, again.admin, atom, "", "pause_all"); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Triggers.SwitchSchedule(again.ctx, again.admin, atom, "nightly", true); err != nil {
		t.Fatal(err)
	}
	if w := again.desired(t, atom); !slices.Equal(w.Paused, []string{"heard"}) {
		t.Errorf("%+v", w.Paused)
	}
}

// For packages stored before triggers were recorded, the atom's report is used.
func TestScheduleOfAnOlderPackage(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", "process: nightly\nsteps:\n  - log: x\n"))
	stop()
	st, stop := cloudtest.Open(t, dir)
	old := &cloud.Change{}
	err := st.Load(t.Context(), func(o cloud.Object) error {
		if o.Kind == "package" {
			o.Body = bytes.Replace(o.Body, []byte(`,"triggers":{}`), nil, 1)
			old.Objects = append(old.Objects, o)
		}
		return nil
	})
	if err == nil {
		err = st.Write(t.Context(), old)
	}
	if err != nil || len(old.Objects) != 1 {
		t.Fatalf("got %+v %v, want len(old.Objects) 1 and no error", old, err)
	}
	stop()
	d, _ = open(t, dir)
	h := wire.Heartbeat{TriggerStatus: wire.TriggerStatus{Digest: "p", Switched: 1, Triggers: []wire.Trigger{{Process: "nightly", Kind: "schedule", State: "running", Cron: "@daily", Zone: "UTC"}}}}
	if !d.AtomAPI.RecordHeartbeat(atom, h, 1) {
		t.Error("got an unknown report, want a known one")
	}
	for range 2 { // also with the digest only
		if all, err := d.Triggers.Schedules(d.ctx, d.admin, atom); err != nil || len(all) != 1 || all[0].Cron != "@daily" {
			t.Fatalf("got %+v, %v, want len(all) 1, Cron @daily and no error", all, err)
		}
		if !d.AtomAPI.RecordHeartbeat(atom, wire.Heartbeat{TriggerStatus: wire.TriggerStatus{Digest: "p"}}, 1) {
			t.Error("got an unknown digest, want a known one")
		}
	}
	if d.AtomAPI.RecordHeartbeat(atom, wire.Heartbeat{TriggerStatus: wire.TriggerStatus{Digest: "q"}}, 1) {
		t.Error("got a known digest, want an unknown one")
	}
}

// The start of an execution is recorded with the types of the platform API.
func TestExecutionTypes(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", clocks))
	want := map[string]string{"manual": "exec_manual", "listener": "exec_listener", "subscribe": "exec_listener", "schedule": "exec_sched", "retry": "retry_manual", "handoff": "sub_process"}
	for kind := range want {
		err := d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Executions: []wire.ExecutionReport{{Execution: kind, Process: "nightly", Kind: kind, Status: "completed", Received: time.Now()}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	found, _, err := d.Executions.Records(d.ctx, d.admin, cloud.RecordFilter{}, cloud.Cursor{}, 100)
	if err != nil || len(found) != len(want) {
		t.Fatalf("got %d, %v, want len(found) %v and no error", len(found), err, len(want))
	}
	for _, r := range found {
		if r.Type != want[r.Execution] {
			t.Errorf("%s: got the type %s", r.Execution, r.Type)
		}
	}
}

// A retired atom is offline once it has acknowledged that, and cannot be
// attached again.
func TestRetiredIsOffline(t *testing.T) {
	d, _ := open(t, t.TempDir())
	id := d.enrol(t, "prod", "edge-01")
	d.AtomAPI.RecordHeartbeat(id, wire.Heartbeat{Health: "ok"}, 0)
	status := func(want string) {
		t.Helper()
		if a, err := d.Fleet.Atom(d.ctx, d.admin, id); err != nil || a.Status != want {
			t.Errorf("got the status %s, want %s, %v", a.Status, want, err)
		}
	}
	status(cloud.Online)
	for range 2 { // repeating it changes nothing
		if err := d.Fleet.RetireAtom(d.ctx, d.admin, id); err != nil {
			t.Fatal(err)
		}
	}
	status(cloud.Online) // not delivered yet
	polled, _, err := d.AtomAPI.Next(d.ctx, id, 0)
	if err != nil || len(polled.Instructions) != 1 {
		t.Fatalf("got %+v, %v, want len(polled.Instructions) 1 and no error", polled, err)
	}
	d.AtomAPI.RecordHeartbeat(id, wire.Heartbeat{Health: "ok"}, 0)
	if err := d.AtomAPI.Acknowledge(d.ctx, id, []int64{polled.Instructions[0].ID}); err != nil {
		t.Fatal(err)
	}
	status(cloud.Offline)
	if _, err := d.Fleet.AttachAtom(d.ctx, d.admin, id, "prod"); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("got %v, want cloud.ErrConflict", err)
	}
}

// A deployment with a listener status sets it; one without keeps the previous
// status.
func TestListenerStatusOfDeployments(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	x := d.upload(t, "1", clocks)
	word := func(x cloud.Package, status string) int64 {
		t.Helper()
		if _, err := d.Deployments.Deploy(d.ctx, d.admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: "prod", ListenerStatus: status}); err != nil {
			t.Fatal(err)
		}
		return d.desired(t, atom).SwitchedIn["nightly"]
	}
	first := word(x, cloud.Paused)
	if first == 0 {
		t.Error("it is no word")
	}
	next := d.upload(t, "2", clocks+"# 2\n")
	if same := word(next, ""); same != first {
		t.Errorf("%d, want %d", same, first)
	}
	if again := word(x, cloud.Paused); again <= first {
		t.Errorf("got %d, want more than %d", again, first)
	}
	if none := word(next, cloud.Running); none != 0 {
		t.Errorf("got %d, want 0", none)
	}
}
