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

// A schedule that is switched at one control plane is off for the atom that
// polls another, and what the atom tells there is known to the first, also when
// it names its triggers only.
func TestSwitchedEverywhere(t *testing.T) {
	c := start(t)
	atom := cloudtest.Join(t, c.a.URL, c.a.InstallToken(t, "prod"), "edge-01")
	c.a.Deploy(t, c.prod.ID, "shop", "1", nightly)
	there := at(atom, c.b)
	var stands wire.Standing
	tell := func(h *wire.Heartbeat) { h.Standing = stands }
	atom.Heartbeat, there.Heartbeat = tell, tell
	generation := settle(t, there)

	if _, err := c.a.SwitchSchedule(t.Context(), c.a.Admin, "edge-01", "nightly", false); err != nil {
		t.Fatal(err)
	}
	p, err := there.Poll(t.Context(), generation, 20)
	if err != nil || p.Desired == nil || !slices.Equal(p.Desired.Paused, []string{"nightly"}) || p.Desired.Switched["nightly"] <= generation {
		t.Fatalf("%+v, %v", p, err)
	}
	generation = p.Desired.Generation
	full := wire.Standing{Print: "one", Switched: generation, Listeners: []wire.Listener{{Process: "nightly", Kind: "schedule", State: "running", Cron: "30 2 * * *", Zone: "Europe/Lisbon"}}}
	stands = full // somebody at the machine let it go on
	if p, err = there.Poll(t.Context(), generation, 0); err != nil || p.Tell {
		t.Fatalf("%+v, %v", p, err)
	}
	eventually(t, "the other knows that it is on", func() bool {
		s, err := c.a.Schedule(t.Context(), c.a.Admin, "edge-01", "nightly")
		return err == nil && s.Enabled
	})
	stands = wire.Standing{Print: "one"}
	here := at(atom, c.a)
	if p, err = here.Poll(t.Context(), generation, 0); err != nil || p.Tell {
		t.Errorf("what was told to the other is asked for again: %+v, %v", p, err)
	}
	stands.Print = "two"
	if p, err = here.Poll(t.Context(), generation, 0); err != nil || !p.Tell {
		t.Errorf("what nobody knows is not asked for: %+v, %v", p, err)
	}
}
