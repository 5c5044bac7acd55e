package server

import (
	"os"
	"path/filepath"
	"testing"

	"valence/atom/steps"
	"valence/connectors/all"
	"valence/processes"
	"valence/processes/loader"
)

func TestResolveValuesOfAnEnvironment(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTHER_NAME", "from a variable")
	t.Setenv("A_URL", "of the machine")
	files := []processes.File{{Name: "app.yaml", Content: []byte(`
connection: a
connector: http
url: ${env.A_URL}
headers: { X-One: "${secret.ONE}", X-Two: "${secret.TWO}" }
---
process: p
steps:
  - call: a.get
    with: { path: / }
---
environment: prod
values: { A_URL: "http://a.example", UNUSED: kept }
secrets: { ONE: { file: ` + secret + ` }, TWO: { variable: OTHER_NAME } }
`)}}
	p, problems := loader.Load(files, &processes.Catalog{Steps: steps.Kinds(), Connectors: all.Registry("test")})
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	v, err := resolveValues(p, "prod", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"A_URL", v.env["A_URL"], "http://a.example"},
		{"UNUSED", v.env["UNUSED"], "kept"},
		{"ONE", v.secrets["ONE"], "s3cret"},
		{"TWO", v.secrets["TWO"], "from a variable"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	if v.environment == nil || v.environment.Name != "prod" {
		t.Errorf("got environment %v, want prod", v.environment)
	}
}
