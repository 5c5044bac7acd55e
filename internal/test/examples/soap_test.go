package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestZeep calls the SOAP service of an example by another client, which knows
// only the URL of its WSDL.
func TestZeep(t *testing.T) {
	packages := installPython(t, "zeep")
	const want = `Ada [('TEA', 2)] 12.50 None
None
e:unknown_order: there is no order O-8
soap:Client: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
O-9
soap:Sender: there is no order O-8
e:FailedAuthentication: The security token could not be authenticated or authorized.
`
	for _, kind := range []string{"text", "digest"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "soap-front")
			if err := os.CopyFS(dir, os.DirFS(filepath.Join(folder, "soap-front"))); err != nil {
				t.Fatal(err)
			}
			args := []string{"testdata/zeep/orders.py"}
			e, err := Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			systems := startSystems(t, e)
			if kind == "digest" {
				file := filepath.Join(dir, "connections.yaml")
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				text = []byte(strings.Replace(string(text), "user: erp", "type: digest\nuser: erp", 1))
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			a := run(t, dir, e.Env(systems.Addresses)...)
			args = append(args, a.listen+"/soap/orders?wsdl")
			if kind == "digest" {
				args = append(args, kind)
			}
			cmd := exec.CommandContext(t.Context(), "python3", args...)
			cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=127.0.0.1")
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("got %v\n%s, want\n%s", err, out, want)
			}
		})
	}
}
