package loader

import (
	"os"
	"strings"
	"testing"

	"valence/processes"
)

// TestServices checks listeners of SOAP services.
func TestServices(t *testing.T) {
	const folder = "../../internal/wsdl/testdata/"
	var files []processes.File
	for _, name := range []string{"erp.wsdl", "common/types.xsd", "common/base.xsd"} {
		content, err := os.ReadFile(folder + name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, processes.File{Name: name, Content: content})
	}
	const listen = "listen: { path: /a, input: soap, service: { wsdl: erp.wsdl, port: Erp11 }, auth: none }\n"
	const handled = "steps:\n  - switch: ${request.operation}\n    cases:\n      Archive: [{ log: a }]\n    default:\n      - reply: {}\n"
	thrown := func(detail string) string {
		return listen + "steps:\n  - switch: ${request.operation}\n    cases:\n      Archive: [{ throw: a, detail: { Any: 1 } }]\n      CreateInvoice:\n        - throw: b\n          detail: " + detail + "\n    default: [{ reply: {} }]\n"
	}
	headed := func(operation, headers string) string {
		return listen + "steps:\n  - switch: ${request.operation}\n    cases:\n      Archive: [{ log: a }]\n      " + operation + ":\n        - reply: {}\n          soap: { headers: " + headers + " }\n    default: [{ reply: {} }]\n"
	}
	for _, test := range []struct{ name, text, want string }{
		{"a header", headed("CreateInvoice", "{ Session: s }"), ""},
		{"a header of an expression", headed("CreateInvoice", "\"${doc.headers}\""), ""},
		{"an undeclared header", headed("CreateInvoice", "{ Sesion: s }"), "a.yaml:9:30: error: the WSDL declares no header `Sesion` for the output of CreateInvoice [body-mismatch]\n    try: did you mean `Session`?"},
		{"a header of another type", headed("CreateInvoice", "{ Session: { a: 1 } }"), "the header does not match the schema of CreateInvoice at /Session: it must be text, not an object [body-mismatch]"},
		{"a header without a declaration", headed("Ping", "{ Session: s }"), "the WSDL declares no header `Session` for the output of Ping [body-mismatch]\n    try: declare a `header` for the output in the binding, or remove it"},
		{"a header without an envelope", "listen: { path: /a, output: json, auth: none }\nsteps:\n  - reply: {}\n    soap: { headers: { Session: s } }\n", "a.yaml:4:5: error: `soap:` has no effect: the replies of this process have no envelope [no-effect]"},
		{"a detail", thrown("{ InvalidInvoice: { field: a, code: 7 } }"), ""},
		{"a detail of an expression", thrown("${doc.detail}"), ""},
		{"a detail with an expression", thrown("{ InvalidInvoice: { field: \"${doc.number}\", code: 7 } }"), ""},
		{"an undeclared detail", thrown("{ InvalidInvoise: {} }"), "a.yaml:9:21: error: the WSDL declares no fault element `InvalidInvoise` for CreateInvoice [body-mismatch]\n    try: did you mean `InvalidInvoice`?"},
		{"a detail of another type", thrown("{ InvalidInvoice: { field: a, code: b } }"), "a.yaml:9:55: error: the detail does not match the schema of CreateInvoice at /InvalidInvoice/code: `b` is not an integer [body-mismatch]"},
		{"a detail without an element", thrown("{ InvalidInvoice: { code: 7 } }"), "at /InvalidInvoice: `field` is missing [body-mismatch]\n    try: add `field:`"},
		{"two details", thrown("{ InvalidInvoice: { field: a, code: 7 }, Other: 1 }"), "the detail of a fault has one element, but `Other` is a second one [body-mismatch]"},
		{"a detail without a fault", strings.Replace(thrown("{ InvalidInvoice: { field: a, code: 7 } }"), "CreateInvoice:", "Ping:", 1), "the WSDL declares no fault element `InvalidInvoice` for Ping [body-mismatch]\n    try: declare a `fault` in the WSDL, or remove `detail:`"},
		{"each operation", listen + handled, ""},
		{"one kind of operation", listen + "steps:\n  - reply: {}\n    when: ${request.operation != \"Archive\"}\n", ""},
		{"by conditions", listen + "steps:\n  - if: ${request.operation == 'Archive'}\n    then: [{ log: a }]\n    else: [{ reply: {} }]\n", ""},
		{"no reply", listen + "steps:\n  - log: a\n", "a.yaml:4:5: error: the caller of CreateInvoice gets no reply: this path reaches the end of the steps [missing-reply]"},
		{"no reply of one operation", listen + strings.Replace(handled, "Archive:", "Ping:", 1), "a.yaml:4:5: error: the caller of Ping gets no reply: this path reaches the end of the steps"},
		{"a reply without a caller", listen + "steps:\n  - reply: {}\n", "a.yaml:4:5: error: no caller waits for this reply: the operation Archive has no output [reply-without-output]"},
		{"an unknown operation", listen + strings.Replace(handled, "Archive:", "Archiv:", 1), "the service has no operation `Archiv` [unknown-operation]\n    try: did you mean `Archive`?"},
		{"an unknown operation in a condition", listen + "steps:\n  - if: ${request.operation == \"Pong\"}\n    then: [{ reply: {} }]\n    else: [{ reply: {} }]\n", "the service has no operation `Pong`"},
		{"an unreachable step", listen + "steps:\n  - if: ${request.operation == \"Archive\"}\n    then: [{ stop: a }]\n    else: [{ reply: {} }, { throw: b }, { log: c }]\n", "this step can never run"},
		{"several ports", strings.Replace(listen, ", port: Erp11", "", 1) + handled, ""},
		{"no service", "listen: { path: /a, input: soap, auth: none }\n" + handled, "a.yaml:2:9: error: `input: soap` needs `service:` [missing-key]"},
		{"a missing file", strings.Replace(listen, "erp.wsdl", "erb.wsdl", 1) + handled, "error: the file `erb.wsdl` does not exist [bad-file]\n    try: did you mean `erp.wsdl`?"},
		{"a file outside", strings.Replace(listen, "erp.wsdl", "../erp.wsdl", 1) + handled, "is outside of the project"},
		{"an expression", strings.Replace(listen, "erp.wsdl", "\"${env.WSDL}\"", 1) + handled, "`wsdl:` cannot be an expression"},
		{"an unknown port", strings.Replace(listen, "Erp11", "Erp13", 1) + handled, "the WSDL has no port `Erp13` [wrong-value]"},
		{"a broken file", strings.Replace(listen, "erp.wsdl", "common/types.xsd", 1) + handled, "common/types.xsd:1:1: error: this is no WSDL"},
		{"settings of other formats", strings.Replace(listen, "input:", "output: json, ack: { status: 202 }, input:", 1) + handled, "`output:` has no effect with `input: soap`"},
		{"a method", strings.Replace(listen, "input:", "method: GET, input:", 1) + handled, "SOAP uses the method POST only"},
		{"a service without SOAP", "listen: { path: /a, service: { wsdl: erp.wsdl }, auth: none }\n" + "steps: [{ log: a }]\n", "`service:` has no effect without `input: soap`"},
		{"a token without an envelope", "listen: { path: /a, auth: erp }\nsteps: [{ log: a }]\n---\nauth: erp\nscheme: wss\nuser: u\npassword: ${secret.P}\n", "the scheme wss reads the header of a SOAP envelope, and `input: json` has none"},
		{"a test of an unknown operation", listen + handled + "---\ntest: t\ntarget: a\nrequest: { operation: Pin }\ninput: {}\n", "the service has no operation `Pin` [unknown-operation]\n    try: did you mean `Ping`?"},
	} {
		_, problems := Load(append(files, processes.File{Name: "a.yaml", Content: []byte("process: a\n" + test.text)}), testCatalog())
		got := problems.Error()
		if test.want == "" && len(problems) > 0 || !strings.Contains(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// TestServiceChangesHash changes a schema that a listener reads.
func TestServiceChangesHash(t *testing.T) {
	hash := func(pattern string) string {
		var files []processes.File
		for _, name := range []string{"erp.wsdl", "common/types.xsd", "common/base.xsd"} {
			content, err := os.ReadFile("../../internal/wsdl/testdata/" + name)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, processes.File{Name: name, Content: []byte(strings.ReplaceAll(string(content), "INV-", pattern))})
		}
		files = append(files, processes.File{Name: "a.yaml", Content: []byte("process: a\nlisten: { path: /a, input: soap, service: { wsdl: erp.wsdl, port: Erp12 }, auth: none }\nsteps: [{ reply: {} }]\n")})
		p, problems := Load(files, testCatalog())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return p.Processes["a"].Hash
	}
	if a, b := hash("INV-"), hash("BILL-"); a == b {
		t.Errorf("got the hash %s for both schemas, want different hashes", a)
	}
}
