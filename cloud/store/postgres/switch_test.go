package postgres_test

import (
	"slices"
	"testing"

	"valence/cloud/cloudtest"
	"valence/internal/wire"
)

const nightly = `process: nightly
schedule: { cron: "30 2 * * *", timezone: Europe/Lisbon }
steps:
  - log: x
`

// A schedule switched at one control plane is off for an atom that polls
// another, and the atom's report is known at the first, also if it has only the
// digest.
func TestSwitchesAreShared(t *testing.T) {
	c := start(t)
	atom := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	c.a.Deploy(t, c.prod.ID, "shop", "1", nightly)
	there := at(atom, c.b)
	var stands wire.TriggerStatus
	tell := func(h *wire.Heartbeat) { h.TriggerStatus = stands }
	atom.Heartbeat, there.Heartbeat = tell, tell
	generation := settle(t, there)

	if _, err := c.a.Triggers.SwitchSchedule(t.Context(), c.a.Admin, "edge-01", "nightly", false); err != nil {
		t.Fatal(err)
	}
	p, err := there.Poll(t.Context(), generation, 20)
	if err != nil || p.Desired == nil || !slices.Equal(p.Desired.Paused, []string{"nightly"}) || p.Desired.SwitchedIn["nightly"] <= generation {
		t.Fatalf("%+v, %v", p, err)
	}
	generation = p.Desired.Generation
	full := wire.TriggerStatus{Digest: "one", Switched: generation, Triggers: []wire.Trigger{{Process: "nightly", Kind: "schedule", State: "running", Cron: "30 2 * * *", Zone: "Europe/Lisbon"}}}
	stands = full // switched on at the machine
	if p, err = there.Poll(t.Context(), generation, 0); err != nil || p.SendTriggers {
		t.Fatalf("%+v, %v", p, err)
	}
	eventually(t, "the other knows that it is on", func() bool {
		s, err := c.a.Triggers.Schedule(t.Context(), c.a.Admin, "edge-01", "nightly")
		return err == nil && s.Enabled
	})
	stands = wire.TriggerStatus{Digest: "one"}
	here := at(atom, c.a)
	if p, err = here.Poll(t.Context(), generation, 0); err != nil || p.SendTriggers {
		t.Errorf("triggers known to the other are requested again: %+v, %v", p, err)
	}
	stands.Digest = "two"
	if p, err = here.Poll(t.Context(), generation, 0); err != nil || !p.SendTriggers {
		t.Errorf("unknown triggers are not requested: %+v, %v", p, err)
	}
}
