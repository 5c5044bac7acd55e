package agent

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"valence/internal/wire"
)

// TestPutBackStays: a version that was put back is not taken with a newer
// generation that changes something else, also after a restart, and also where
// the version before has an older serial. It is when it is deployed again.
func TestPutBackStays(t *testing.T) {
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
		r.agent.rollback(t.Context(), "orders", "a test says so")
		if got := p.waitResult(2, "rolled_back"); !strings.Contains(got.Detail, "until it is deployed again") {
			t.Errorf("%+v", got)
		}
		runs := func(pack string) bool {
			r.agent.mu.Lock()
			defer r.agent.mu.Unlock()
			x := find(r.agent.runs.desired, "orders")
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
			t.Error("it was taken after a restart")
		}
		deploy(5, "d3", bad, 2)
		if p.waitResult(5, "active"); !runs(bad) {
			t.Error("what is deployed again is not taken")
		}
		if signed {
			deploy(6, "d4", good, 1)
			if got := p.waitResult(6, "failed"); !strings.Contains(got.Detail, "it is an old one") {
				t.Errorf("%+v", got)
			}
		}
		r.stop()
	}
}
