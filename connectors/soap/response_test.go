package soap

import (
	"errors"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"valence/internal/fault"
)

func TestResponsesAreChecked(t *testing.T) {
	for _, test := range []struct{ name, body, doc, problem string }{
		{"missing element", `<number>INV-001</number>`, `{"number":"INV-001"}`, "the element `total` is missing"},
		{"wrong type", `<number>INV-001</number><total>much</total>`, `{"number":"INV-001","total":"much"}`, "/total: `much` is not a number"},
		{"facet", `<number>7</number><total>1</total>`, `{"number":"7","total":1}`, "/number: `7` does not match the pattern"},
		{"twice", `<number>INV-001</number><total>1</total><total>2</total>`, `{"number":"INV-001","total":[1,2]}`, "the element `total` occurs 2 times, the maximum is 1"},
		{"nil", `<number>INV-001</number><total xsi:nil="true" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"/>`, `{"number":"INV-001","total":null}`, "/total: the element cannot be nil"},
		{"elements in a text", `<number><a/></number><total>1</total>`, `{"number":null,"total":1}`, "/number: the element contains elements, but must be text"},
		{"unknown element", `<number>INV-001</number><vat rate="19"><a>1</a></vat><total>1</total>`, `{"number":"INV-001","vat":{"@rate":"19","a":"1"},"total":1}`, ""},
		{"another order", `<total>1</total><number>INV-001</number>`, `{"total":1,"number":"INV-001"}`, ""},
		{"another namespace", `<number xmlns="">INV-001</number><total xmlns="urn:x">1</total>`, `{"number":"INV-001","total":1}`, ""},
	} {
		url := serve(t, 200, envelope(envelope11, `<CreateInvoiceResponse xmlns="urn:erp">`+test.body+`</CreateInvoiceResponse>`), nil)
		r, err := call(t, &settings{URL: url}, t.Context(), "CreateInvoice", invoice)
		if err != nil || r.Doc.Data() != test.doc {
			t.Errorf("%s: got %v %v without checks, want %s", test.name, r, err, test.doc)
		}
		r, err = call(t, &settings{URL: url, CheckResponses: true}, t.Context(), "CreateInvoice", invoice)
		var f *fault.Failure
		switch {
		case test.problem == "" && (err != nil || r.Doc.Data() != test.doc):
			t.Errorf("%s: got %v %v, want %s", test.name, r, err, test.doc)
		case test.problem != "" && (!errors.As(err, &f) || f.Code != fault.CodeAnswer || !strings.Contains(f.Message, "the response does not match the schema of CreateInvoice: "+test.problem)):
			t.Errorf("%s: got %v, want %s", test.name, err, test.problem)
		}
	}
}

// related serves a multipart response.
func related(t *testing.T, contentType, body string) string {
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestAttachments(t *testing.T) {
	const include = `<note><x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:%s"/></note>`
	root := func(extra string) string {
		return envelope(envelope11, `<CreateInvoiceResponse xmlns="urn:erp"><number>INV-001</number><total>1</total>`+extra+`</CreateInvoiceResponse>`)
	}
	one := strings.Replace(include, "%s", "a%40x", 1)
	part := func(header, body string) string { return "--b\r\n" + header + "\r\n\r\n" + body + "\r\n" }
	attached := part("Content-ID: <a@x>\r\nContent-Transfer-Encoding: binary", "\x00\xff<&\r\n")
	const related11 = `multipart/related; boundary=b; type="application/xop+xml"; start="<root>"; start-info="text/xml"`
	first := func(xml string) string { return part("Content-ID: <root>\r\nContent-Type: application/xop+xml", xml) }
	for _, test := range []struct{ name, contentType, body, doc, problem string }{
		{"binary", related11, first(root(one)) + attached + "--b--", `{"number":"INV-001","total":1,"note":"AP88Jg0K"}`, ""},
		{"root last", related11, attached + first(root(one)) + "--b--", `{"number":"INV-001","total":1,"note":"AP88Jg0K"}`, ""},
		{"no start", "multipart/related; boundary=b", first(root(one)) + attached + "--b--", `{"number":"INV-001","total":1,"note":"AP88Jg0K"}`, ""},
		{"base64", related11, first(root(one)) + part("Content-ID: <a@x>\r\nContent-Transfer-Encoding: base64", "AP88\r\nJg0K") + "--b--", `{"number":"INV-001","total":1,"note":"AP88Jg0K"}`, ""},
		{"no reference", related11, first(root("")) + attached + "--b--", `{"number":"INV-001","total":1}`, ""},
		{"missing", related11, first(root(one)) + "--b--", "", "refers to the attachment `cid:a%40x`, which the response does not have"},
		{"twice", related11, first(root(one+one)) + attached + "--b--", "", "which another element refers to"},
		{"no root", related11, attached + "--b--", "", "no part with the envelope"},
		{"cut off", related11, first(root(one)) + "--b\r\nContent-ID: <a@x>\r\n\r\nab", "", "cannot be read"},
		{"no boundary", "multipart/related", "x", "", "boundary"},
		{"many parts", related11, first(root("")) + strings.Repeat(part("A: b", ""), 1001) + "--b--", "", "more than 1000 parts"},
	} {
		r, err := call(t, &settings{URL: related(t, test.contentType, test.body)}, t.Context(), "CreateInvoice", invoice)
		var f *fault.Failure
		switch {
		case test.problem == "" && (err != nil || r.Doc.Data() != test.doc):
			t.Errorf("%s: got %v %v, want %s", test.name, r, err, test.doc)
		case test.problem != "" && (!errors.As(err, &f) || f.Code != fault.CodeAnswer || !strings.Contains(f.Message, test.problem)):
			t.Errorf("%s: got %v, want %s", test.name, err, test.problem)
		}
	}
}

// TestLargeResponseIsBounded answers with 50 MB of XML. The call must not read
// more than max_response.
func TestLargeResponseIsBounded(t *testing.T) {
	var sent int64
	done := make(chan struct{})
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.Body)
		chunk := []byte(strings.Repeat("<a>x</a>", 8<<10))
		for sent < 50<<20 {
			n, err := w.Write(chunk)
			sent += int64(n)
			if err != nil {
				return
			}
		}
	}))
	defer s.Close()
	_, err := call(t, &settings{URL: s.URL, MaxResponse: 1 << 20}, t.Context(), "CreateInvoice", invoice)
	var f *fault.Failure
	if !errors.As(err, &f) || f.Code != fault.CodeTooLarge {
		t.Errorf("got %v, want too_large", err)
	}
	if <-done; sent > 30<<20 {
		t.Errorf("the server could send %d bytes, want the call to stop reading", sent)
	}
}
