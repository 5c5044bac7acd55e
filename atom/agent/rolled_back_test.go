package agent

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"valence/internal/wire"
)

// TestRolledBackStays: a rolled-back version does not return with newer
// generations or after a restart, even if the previous version has an older
// serial. Deploying it again brings it back.
func TestRolledBackStays(t *testing.T) {
	for _, signed := range []bool{false, true} {
		p, data := newPlane(t), t.TempDir()
		var publishers []string
		var key ed25519.PrivateKey
		if signed {
			var public string
			public, key = randomKey(t)
			publishers = []string{public}
		}
		join(t, p, data, publishers...)
		r := start(t, p, data, nil, nil)
		good, bad := p.pack("a.yaml", oneProcess), p.pack("a.yaml", failing)
		deploy := func(n int64, id, pack string, serial int64, others ...string) {
			t.Helper()
			p.deploy(n, "", func(d *wire.Desired) {
				d.Deployments = append(p.deployments(others...), wire.Deployment{ID: id, Package: pack, Project: "orders", Version: "1"})
				d.Values = map[string]string{"GENERATION": id}
				for i := range d.Deployments {
					x := &d.Deployments[i]
					s := &wire.Statement{Project: x.Project, Environment: "prod", Serial: serial, Package: x.Package}
					if signed {
						var err error
						if x.Statement, x.Signature, err = s.Sign(key); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
		deploy(1, "d1", good, 1)
		p.waitResult(1, "active")
		deploy(2, "d2", bad, 2)
		p.waitResult(2, "active")
		r.agent.deployer.rollback(t.Context(), "orders", "a test says so")
		if got := p.waitResult(2, "rolled_back"); !strings.Contains(got.Detail, "deploy it again to retry") {
			t.Errorf("got %+v, want Detail with \"deploy it again to retry\"", got)
		}
		runs := func(pack string) bool {
			r.agent.deployer.mu.Lock()
			defer r.agent.deployer.mu.Unlock()
			x := findDeployment(r.agent.deployer.current.Desired, "orders")
			return x != nil && x.Package == pack
		}
		deploy(3, "d2", bad, 2, "beside", process("beside", "log: b"))
		if got := p.waitResult(3, "rolled_back"); !runs(good) || !r.has("beside") || !strings.Contains(got.Detail, "a test says so") {
			t.Errorf("%+v", got)
		}
		r.stop()
		r = start(t, p, data, r.store, nil)
		deploy(4, "d2", bad, 2)
		if p.waitResult(4, "rolled_back"); !runs(good) || r.has("beside") || r.agent.Ready() != nil {
			t.Error("after a restart: got the bad version, want the good one")
		}
		deploy(5, "d3", bad, 2)
		if p.waitResult(5, "active"); !runs(bad) {
			t.Error("deployed again: got the old version, want the new one")
		}
		if signed {
			deploy(6, "d4", good, 1)
			if got := p.waitResult(6, "failed"); !strings.Contains(got.Detail, "it is outdated") {
				t.Errorf("got %+v, want Detail with \"it is outdated\"", got)
			}
		}
		r.stop()
	}
}
