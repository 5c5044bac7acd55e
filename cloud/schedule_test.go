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

// TestSchedules: a schedule comes with its package; a switch is part of what
// the atom is to be like, and what the atom tells after it is what is so.
func TestSchedules(t *testing.T) {
	dir := t.TempDir()
	d, stop := open(t, dir)
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", clocks))
	all, err := d.Schedules(d.ctx, d.admin, "")
	if err != nil || len(all) != 2 || all[0].ProcessName != "bare" || all[0].Cron != "" || all[1].Cron != "30 2 * * *" || all[1].Zone != "Europe/Lisbon" {
		t.Fatalf("%+v, %v", all, err)
	}
	if due := all[1].NextDue; due.Before(time.Now()) || due.After(time.Now().Add(25*time.Hour)) || !all[1].Enabled {
		t.Errorf("%+v", all[1])
	}
	if _, err := d.Schedule(d.ctx, d.admin, atom, "heard"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("a listener has a schedule: %v", err)
	}
	before := d.desired(t, atom)
	s, err := d.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false)
	if err != nil || s.Enabled || !s.NextDue.IsZero() {
		t.Fatalf("%+v, %v", s, err)
	}
	after := d.desired(t, atom)
	if after.Generation <= before.Generation || !slices.Equal(after.Paused, []string{"nightly"}) || after.Switched["nightly"] != after.Generation {
		t.Errorf("%+v", after)
	}
	if _, err := d.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false); err != nil || d.desired(t, atom).Generation != after.Generation {
		t.Errorf("the same again is another generation: %v", err)
	}

	tell := func(switched int64, state string) {
		d.Heard(atom, wire.Heartbeat{Standing: wire.Standing{Print: state, Switched: switched,
			Listeners: []wire.Listener{{Process: "nightly", Kind: "schedule", State: state, Cron: "30 2 * * *", Zone: "Europe/Lisbon"}}}}, switched)
	}
	enabled := func() bool {
		s, err := d.Schedule(d.ctx, d.admin, "edge-01", "nightly")
		if err != nil {
			t.Fatal(err)
		}
		return s.Enabled
	}
	if tell(before.Generation, "running"); enabled() {
		t.Error("what was told before the switch counts")
	}
	if tell(after.Generation, "paused"); enabled() {
		t.Error("it is off")
	}
	if tell(after.Generation, "running"); !enabled() { // somebody at the machine
		t.Error("what the atom tells does not count")
	}
	if _, err := d.SwitchSchedule(d.ctx, d.admin, atom, "nightly", false); err != nil || enabled() || d.desired(t, atom).Generation <= after.Generation {
		t.Errorf("asking again does nothing: %v", err)
	}

	stop()
	again, _ := open(t, dir)
	if s, err := again.Schedule(again.ctx, again.admin, atom, "nightly"); err != nil || s.Enabled || s.Cron == "" {
		t.Errorf("after a restart, before the atom tells anything: %+v, %v", s, err)
	}

	// Listeners and schedules are apart.
	if err := again.ChangeListener(again.ctx, again.admin, atom, "", "pause_all"); err != nil {
		t.Fatal(err)
	}
	if _, err := again.SwitchSchedule(again.ctx, again.admin, atom, "nightly", true); err != nil {
		t.Fatal(err)
	}
	if w := again.desired(t, atom); !slices.Equal(w.Paused, []string{"heard"}) {
		t.Errorf("%+v", w.Paused)
	}
}

// Of packages that were stored before triggers were written down the atom tells.
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
		t.Fatal(old, err)
	}
	stop()
	d, _ = open(t, dir)
	h := wire.Heartbeat{Standing: wire.Standing{Print: "p", Switched: 1, Listeners: []wire.Listener{{Process: "nightly", Kind: "schedule", State: "running", Cron: "@daily", Zone: "UTC"}}}}
	if !d.Heard(atom, h, 1) {
		t.Error("what was told is not known")
	}
	for range 2 { // also when it is named only
		if all, err := d.Schedules(d.ctx, d.admin, atom); err != nil || len(all) != 1 || all[0].Cron != "@daily" {
			t.Fatalf("%+v, %v", all, err)
		}
		if !d.Heard(atom, wire.Heartbeat{Standing: wire.Standing{Print: "p"}}, 1) {
			t.Error("what was told before is not known")
		}
	}
	if d.Heard(atom, wire.Heartbeat{Standing: wire.Standing{Print: "q"}}, 1) {
		t.Error("what was never told is known")
	}
}

// What began an execution is recorded in the words of the platform API.
func TestExecutionTypes(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	d.deploy(t, "prod", d.upload(t, "1", clocks))
	want := map[string]string{"manual": "exec_manual", "listener": "exec_listener", "subscribe": "exec_listener", "schedule": "exec_sched", "retry": "retry_manual", "handoff": "sub_process"}
	for kind := range want {
		err := d.Report(d.ctx, atom, wire.Reports{Executions: []wire.ExecutionReport{{Execution: kind, Process: "nightly", Kind: kind, Status: "completed", Received: time.Now()}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	found, _, err := d.Records(d.ctx, d.admin, cloud.RecordFilter{}, cloud.Place{}, 100)
	if err != nil || len(found) != len(want) {
		t.Fatalf("%d, %v", len(found), err)
	}
	for _, r := range found {
		if r.Type != want[r.Execution] {
			t.Errorf("%s is recorded as %s", r.Execution, r.Type)
		}
	}
}

// A retired atom is offline as soon as it has taken that, not when it has been
// silent for long; and it is not attached again.
func TestRetiredIsOffline(t *testing.T) {
	d, _ := open(t, t.TempDir())
	id := d.enrol(t, "prod", "edge-01")
	d.Heard(id, wire.Heartbeat{Health: "ok"}, 0)
	status := func(want string) {
		t.Helper()
		if a, err := d.Atom(d.ctx, d.admin, id); err != nil || a.Status != want {
			t.Errorf("it is %s, want %s, %v", a.Status, want, err)
		}
	}
	status(cloud.Online)
	for range 2 { // twice is the same
		if err := d.RetireAtom(d.ctx, d.admin, id); err != nil {
			t.Fatal(err)
		}
	}
	status(cloud.Online) // it does not know yet
	polled, _, err := d.Next(d.ctx, id, 0)
	if err != nil || len(polled.Messages) != 1 {
		t.Fatalf("%+v, %v", polled, err)
	}
	d.Heard(id, wire.Heartbeat{Health: "ok"}, 0)
	if err := d.Acknowledge(d.ctx, id, []int64{polled.Messages[0].ID}); err != nil {
		t.Fatal(err)
	}
	status(cloud.Offline)
	if _, err := d.AttachAtom(d.ctx, d.admin, id, "prod"); !errors.Is(err, cloud.ErrConflict) {
		t.Errorf("%v", err)
	}
}

// A deployment that says how its triggers are to stand says so anew; one that
// does not say goes on with what was said.
func TestDeploymentThatPausesIsAWord(t *testing.T) {
	d, _ := open(t, t.TempDir())
	atom := d.enrol(t, "prod", "edge-01")
	x := d.upload(t, "1", clocks)
	word := func(x cloud.Package, status string) int64 {
		t.Helper()
		if _, err := d.Deploy(d.ctx, d.admin, cloud.Deployment{PackageID: x.ID, EnvironmentID: "prod", ListenerStatus: status}); err != nil {
			t.Fatal(err)
		}
		return d.desired(t, atom).Switched["nightly"]
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
		t.Errorf("%d is not after %d", again, first)
	}
	if none := word(next, cloud.Running); none != 0 {
		t.Errorf("%d", none)
	}
}
