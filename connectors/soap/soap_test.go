package soap

import (
	"context"
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

func files(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	return b, err == nil
}

// call calls an operation of the WSDL at a server.
func call(t *testing.T, s *settings, ctx context.Context, operation, body string) (*connectors.Result, error) {
	t.Helper()
	s.WSDL = "erp.wsdl"
	if s.MaxResponse == 0 {
		s.MaxResponse = 1 << 20
	}
	all, problems := describe(s, files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	op, ok := connectors.FindOperation(all, operation)
	if !ok {
		t.Fatalf("there is no operation %s", operation)
	}
	c, err := open(s, "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	with := op.NewWith()
	if operation == "CreateInvoice" && s.Port == "" {
		o := &document.Object{}
		o.Set("headers", document.Parse(`{"Session":"s-1"}`))
		if err := spec.Bind(op.With, with, o); err != nil {
			t.Fatal(err)
		}
	}
	return op.Run(ctx, c, with, &connectors.Call{Body: document.FromJSON([]byte(body)), IdempotencyKey: "k"})
}

func serve(t *testing.T, status int, answer string, seen *string) string {
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		if seen != nil {
			*seen = r.Header.Get("SOAPAction") + " " + r.Header.Get("Idempotency-Key") + " " + string(b)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const invoice = `{"@channel":"web","line":[{"qty":2,"sku":"a","price":10.50}],"number":"INV-001","customer":{"@type":"Company","vat":"DE1","name":"A"},"note":null,"currency":"EUR","iban":"DE02"}`

func envelope(space, body string) string {
	return `<s:Envelope xmlns:s="` + space + `"><s:Body>` + body + `</s:Body></s:Envelope>`
}

func TestCall(t *testing.T) {
	var seen string
	url := serve(t, 200, envelope(envelope11, `<CreateInvoiceResponse xmlns="urn:erp"><number>INV-001</number><total>21.00</total></CreateInvoiceResponse>`), &seen)
	r, err := call(t, &settings{URL: url, Security: security{User: "u", Password: "secret", Type: "digest", Timestamp: time.Minute}}, t.Context(), "CreateInvoice", invoice)
	if err != nil || r.Doc.Data() != `{"number":"INV-001","total":21.00}` {
		t.Fatalf("got %v %v, want the response", r, err)
	}
	for _, want := range []string{`"urn:create" k `, `<soap:Header><n1:Session>s-1</n1:Session><wsse:Security soap:mustUnderstand="1"`, `#PasswordDigest`, `<wsu:Expires>`, `<n1:customer xsi:type="n2:Company"><n2:name>A</n2:name><n2:vat>DE1</n2:vat></n1:customer><n1:number>INV-001</n1:number>`} {
		if !strings.Contains(seen, want) {
			t.Errorf("got %s, want %s in it", seen, want)
		}
	}
	if strings.Contains(seen, "secret") {
		t.Errorf("got the password in %s, want only its digest", seen)
	}
	url = serve(t, 200, envelope(envelope11, `<c:AddResponse xmlns:c="urn:calc"><sum>3</sum></c:AddResponse>`), &seen)
	r, err = call(t, &settings{URL: url, Port: "Calc"}, t.Context(), "Add", `{"b":2,"a":1}`)
	if err != nil || r.Doc.Data() != `{"sum":3}` || !strings.Contains(seen, `<n1:Add><a>1</a><b>2</b></n1:Add>`) {
		t.Errorf("rpc: got %v %v after %s, want the sum", r, err, seen)
	}
	url = serve(t, 202, "", nil)
	if r, err = call(t, &settings{URL: url}, t.Context(), "Archive", `"text"`); err != nil || r.Status != 0 || r.Doc != document.Empty {
		t.Errorf("one-way: got %v %v, want an empty document", r, err)
	}
}

func TestFailures(t *testing.T) {
	const fault11 = `<s:Fault><faultcode>s:Server</faultcode><faultstring>bad field</faultstring>%</s:Fault>`
	declared := strings.Replace(fault11, "%", `<detail><InvalidInvoice xmlns="urn:erp"><field>iban</field><code>7</code></InvalidInvoice></detail>`, 1)
	bomb := `<a ` + strings.Repeat(`b="" `, 2000) + `/>`
	for _, test := range []struct {
		name, answer, body, code, message, detail string
		status                                    int
		retryable                                 bool
		port                                      string
	}{
		{name: "declared fault", status: 500, answer: envelope(envelope11, declared), body: invoice, code: "Server", message: "CreateInvoice: bad field", detail: `{"InvalidInvoice":{"field":"iban","code":7}}`},
		{name: "fault", status: 500, answer: envelope(envelope11, strings.Replace(fault11, "%", "", 1)), body: invoice, code: "Server", message: "bad field", retryable: true},
		{name: "fault with a code of the runtime", status: 500, answer: envelope(envelope11, `<s:Fault><faultcode>s:cancelled</faultcode><faultstring>no</faultstring></s:Fault>`), body: invoice, code: "Fault", message: "cancelled: no"},
		{name: "fault of SOAP 1.2", port: "Erp12", status: 400, answer: envelope(envelope12, `<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value xmlns:m="urn:m">m:Limit</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang="en">too many</s:Text></s:Reason></s:Fault>`), body: invoice, code: "Limit", message: "too many"},
		{name: "invalid document", body: strings.Replace(invoice, "INV-001", "X", 1), code: "bad_call", message: "the document does not match the schema of CreateInvoice: /number: `X` does not match the pattern"},
		{name: "no envelope", status: 200, answer: "<html/>", body: invoice, code: fault.CodeAnswer, message: "not an envelope of SOAP 1.1"},
		{name: "other status", status: 503, answer: "busy", body: invoice, code: fault.CodeStatus, message: "503", retryable: true},
		{name: "entity", status: 200, answer: `<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, body: invoice, code: fault.CodeAnswer, message: "document type declarations"},
		{name: "attribute bomb", status: 200, answer: bomb, body: invoice, code: fault.CodeAnswer, message: "more than 1000 attributes"},
		{name: "deep nesting", status: 200, answer: strings.Repeat("<a>", 600), body: invoice, code: fault.CodeAnswer, message: "nested deeper"},
		{name: "too large", status: 200, answer: strings.Repeat(" ", 2<<20), body: invoice, code: fault.CodeTooLarge, message: "max_response"},
	} {
		_, err := call(t, &settings{URL: serve(t, max(test.status, 200), test.answer, nil), Port: test.port}, t.Context(), "CreateInvoice", test.body)
		var f *fault.Failure
		if !errors.As(err, &f) {
			t.Errorf("%s: got %v, want a failure", test.name, err)
			continue
		}
		if f.Code != test.code || !strings.Contains(f.Message, test.message) || f.Retryable != test.retryable || string(f.Detail) != test.detail {
			t.Errorf("%s: got %v, retryable %v, detail %s, want %s %s, retryable %v, detail %s", test.name, f, f.Retryable, f.Detail, test.code, test.message, test.retryable, test.detail)
		}
	}
}

// TestSilentServer calls a server that accepts and never answers.
func TestSilentServer(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { <-release }))
	defer s.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := call(t, &settings{URL: s.URL}, ctx, "CreateInvoice", invoice)
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeTimeout || !f.Retryable {
		t.Errorf("got %v, want a timeout that may be retried", err)
	}
}
