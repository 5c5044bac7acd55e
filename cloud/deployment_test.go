package cloud_test

import (
	"testing"
	"time"

	"valence/internal/wire"
)

// TestDeployAgain: deploying the active package again changes nothing, unless
// an atom rolled it back.
func TestDeployAgain(t *testing.T) {
	d, stop := open(t, t.TempDir())
	defer stop()
	atom := d.enrol(t, "prod", "edge-01")
	pack := d.upload(t, "1", shop)
	first := d.deploy(t, "prod", pack)
	for _, c := range []struct {
		state string
		anew  bool
	}{{"active", false}, {"failed", false}, {"rolled_back", true}} {
		r := wire.DeploymentReport{Generation: d.desired(t, atom).Generation, Package: pack.SHA256, State: c.state, At: time.Now()}
		if err := d.AtomAPI.StoreReports(d.ctx, atom, wire.Reports{Deployments: []wire.DeploymentReport{r}}); err != nil {
			t.Fatal(err)
		}
		before := d.desired(t, atom)
		again := d.deploy(t, "prod", pack)
		after := d.desired(t, atom)
		if (again.ID != first.ID) != c.anew || (after.Generation > before.Generation) != c.anew || after.Deployments[0].ID != again.ID || len(after.Deployments) != 1 {
			t.Errorf("%s: %+v, %+v", c.state, again, after)
		}
	}
}
