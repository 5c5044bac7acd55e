package examples

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/test/servers"
)

// asDigest makes the callers of soap-front send the password as a digest.
var asDigest = []string{"user: erp", "type: digest\nuser: erp"}

// runSoapFront runs the example soap-front with replacements in its files.
func runSoapFront(t *testing.T, replacements ...string) (*atom, *Systems) {
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
	edit := strings.NewReplacer(replacements...)
	for _, name := range []string{"connections.yaml", "orders.yaml"} {
		file := filepath.Join(dir, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(edit.Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return run(t, dir, e.Env(systems.Addresses)...), systems
}

// TestZeep calls the SOAP service of an example by another client, which knows
// only the URL of its WSDL.
func TestZeep(t *testing.T) {
	packages := installPython(t, "zeep")
	const want = `from the shop
Ada [('TEA', 2)] 12.50 None
None
e:unknown_order: there is no order O-8 (O-8)
soap:Client: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
O-9
soap:Sender: there is no order O-8 (O-8)
e:FailedAuthentication: The security token could not be authenticated or authorized.
`
	for _, kind := range []string{"text", "digest"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			args := []string{"testdata/zeep/orders.py", ""}
			var edit []string
			if kind == "digest" {
				args, edit = append(args, kind), asDigest
			}
			a, _ := runSoapFront(t, edit...)
			args[1] = a.listen + "/soap/orders?wsdl"
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
UnknownOrder O-8: there is no order O-8
Client: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
FailedAuthentication: The security token could not be authenticated or authorized.
Ada TEA 2 12.50 null
O-9
UnknownOrder O-8: there is no order O-8
Sender: The document does not match the schema of CreateOrder: /line/0/quantity: 0 is less than 1
Sender FailedAuthentication: The security token could not be authenticated or authorized.
`
	for kind, edit := range map[string][]string{"PasswordText": nil, "PasswordDigest": asDigest} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a, systems := runSoapFront(t, edit...)
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

// A detail that does not match the WSDL is not sent: the caller gets a fault
// without it, and the execution fails instead of being rejected.
func TestFaultDetail(t *testing.T) {
	a, _ := runSoapFront(t, `detail: { UnknownOrder: { id: "${input.id}" } }`, `detail: '${ {"UnknownOrder": {"id": "no id"}} }'`)
	text, err := os.ReadFile(filepath.Join(folder, "soap-front", "unknown-order.xml"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(a.listen+"/soap/orders", "text/xml", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), "<faultcode>soap:Server</faultcode>") || strings.Contains(string(body), "UnknownOrder") {
		t.Errorf("got %s %s, want a fault of the server without the detail", resp.Status, body)
	}
	a.until("the execution is recorded as failed", func() string {
		out, err := exec.CommandContext(t.Context(), binary, "failed", "--json", "--data", a.data).CombinedOutput()
		want := "the detail of the fault does not match the schema of GetOrder: /UnknownOrder/id: `no id` does not match the pattern"
		if err == nil && strings.Contains(string(out), want) {
			return ""
		}
		return fmt.Sprintf("got %v %s, want %s", err, out, want)
	})
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

// TestSOAPAttacks sends envelopes that must be refused, and then a message twice:
// the repeat receives the first reply with its header block.
func TestSOAPAttacks(t *testing.T) {
	a, systems := runSoapFront(t)
	post := func(text string) (int, string) {
		t.Helper()
		resp, err := http.Post(a.listen+"/soap/orders", "text/xml", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	file, err := os.ReadFile(filepath.Join(folder, "soap-front", "get-order.xml"))
	if err != nil {
		t.Fatal(err)
	}
	valid := string(file)
	before, rest, _ := strings.Cut(valid, "<soap:Header>")
	security, after, found := strings.Cut(rest, "</soap:Header>")
	if !found {
		t.Fatalf("got %s, want an envelope with a header", valid)
	}
	header := func(block string) string {
		return before + "<soap:Header>" + security + block + "</soap:Header>" + after
	}
	const must = `<x:Extra xmlns:x="urn:x" soap:mustUnderstand="1"/>`
	for _, test := range []struct {
		name, text string
		status     int
		want       string
	}{
		{"an entity", `<!DOCTYPE e [<!ENTITY a "b">]>` + valid, 500, "not valid XML"},
		{"many attributes", header("<x:a xmlns:x=\"urn:x\" " + attributes(2000) + "/>"), 500, "not valid XML"},
		{"deep nesting", strings.Repeat("<a>", 100_000), 500, "not valid XML"},
		{"50 MB", header("<x:a xmlns:x=\"urn:x\">" + strings.Repeat("x", 50<<20) + "</x:a>"), 413, "The limit is"},
		{"a header that must be understood", header(must), 500, "MustUnderstand"},
		{"the token twice", header(security), 500, "FailedAuthentication"},
		{"another namespace", strings.ReplaceAll(valid, "urn:example:orders", "urn:example:order"), 500, "is in the namespace"},
		{"another envelope", strings.ReplaceAll(valid, "http://schemas.xmlsoap.org/soap/envelope/", "urn:soap"), 500, "VersionMismatch"},
	} {
		if status, body := post(test.text); status != test.status || !strings.Contains(body, test.want) || !strings.Contains(body, "Fault>") {
			t.Errorf("%s: got %d %.400s, want a fault with %d and %s", test.name, status, body, test.status, test.want)
		}
	}
	if n := len(systems.Received()); n != 0 {
		t.Errorf("got %d calls of the shop, want none", n)
	}
	once := header(`<a:MessageID xmlns:a="http://www.w3.org/2005/08/addressing">urn:uuid:1</a:MessageID>`)
	_, first := post(once)
	_, second := post(once)
	if first != second || !strings.Contains(first, ">shop</") || len(systems.Received()) != 1 {
		t.Errorf("got %s, then %s, and %d calls of the shop, want the same reply with its header and 1", first, second, len(systems.Received()))
	}
}

func attributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` a%d=""`, i)
	}
	return b.String()
}
