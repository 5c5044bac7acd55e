package examples

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/test/servers"
)

// runSoapFront runs the example soap-front. With digest, its callers send the
// password as a digest.
func runSoapFront(t *testing.T, digest bool) (*atom, *Systems) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "soap-front")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(folder, "soap-front"))); err != nil {
		t.Fatal(err)
	}
	e, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	systems := startSystems(t, e)
	if digest {
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
	return run(t, dir, e.Env(systems.Addresses)...), systems
}

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
			a, _ := runSoapFront(t, kind == "digest")
			args := []string{"testdata/zeep/orders.py", a.listen + "/soap/orders?wsdl"}
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

// TestCxfClient calls the SOAP service of an example in both versions by the
// client of Apache CXF, which reads its WSDL.
func TestCxfClient(t *testing.T) {
	const want = `Ada TEA 2 12.50 null
O-9
unknown_order: there is no order O-8
Client: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
FailedAuthentication: The security token could not be authenticated or authorized.
Ada TEA 2 12.50 null
O-9
Sender unknown_order: there is no order O-8
Sender: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
Sender FailedAuthentication: The security token could not be authenticated or authorized.
`
	for kind, digest := range map[string]bool{"PasswordText": false, "PasswordDigest": true} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, systems := runSoapFront(t, digest)
			out, err := runCxf(t, "Orders", a.listen+"/soap/orders?wsdl", kind)
			if err != nil || out != want {
				t.Errorf("got %v\n%s, want\n%s", err, out, want)
			}
			a.until("the one-way messages are delivered", func() string {
				var sent []string
				for _, c := range systems.Received() {
					if c.To == "shop POST /orders/O-7/shipments" {
						sent = append(sent, string(c.Body))
					}
				}
				all := strings.Join(sent, " ")
				if len(sent) == 2 && strings.Contains(all, `"Orders11"`) && strings.Contains(all, `"Orders12"`) {
					return ""
				}
				return fmt.Sprintf("got %s, want one of each port", all)
			})
		})
	}
}

// runCxf runs a client in testdata/cxf and returns its output. The test is
// skipped on a machine without Java.
func runCxf(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	cmd, err := servers.CxfCommand(t.Context(), "testdata/cxf/"+name+".java", args...)
	if errors.Is(err, servers.ErrNoJava) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Log(log.String())
	}
	return string(out), err
}
