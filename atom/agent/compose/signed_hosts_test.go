package compose

import (
	"cmp"
	"net/url"
	"testing"

	"valence/atom/steps"
	"valence/connectors"
	"valence/connectors/http"
	"valence/internal/access"
	"valence/internal/wire"
	"valence/processes"
)

// TestSignedProjectsConnectToTheirPublishersHosts checks the hosts of the URL
// that the values of the control plane make together: a name without a dot, and
// a name that is joined from two values.
func TestSignedProjectsConnectToTheirPublishersHosts(t *testing.T) {
	policy, err := access.Local(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &Composer{o: Options{Catalog: &processes.Catalog{Steps: steps.Kinds(), Connectors: connectors.Registry{"http": http.Connector("test")}}, Value: func(need processes.Need, e *processes.Environment, _ *access.Policy) (string, string) {
		return cmp.Or(e.Values[need.Name], "named-by-machine"), ""
	}}}
	compose := func(a, b string) (*access.Policy, error) {
		v := &Composition{Desired: &wire.Desired{Environment: "test", Values: map[string]string{"A": a, "B": b}}, ProjectOf: map[string]string{}}
		o := &source{Deployment: &wire.Deployment{Project: "joined"}, statement: &wire.Statement{Fields: []string{"env.*"}, Hosts: []string{"erp"}}}
		files := []processes.File{{Name: "a.yaml", Content: []byte(`
connection: x
connector: http
url: http://${env.A}${env.B}
---
connection: fixed
connector: http
url: https://fixed.example/api
---
environment: test
values: { OWN: named-by-package }
---
connection: own
connector: http
url: http://${env.OWN}:8080
---
connection: machine
connector: http
url: http://${env.MACHINE}
`)}}
		if err := c.addProject(v, o, files, policy); err != nil {
			return nil, err
		}
		return v.Releases[0].Policy, nil
	}
	for _, test := range []struct {
		a, b, url string
		allowed   bool
	}{
		{"er", "p", "http://erp", true},
		{"er", "p", "https://erp:443/x", true},
		{"er", "p", "http://erp:8080", false},
		{"ev", "il", "http://evil", false},
		{"ev", "il", "http://evil:80", false},
		{"evil", "", "http://evil", false},
		{"evil.example", "", "http://evil.example", false},
		{"er", "p", "https://fixed.example", true},
		{"er", "p", "http://fixed.example", false},
		{"er", "p", "http://named-by-package:8080", true},
		{"er", "p", "http://named-by-package", false},
		{"er", "p", "http://named-by-machine", true},
		{"fixed.", "example", "http://fixed.example", false},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := compose(test.a, test.b)
		if err == nil {
			err = signed.CheckURL(u)
		}
		if (err == nil) != test.allowed {
			t.Errorf("A=%s B=%s, %s: got %v, want allowed %v", test.a, test.b, test.url, err, test.allowed)
		}
	}
}
