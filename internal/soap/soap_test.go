package soap

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/problem"
	"valence/internal/wsdl"
)

func files(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join("../wsdl/testdata", filepath.FromSlash(name)))
	return b, err == nil
}

func service(t *testing.T, port string) *Service {
	t.Helper()
	d, problems := wsdl.Read("erp.wsdl", files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, err := New(d, "", port)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func envelope(space, header, body string) string {
	if header != "" {
		header = "<s:Header>" + header + "</s:Header>"
	}
	return `<?xml version="1.0"?><s:Envelope xmlns:s="` + space + `">` + header + `<s:Body>` + body + `</s:Body></s:Envelope>`
}

const create = `<CreateInvoice channel="web" xmlns="urn:erp" xmlns:c="urn:common" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><customer i:type="c:Person"><c:name>A</c:name></customer><number>INV-001</number><currency>EUR</currency><iban>DE02</iban>` +
	`<line><sku>a</sku><qty>1</qty><price>1.00</price></line><note>n</note></CreateInvoice>`

// read reads an envelope, and returns its operation and the text of its document
// and headers, or the problem.
func read(t *testing.T, s *Service, text, action string) (operation, out string) {
	t.Helper()
	e, refused, err := Parse(t.Context(), []byte(text), "", "")
	switch {
	case err != nil:
		return "", err.Error()
	case refused != nil:
		return refused.Code, refused.Detail
	}
	c, refused := s.Find(e, action)
	if refused == nil {
		refused = c.Understands(true)
	}
	if refused != nil {
		return refused.Code, refused.Detail
	}
	doc, headers, wrong, err := s.Document(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(wrong) > 0 {
		return c.Name, "violation: " + wrong[0].Pointer + ": " + wrong[0].Detail
	}
	return c.Name, doc.Data() + string(document.AppendJSON(nil, headers))
}

func TestRead(t *testing.T) {
	s, calc := service(t, ""), service(t, "Calc")
	ping := `<Ping xmlns="urn:erp"/>`
	nested := strings.Repeat("<a>", 600) + strings.Repeat("</a>", 600)
	for _, test := range []struct {
		name, text, action string
		operation, want    string
		calc               bool
	}{
		{name: "an invoice", text: envelope(envelope11, `<w:Session xmlns:w="urn:erp">s-1</w:Session><m:MessageID xmlns:m="urn:wsa">u-1</m:MessageID>`, create), action: "urn:create", operation: "CreateInvoice",
			want: `{"@channel":"web","customer":{"@type":"Person","name":"A"},"number":"INV-001","currency":"EUR","iban":"DE02","line":[{"sku":"a","qty":1,"price":1.00}],"note":"n"}{"Session":"s-1","MessageID":"u-1"}`},
		{name: "SOAP 1.2", text: envelope(envelope12, "", create), operation: "CreateInvoice", want: `{"@channel":"web","customer":`},
		{name: "an operation without an output", text: envelope(envelope11, "", `<Archive xmlns="urn:erp">a</Archive>`), operation: "Archive", want: `"a"{}`},
		{name: "rpc", text: envelope(envelope11, "", `<c:Add xmlns:c="urn:calc"><a>1</a><b>2</b></c:Add>`), operation: "Add", want: `{"a":1,"b":2}{}`, calc: true},
		{name: "credentials are not passed on", text: envelope(envelope11, `<w:Security xmlns:w="`+Security+`" s:mustUnderstand="1"><w:Password>secret</w:Password></w:Security>`, ping), operation: "Ping", want: `{}{}`},
		{name: "repeated headers", text: envelope(envelope11, `<h>1</h><h>2</h><h>3</h>`, ping), operation: "Ping", want: `{}{"h":["1","2","3"]}`},
		{name: "a mandatory header for another node", text: envelope(envelope11, `<h s:mustUnderstand="1" s:actor="urn:other">1</h>`, ping), operation: "Ping", want: `{}`},
		{name: "an invalid value", text: envelope(envelope11, "", strings.Replace(create, "<qty>1<", "<qty>0<", 1)), operation: "CreateInvoice", want: "violation: /line/0/qty: 0 is less than 1"},
		{name: "an invalid header", text: envelope(envelope11, `<w:Session xmlns:w="urn:erp"><x/></w:Session>`, create), operation: "CreateInvoice", want: "violation: /Header/Session: the element contains elements"},
		{name: "an unknown mandatory header", text: envelope(envelope11, `<h s:mustUnderstand="1" xmlns="urn:h">1</h>`, ping), operation: CodeNotUnderstood, want: "The header <h> of the namespace `urn:h` is mandatory"},
		{name: "a mandatory header of SOAP 1.2", text: envelope(envelope12, `<h s:mustUnderstand="true" s:role="`+envelope12+`/role/ultimateReceiver">1</h>`, create), operation: CodeNotUnderstood, want: "<h>"},
		{name: "an unknown element", text: envelope(envelope11, "", `<Pong xmlns="urn:erp"/>`), operation: "unknown_operation", want: "No operation has the body element <Pong>. Did you mean <Ping>?"},
		{name: "a wrong namespace", text: envelope(envelope11, "", `<Ping xmlns="urn:er"/>`), operation: "unknown_operation", want: "The element <Ping> is in the namespace `urn:er`, not in `urn:erp`."},
		{name: "an empty body", text: envelope(envelope11, "", ""), operation: "unknown_operation", want: "The body is empty."},
		{name: "the action of another operation", text: envelope(envelope11, "", ping), action: "urn:archive", operation: "unknown_operation", want: "The action is that of Archive, but the body is that of Ping."},
		{name: "two elements", text: envelope(envelope11, "", ping+ping), operation: "invalid_envelope", want: "The body has more than one element."},
		{name: "text", text: envelope(envelope11, "", "hello"), operation: "invalid_envelope", want: "The body contains text"},
		{name: "no body", text: `<s:Envelope xmlns:s="` + envelope11 + `"/>`, operation: "invalid_envelope", want: "The envelope has no <Body>."},
		{name: "an element after the body", text: strings.Replace(envelope(envelope11, "", ping), "</s:Body>", "</s:Body><x/>", 1), operation: "invalid_envelope", want: "The element <x> is not allowed"},
		{name: "no envelope", text: ping, operation: "invalid_envelope", want: "The root element is <Ping>, not <Envelope>."},
		{name: "another version", text: envelope("urn:soap13", "", ping), operation: CodeVersion, want: "The namespace of the envelope is `urn:soap13`"},
		{name: "a version without a port", text: envelope(envelope12, "", ping), operation: CodeVersion, want: "This service speaks SOAP 1.1, not 1.2.", calc: true},
		{name: "an attribute bomb", text: envelope(envelope11, "", `<Ping xmlns="urn:erp" `+strings.Repeat(`b="" `, 2000)+"/>"), want: "more than 1000 attributes"},
		{name: "deep nesting", text: envelope(envelope11, "", nested), want: "nested deeper than"},
		{name: "a document type", text: `<!DOCTYPE x [<!ENTITY a "b">]>` + ping, want: "document type declarations"},
		{name: "an entity", text: envelope(envelope11, "", "&xxe;"), want: "xxe"},
		{name: "another encoding", text: "\xff\xfe<\x00", want: "unexpected EOF"},
		{name: "bytes that are no text", text: envelope(envelope11, "", "\xff"), want: "UTF-8"},
	} {
		svc := s
		if test.calc {
			svc = calc
		}
		operation, got := read(t, svc, test.text, test.action)
		if operation != test.operation || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s %s, want %s %s", test.name, operation, got, test.operation, test.want)
		}
	}
}

func TestReply(t *testing.T) {
	s := service(t, "")
	for _, test := range []struct{ operation, doc, want string }{
		{"CreateInvoice", `{"number":"INV-001","total":21.00}`, `<n1:CreateInvoiceResponse xmlns:n1="urn:erp"><n1:number>INV-001</n1:number><n1:total>21.00</n1:total></n1:CreateInvoiceResponse>`},
		{"CreateInvoice", `{"number":"INV-001","total":"a lot"}`, "/total: `a lot` is not a number"},
		{"CreateInvoice", `null`, ": `number` is missing"},
		{"Ping", `{}`, `<n1:Ping xmlns:n1="urn:erp"></n1:Ping>`},
		{"Archive", `{}`, ``},
	} {
		text, wrong, err := s.Reply(t.Context(), s.Operation(test.operation), document.Parse(test.doc))
		got := string(text)
		if len(wrong) > 0 {
			got = wrong[0].Pointer + ": " + wrong[0].Detail
		}
		if err != nil || got != test.want {
			t.Errorf("%s: got %v %s, want %s", test.doc, err, got, test.want)
		}
	}
}

// The header blocks of a reply are those that the WSDL declares.
func TestReplyHeaders(t *testing.T) {
	s := service(t, "Erp11")
	for _, test := range []struct{ operation, blocks, want, wrong string }{
		{"CreateInvoice", `{"Session":"a<b"}`, `<n1:Session xmlns:n1="urn:erp">a&lt;b</n1:Session>`, ""},
		{"CreateInvoice", `{}`, "", ""},
		{"CreateInvoice", `{"Session":{"a":1}}`, "", "/Header/Session: it must be text, not an object"},
		{"CreateInvoice", `{"Other":1}`, "", "/Header/Other: the WSDL declares no such header for the output of CreateInvoice"},
		{"Ping", `{"Session":"a"}`, "", "/Header/Session: the WSDL declares no such header for the output of Ping"},
		{"Archive", `{"Any":1}`, "", ""},
	} {
		blocks, _ := document.Decode(document.Parse(test.blocks)).(*document.Object)
		text, wrong, err := s.Headers(t.Context(), s.Operation(test.operation), blocks)
		got := ""
		if len(wrong) > 0 {
			got = wrong[0].Pointer + ": " + wrong[0].Detail
		} else if string(text) != test.want {
			got = string(text)
		}
		if err != nil || got != test.wrong {
			t.Errorf("%s %s: got %v %s %s, want %s %s", test.operation, test.blocks, err, text, got, test.want, test.wrong)
		}
	}
	body := string(Envelop(wsdl.SOAP12, []byte("<a/>"), []byte("<b/>")))
	if want := `"><soap:Header><a/></soap:Header><soap:Body><b/></soap:Body>`; !strings.Contains(body, want) {
		t.Errorf("got %s, want %s in it", body, want)
	}
}

func TestFault(t *testing.T) {
	s := service(t, "")
	invalid := &problem.Document{Status: 400, Code: "invalid_document", Title: "Invalid document", Detail: "It does not match.", Errors: []problem.Violation{{Pointer: "/line/0/qty", Detail: "0 is less than 1"}}}
	for _, test := range []struct {
		name    string
		version wsdl.Version
		problem *problem.Document
		status  int
		want    []string
	}{
		{"an error of the client", wsdl.SOAP11, invalid, 500, []string{"<faultcode>soap:Client</faultcode>", "It does not match: /line/0/qty: 0 is less than 1</faultstring>", `<detail><problem xmlns="urn:ietf:rfc:7807">`}},
		{"an error of the sender", wsdl.SOAP12, invalid, 500, []string{"<soap:Value>soap:Sender</soap:Value></soap:Code>", "<soap:Detail>"}},
		{"an error of the service", wsdl.SOAP12, problem.Internal(), 500, []string{"soap:Receiver"}},
		{"a rejection", wsdl.SOAP11, &problem.Document{Status: 409, Code: "out_of_stock", Detail: "<none>", Rejected: true}, 500, []string{`<faultcode xmlns:e="urn:erp">e:out_of_stock</faultcode>`, "&lt;none&gt;"}},
		{"a rejection in 1.2", wsdl.SOAP12, &problem.Document{Status: 409, Code: "out_of_stock", Detail: "none", Rejected: true}, 500, []string{`soap:Sender</soap:Value><soap:Subcode><soap:Value xmlns:e="urn:erp">e:out_of_stock</soap:Value></soap:Subcode>`}},
		{"an unknown header", wsdl.SOAP12, &problem.Document{Status: 400, Code: CodeNotUnderstood}, 500, []string{"soap:MustUnderstand"}},
		{"another version", wsdl.SOAP11, &problem.Document{Status: 400, Code: CodeVersion}, 500, []string{"soap:VersionMismatch"}},
		{"a wrong token", wsdl.SOAP11, &problem.Document{Status: 400, Code: CodeFailedSecurity}, 500, []string{`<faultcode xmlns:e="` + Security + `">e:FailedAuthentication`}},
		{"a large body", wsdl.SOAP11, &problem.Document{Status: 413, Code: "too_large", Title: "Too large"}, 413, []string{"soap:Client", "Too large"}},
		{"a busy service", wsdl.SOAP12, &problem.Document{Status: 503, Code: "unavailable", Title: "Unavailable"}, 503, []string{"soap:Receiver"}},
	} {
		body, status := s.Fault(t.Context(), test.version, s.Operation("CreateInvoice"), test.problem)
		if _, err := convert.XMLTree(t.Context(), body); err != nil || status != test.status {
			t.Errorf("%s: got %d %v, want %d and XML", test.name, status, err, test.status)
		}
		for _, want := range test.want {
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: got %s, want %s in it", test.name, body, want)
			}
		}
	}
}

// A declared fault element is the only entry of the detail. Others are replaced by
// the problem document.
func TestFaultDetail(t *testing.T) {
	s := service(t, "")
	const declared = `<n1:InvalidInvoice xmlns:n1="urn:erp"><n1:field>a&lt;b</n1:field><n1:code>7</n1:code></n1:InvalidInvoice>`
	for _, test := range []struct{ operation, detail, want, wrong string }{
		{"CreateInvoice", `{"InvalidInvoice":{"code":7,"field":"a<b"}}`, declared, ""},
		{"CreateInvoice", `{"InvalidInvoice":{"code":"x","field":"a"}}`, "", "/InvalidInvoice/code: `x` is not an integer"},
		{"CreateInvoice", `{"InvalidInvoise":{}}`, "", ": the WSDL declares no fault element InvalidInvoise for CreateInvoice"},
		{"CreateInvoice", `{}`, "", ": it must be an object with one key, the name of a fault element"},
		{"CreateInvoice", `{"InvalidInvoice":{"code":7,"field":"a"},"Other":1}`, "", ": it must be an object with one key, the name of a fault element"},
		{"CreateInvoice", `"text"`, "", ": it must be an object with one key, the name of a fault element"},
		{"Ping", `{"InvalidInvoice":{}}`, "", ": the WSDL declares no fault element InvalidInvoice for Ping"},
		{"Archive", `{"Any":1}`, "", ""},
		{"", `{"Any":1}`, "", ""},
	} {
		op := s.Operation(test.operation)
		text, wrong, err := s.FaultDetail(t.Context(), op, []byte(test.detail))
		got := ""
		if len(wrong) > 0 {
			got = wrong[0].Pointer + ": " + wrong[0].Detail
		}
		if err != nil || string(text) != test.want || got != test.wrong {
			t.Errorf("%s %s: got %v %s %s, want %s %s", test.operation, test.detail, err, text, got, test.want, test.wrong)
		}
		for v, element := range map[wsdl.Version]string{wsdl.SOAP11: "detail", wsdl.SOAP12: "soap:Detail"} {
			content := test.want
			if content == "" {
				content = `<problem xmlns="urn:ietf:rfc:7807">`
			}
			body, _ := s.Fault(t.Context(), v, op, &problem.Document{Status: 409, Code: "wrong", Rejected: true, Execution: "x1", Fault: []byte(test.detail)})
			if !strings.Contains(string(body), "<"+element+">"+content) {
				t.Errorf("%s %s: got %s, want %s in its detail", test.operation, test.detail, body, content)
			}
		}
	}
}

// TestDescribe reads the published WSDL as a client does, by its links.
func TestDescribe(t *testing.T) {
	s := service(t, "Erp11")
	get := func(query string) (string, bool) {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		b, ok := s.Describe(values, "https://atom.example/erp?a&b")
		return string(b), ok
	}
	text, _ := get("WSDL")
	for _, want := range []string{`schemaLocation="https://atom.example/erp?a&amp;b?xsd=1"`, `<soap:address location="https://atom.example/erp?a&amp;b"/>`, `<soap12:address location="http://erp.example/soap12"/>`} {
		if !strings.Contains(text, want) {
			t.Errorf("got %s, want %s in it", text, want)
		}
	}
	if text, _ = get("xsd=1"); !strings.Contains(text, `?xsd=2"`) {
		t.Errorf("got %s, want a link to the included schema", text)
	}
	if _, ok := get("xsd=2"); !ok {
		t.Error("got no included schema, want it")
	}
	for _, query := range []string{"xsd=3", "wsdl=1", "xsd=../../etc/passwd", "xsd"} {
		if _, ok := get(query); ok {
			t.Errorf("%s: got a file, want none", query)
		}
	}
}

func TestNew(t *testing.T) {
	d, problems := wsdl.Read("erp.wsdl", files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, test := range []struct{ service, port, want string }{
		{"Erpp", "", "service: the WSDL has no service `Erpp`: did you mean `Erp`?"},
		{"", "Erp13", "port: the WSDL has no port `Erp13`: did you mean"},
	} {
		_, err := New(d, test.service, test.port)
		wrong, ok := err.(*SelectError)
		if got := ""; ok {
			if got = wrong.Key + ": " + wrong.Error(); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		} else {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}
