package soap

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/test/servers"
)

// published returns the operations of a service, by the WSDL that it publishes.
func published(t *testing.T, url string) []connectors.Operation {
	t.Helper()
	resp, err := nethttp.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	all, problems := describe(&settings{WSDL: "service.wsdl"}, func(name string) ([]byte, bool) { return content, name == "service.wsdl" })
	if len(problems) > 0 {
		t.Fatalf("%s: got %v, want no problems", url, problems)
	}
	return all
}

// peerCall is a call of a service and its expected result: a document, or the
// code and the text of a failure.
type peerCall struct {
	name, url, operation, body string
	headers                    string
	security                   security
	doc                        string
	code, message, detail      string
	retryable                  bool
}

func (p peerCall) run(t *testing.T, all []connectors.Operation) {
	t.Helper()
	op, ok := connectors.FindOperation(all, p.operation)
	if !ok {
		t.Errorf("%s: there is no operation %s", p.name, p.operation)
		return
	}
	c, err := open(&settings{URL: p.url, MaxResponse: 1 << 20, CheckResponses: true, Security: p.security}, "1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	with := op.NewWith()
	if p.headers != "" {
		o := &document.Object{}
		o.Set("headers", document.Parse(p.headers))
		if err := spec.Bind(op.With, with, o); err != nil {
			t.Fatal(err)
		}
	}
	r, err := op.Run(t.Context(), c, with, &connectors.Call{Body: document.FromJSON([]byte(p.body))})
	var f *fault.Failure
	switch {
	case p.code == "" && (err != nil || r.Doc.Data() != p.doc):
		t.Errorf("%s: got %v %v, want %s", p.name, r, err, p.doc)
	case p.code != "" && !errors.As(err, &f):
		t.Errorf("%s: got %v %v, want a failure with code %s", p.name, r, err, p.code)
	case p.code != "" && (f.Code != p.code || !strings.Contains(f.Message, p.message) || string(f.Detail) != p.detail || f.Retryable != p.retryable):
		t.Errorf("%s: got %v, detail %s, retryable %v, want %s: %s, detail %s, retryable %v", p.name, f, f.Detail, f.Retryable, p.code, p.message, p.detail, p.retryable)
	}
}

const (
	lines  = `"line":[{"@no":1,"sku":"a","price":10.50,"note":null},{"@no":2,"sku":"ä<b>","price":2,"note":"gift"}]`
	placed = `"total":12.50,"note":"gift","currency":"EUR"`
)

func TestCxf(t *testing.T) {
	c, err := servers.NewCxf()
	if errors.Is(err, servers.ErrNoJava) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	card := `{"@channel":"web","currency":"EUR","card":{"#text":"4111","@expires":"2030-01"},` + lines + `}`
	iban := strings.Replace(card, `"card":{"#text":"4111","@expires":"2030-01"}`, `"iban":"DE02"`, 1)
	rush := strings.Replace(strings.Replace(iban, `{`, `{"@type":"rush",`, 1), lines, lines+`,"hours":3`, 1)
	negative := strings.Replace(iban, "10.50", "-10.50", 1)
	receipt := func(kind, payment string) string {
		return `{"@kind":"` + kind + `",` + placed + `,"payment":"` + payment + `",` + lines + `}`
	}
	const detail = `{"InvalidOrder":{"field":"price","limit":7}}`
	user := security{User: servers.CxfUser, Password: servers.CxfPassword, Type: "digest", Timestamp: 300e9}
	wrong := user
	wrong.Password = "wrong"
	content := make([]byte, 70_000)
	for i := range content {
		content[i] = byte(i)
	}
	file := `{"content":"` + base64.StdEncoding.EncodeToString(content) + `"}`
	byService := map[string][]peerCall{
		"wrapped": {
			{name: "attribute, choice and nil", operation: "place", body: `{"order":` + card + `}`, doc: `{"receipt":` + receipt("plain", "card 4111 2030-01") + `}`},
			{name: "derived type", operation: "place", body: `{"order":` + rush + `}`, doc: `{"receipt":` + receipt("rush 3", "iban DE02") + `}`},
			{name: "one-way", operation: "archive", body: `{"id":"1"}`, doc: "null"},
			{name: "declared fault", operation: "place", body: `{"order":` + negative + `}`, code: "Server", message: "the total is negative", detail: detail},
			{name: "undeclared fault", operation: "place", body: `{"order":` + strings.Replace(iban, "10.50", "9000000", 1) + `}`, code: "Server", message: "too much", retryable: true},
		},
		"wrapped12": {
			{name: "SOAP 1.2", operation: "place", body: `{"order":` + card + `}`, doc: `{"receipt":` + receipt("plain", "card 4111 2030-01") + `}`},
			{name: "fault of SOAP 1.2", operation: "place", body: `{"order":` + negative + `}`, code: "Receiver", message: "the total is negative", detail: detail},
		},
		"bare": {
			{name: "bare", operation: "place", body: iban, doc: receipt("plain", "iban DE02")},
			{name: "fault of bare", operation: "place", body: negative, code: "Server", message: "the total is negative", detail: detail},
		},
		"rpc": {
			{name: "rpc", operation: "place", body: `{"order":` + iban + `,"copies":2}`, doc: `{"receipt":` + strings.Replace(receipt("plain", "iban DE02"), "12.50", "25.00", 1) + `}`},
			{name: "fault of rpc", operation: "place", body: `{"order":` + negative + `,"copies":2}`, code: "Server", message: "the total is negative", detail: detail},
		},
		"files": {{name: "MTOM", operation: "file", body: `{"size":70000}`, doc: file}},
		"secure": {
			{name: "digest", operation: "place", body: `{"order":` + iban + `}`, security: user, doc: `{"receipt":` + receipt("plain", "iban DE02") + `}`},
			{name: "wrong password", operation: "place", body: `{"order":` + iban + `}`, security: wrong, code: "SecurityError", message: "security"},
			{name: "no password", operation: "place", body: `{"order":` + iban + `}`, code: "SecurityError", message: "security"},
		},
	}
	for service, calls := range byService {
		all := published(t, c.URL(service)+"?wsdl")
		for _, p := range calls {
			p.url = c.URL(service)
			p.run(t, all)
		}
	}
}

func TestSpyne(t *testing.T) {
	s, err := servers.NewSpyne()
	if errors.Is(err, servers.ErrNoPython) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	order := `{"@channel":"web","currency":"EUR","card":"4111",` + lines + `}`
	receipt := `{"placeResult":{"@kind":"4111 %",` + placed + `,"paid":true,` + lines + `}}`
	for service, codes := range map[string][2]string{"soap11": {"Client.InvalidOrder", "Server"}, "soap12": {"InvalidOrder", "Receiver"}} {
		all := published(t, s.URL(service)+"/?wsdl")
		checkLint(t, all)
		for _, p := range []peerCall{
			{name: "no header", operation: "place", body: `{"order":` + order + `}`, doc: strings.Replace(receipt, "%", "none", 1)},
			{name: "header", operation: "place", body: `{"order":` + order + `}`, headers: `{"Session":{"token":"t-1"}}`, doc: strings.Replace(receipt, "%", "t-1", 1)},
			{name: "bare", operation: "echo", body: `"a&b"`, doc: `"a&b"`},
			{name: "fault with a detail", operation: "place", body: `{"order":` + strings.Replace(order, "10.50", "-10.50", 1) + `}`, code: codes[0], message: "the total is negative", detail: `{"field":"price"}`},
			{name: "fault", operation: "place", body: `{"order":` + strings.Replace(order, "10.50", "9000000", 1) + `}`, code: codes[1], message: "too much", retryable: true},
			{name: "enumeration", operation: "place", body: `{"order":` + strings.Replace(order, "EUR", "EURO", 1) + `}`, code: "bad_call", message: "/order/currency: `EURO` is not one of EUR, USD"},
		} {
			p.name, p.url = service+": "+p.name, s.URL(service)
			p.run(t, all)
		}
	}
}

// checkLint checks that lint knows the types of a WSDL that another framework has
// written.
func checkLint(t *testing.T, all []connectors.Operation) {
	t.Helper()
	op, ok := connectors.FindOperation(all, "place")
	if !ok {
		t.Fatal("there is no operation place")
	}
	problems := op.CheckBody(templateOf(t, "order:\n  curency: EUR\n  card: ${doc.card}\n  line:\n    $each: ${doc.lines}\n    \"@no\": one\n    sku: ${item.sku}\n    price: 1\n    note: null\n").Shape())
	var got bytes.Buffer
	for _, p := range problems {
		got.WriteString(p.Error())
	}
	for _, want := range []string{"2:3: error: the document does not match the schema of place at /order: `curency` is not an element of the type Order", "6:12: error: the document does not match the schema of place at /order/line/@no: `one` is not an integer"} {
		if !strings.Contains(got.String(), want) || len(problems) != 2 {
			t.Errorf("got %s, want 2 problems with %s", got.String(), want)
		}
	}
}
