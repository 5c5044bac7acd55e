package wsdl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/fault"
)

// folder returns the files below testdata.
func folder(name string) ([]byte, bool) {
	b, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	return b, err == nil
}

func erp(t testing.TB) *Definition {
	t.Helper()
	d, problems := Read("erp.wsdl", folder)
	if len(problems) > 0 {
		t.Fatalf("got %v, want no problems", problems)
	}
	return d
}

func TestRead(t *testing.T) {
	d := erp(t)
	if got, want := strings.Join(d.PortNames(), " "), "Erp11 Erp12 Calc"; got != want {
		t.Errorf("got ports %s, want %s", got, want)
	}
	create := d.Port("").Operation("CreateInvoice")
	if create.Doc != "Creates an invoice." || create.Action != "urn:create" || len(create.Input.Headers) != 1 || len(create.Faults) != 1 {
		t.Errorf("got %+v, want documentation, action, a header and a fault", create)
	}
	if d.Port("Erp.Erp12").Version != SOAP12 || d.Port("Calc").Operations[0].Style != RPC || d.Port("").Operation("Archive").Output != nil {
		t.Errorf("got other versions, styles or outputs")
	}
}

// violations returns the violations as text.
func violations(list []fault.Violation) string {
	var parts []string
	for _, v := range list {
		parts = append(parts, v.Pointer+": "+v.Detail)
	}
	return strings.Join(parts, "\n")
}

const valid = `{"@channel":"web","line":[{"qty":2,"sku":"a&b","price":"10.50"}],"number":"INV-001","customer":{"@type":"Company","vat":"DE1","name":"A","member":[{"@type":"Person","name":"B"}]},"note":null,"currency":"EUR","iban":"DE02"}`

func TestEncode(t *testing.T) {
	d := erp(t)
	op := d.Port("").Operation("CreateInvoice")
	w := d.Schemas.NewEncoder(t.Context())
	wrong, err := w.Element(op.Input.Body, document.Parse(valid))
	if err != nil || len(wrong) > 0 {
		t.Fatalf("got %v %v, want no violations", err, violations(wrong))
	}
	want := `<n1:CreateInvoice channel="web"><n1:customer xsi:type="n2:Company"><n2:name>A</n2:name><n2:member xsi:type="n2:Person"><n2:name>B</n2:name></n2:member><n2:vat>DE1</n2:vat></n1:customer>` +
		`<n1:number>INV-001</n1:number><n1:currency>EUR</n1:currency><n1:iban>DE02</n1:iban><n1:line><n1:sku>a&amp;b</n1:sku><n1:qty>2</n1:qty><n1:price>10.50</n1:price></n1:line><n1:note xsi:nil="true"/></n1:CreateInvoice>`
	if got := string(w.Bytes()); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	text := strings.Replace(want, "<n1:CreateInvoice", "<n1:CreateInvoice"+string(w.Declarations()), 1)
	root, err := convert.XMLTree(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	data, wrong, err := d.Schemas.Decode(t.Context(), root, op.Input.Body)
	if err != nil || len(wrong) > 0 {
		t.Fatalf("got %v %v, want no violations", err, violations(wrong))
	}
	back := `{"@channel":"web","customer":{"@type":"Company","name":"A","member":[{"@type":"Person","name":"B"}],"vat":"DE1"},"number":"INV-001","currency":"EUR","iban":"DE02","line":[{"sku":"a&b","qty":2,"price":10.50}],"note":null}`
	if string(data) != back {
		t.Errorf("got %s, want %s", data, back)
	}
}

func TestEncodeViolations(t *testing.T) {
	d := erp(t)
	op := d.Port("").Operation("CreateInvoice")
	for _, test := range []struct{ old, new, want string }{
		{`"iban":"DE02"`, `"ibn":"DE02"`, ": `ibn` is not an element of this element (did you mean `iban`?)\n: one of `iban`, `card` is missing"},
		{`"iban":"DE02"`, `"iban":"DE02","card":{"#text":"1","@expires":"2026-01"}`, ": `card` cannot stand together with the other elements: the schema allows only one of them"},
		{`"number":"INV-001",`, ``, ": `number` is missing"},
		{`"qty":2`, `"qty":0`, "/line/0/qty: 0 is less than 1"},
		{`"qty":2`, `"qty":"two"`, "/line/0/qty: `two` is not an integer"},
		{`"qty":2`, `"qty":{}`, "/line/0/qty: it must be an integer, not an object"},
		{`"10.50"`, `"10.505"`, "/line/0/price: 10.505 has more than 2 decimal places"},
		{`"currency":"EUR"`, `"currency":"EURO"`, "/currency: `EURO` is not one of EUR, USD (did you mean `EUR`?)"},
		{`"INV-001"`, `"XINV-001"`, "/number: `XINV-001` does not match the pattern INV-\\d{3,}"},
		{`"INV-001"`, `["INV-001","INV-002"]`, ": `number` occurs 2 times, the maximum is 1"},
		{`"@type":"Company"`, `"@type":"Compny"`, "/customer: `@type: Compny` is not derived from Party (did you mean `Company`?)\n/customer: `vat` is not an element of the type Party"},
		{`"@type":"Company",`, ``, "/customer: the type Party is abstract: set `@type` to one of Person, Company\n/customer: `vat` is not an element of the type Party"},
		{`"@channel":"web",`, ``, ": `@channel` is missing"},
		{`"@channel":"web"`, `"@chanel":"web"`, ": `@channel` is missing\n: `@chanel` is not an attribute of the element (did you mean `channel`?)"},
		{`"a&b"`, `"a\u0001b"`, "/line/0/sku: XML cannot contain the character U+0001"},
	} {
		text := strings.Replace(valid, test.old, test.new, 1)
		if text == valid {
			t.Fatalf("%s is not in the document", test.old)
		}
		wrong, err := d.Schemas.NewEncoder(t.Context()).Element(op.Input.Body, document.Parse(text))
		if got := violations(wrong); err != nil || got != test.want {
			t.Errorf("%s: got %v\n%s, want\n%s", test.new, err, got, test.want)
		}
	}
}

func TestDecodeViolations(t *testing.T) {
	d := erp(t)
	op := d.Port("").Operation("CreateInvoice")
	const text = `<CreateInvoice channel="web" xmlns="urn:erp" xmlns:c="urn:common" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><customer i:type="c:Person"><c:name>A</c:name></customer><number>INV-001</number><currency>EUR</currency><due>2026-02-28</due>` +
		`<card expires="2027-01">4111</card><line><sku>a</sku><qty>1</qty><price>1.00</price><gift>1</gift></line><note>n</note><x:more xmlns:x="urn:x" a="1"><x:y>1</x:y><x:y>2</x:y></x:more></CreateInvoice>`
	const want = `{"@channel":"web","customer":{"@type":"Person","name":"A"},"number":"INV-001","currency":"EUR","due":"2026-02-28","card":{"@expires":"2027-01","#text":"4111"},"line":[{"sku":"a","qty":1,"price":1.00,"gift":true}],"note":"n","more":{"@a":"1","y":["1","2"]}}`
	for _, test := range []struct{ old, new, want string }{
		{"", "", ""},
		{"<number>INV-001</number>", "", ": the element number is missing before `currency`"},
		{"<number>INV-001</number>", "<numbr>INV-001</numbr>", ": the element number is missing before `numbr` (did you mean `number`?)"},
		{"<number>INV-001</number><currency>EUR</currency>", "<currency>EUR</currency><number>INV-001</number>", ": the element `currency` must not stand before number"},
		{"<number>INV-001</number>", "<number xmlns='urn:other'>INV-001</number>", ": the element `number` is in the namespace `urn:other`, not in `urn:erp`"},
		{"<currency>EUR</currency>", "<currency>GBP</currency>", "/currency: `GBP` is not one of EUR, USD"},
		{"2026-02-28", "2026-02-30", "/due: `2026-02-30` is not a date"},
		{"<qty>1</qty>", "<qty>1.5</qty>", "/line/0/qty: `1.5` is not an integer"},
		{"<qty>1</qty>", "<qty>99999999999</qty>", "/line/0/qty: 99999999999 is greater than 2147483647"},
		{"<note>n</note>", "<note>n</note><note>m</note>", ": the element `note` is not allowed at this place"},
		{`channel="web"`, `channel="web" chanel="x"`, ": the attribute `chanel` is not allowed (did you mean `channel`?)"},
		{` expires="2027-01"`, "", "/card: the attribute expires is missing"},
		{"c:Person", "c:Nobody", "/customer: the xsi:type `c:Nobody` is not known"},
		{"<sku>a</sku>", "text<sku>a</sku>", "/line/0: the element contains text, but must contain only elements"},
	} {
		root, err := convert.XMLTree(t.Context(), []byte(strings.Replace(text, test.old, test.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		data, wrong, err := d.Schemas.Decode(t.Context(), root, op.Input.Body)
		if got := violations(wrong); err != nil || got != test.want {
			t.Errorf("%s: got %v\n%s, want\n%s", test.new, err, got, test.want)
		}
		if test.old == "" && string(data) != want {
			t.Errorf("got %s, want %s", data, want)
		}
	}
}

// TestProblems changes one line of the WSDL.
func TestProblems(t *testing.T) {
	original, _ := folder("erp.wsdl")
	for _, test := range []struct{ old, new, want string }{
		{`schemaLocation="common/types.xsd"`, `schemaLocation="https://example.com/types.xsd"`, "erp.wsdl:5:7: error: `https://example.com/types.xsd` is on the network, and imports are read from the project only"},
		{`schemaLocation="common/types.xsd"`, `schemaLocation="../../types.xsd"`, "erp.wsdl:5:7: error: `../../types.xsd` is outside of the project"},
		{`schemaLocation="common/types.xsd"`, `schemaLocation="/etc/passwd"`, "erp.wsdl:5:7: error: `/etc/passwd` is outside of the project"},
		{`schemaLocation="common/types.xsd"`, `schemaLocation="file:///etc/passwd"`, "erp.wsdl:5:7: error: `file:///etc/passwd` is on the network"},
		{`schemaLocation="common/types.xsd"`, `schemaLocation="common/type.xsd"`, "erp.wsdl:5:7: error: the file `common/type.xsd` does not exist"},
		{`type="tns:Line"`, `type="tns:Lin"`, "did you mean `Line`?"},
		{`type="tns:Line"`, `type="zzz:Line"`, "error: the prefix of `zzz:Line` is not declared"},
		{`binding="tns:Erp12"`, `binding="tns:Erp13"`, "the WSDL has no binding `tns:Erp13`"},
		{`<soap:body use="literal" namespace="urn:calc"/></input>`, `<soap:body use="encoded" namespace="urn:calc"/></input>`, "has use=\"encoded\", which is not supported"},
		{`<definitions name="Erp"`, `<!DOCTYPE x [<!ENTITY a "b">]><definitions name="Erp"`, "erp.wsdl:2:1: error: document type declarations (<!DOCTYPE) are not allowed"},
		{`<definitions name="Erp"`, `<definitions name="&xxe;"`, "erp.wsdl:2:"},
		{`maxOccurs="unbounded"/>
            <xs:element name="note"`, `maxOccurs="many"/>
            <xs:element name="note"`, "`maxOccurs` must be a number, not `many`"},
		{`base="xs:int"`, `base="xs:itn"`, "no schema declares the type `itn`"},
	} {
		text := strings.Replace(string(original), test.old, test.new, 1)
		if text == string(original) {
			t.Fatalf("%s is not in the WSDL", test.old)
		}
		_, problems := Read("erp.wsdl", func(name string) ([]byte, bool) {
			if name == "erp.wsdl" {
				return []byte(text), true
			}
			return folder(name)
		})
		if !strings.Contains(problems.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", test.new, problems, test.want)
		}
	}
}

// TestHostileSchemas reads schemas that need much time or memory if they are
// followed naively.
func TestHostileSchemas(t *testing.T) {
	bomb := strings.Builder{}
	for i := range 40 { // each group contains the next one twice
		bomb.WriteString(`<xs:group name="g` + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `"><xs:sequence>`)
		for range 2 {
			bomb.WriteString(`<xs:group ref="t:g` + string(rune('a'+(i+1)%26)) + string(rune('a'+(i+1)/26)) + `"/>`)
		}
		bomb.WriteString(`</xs:sequence></xs:group>`)
	}
	bomb.WriteString(`<xs:group name="go` + string(rune('a'+1)) + `"><xs:sequence><xs:element name="x"/></xs:sequence></xs:group><xs:complexType name="T"><xs:group ref="t:gaa"/></xs:complexType>`)
	for name, test := range map[string]struct{ body, want string }{
		"group bomb":     {bomb.String(), "parts"},
		"group cycle":    {`<xs:group name="a"><xs:sequence><xs:group ref="t:a"/></xs:sequence></xs:group><xs:complexType name="T"><xs:group ref="t:a"/></xs:complexType>`, "contains itself"},
		"type cycle":     {`<xs:complexType name="A"><xs:complexContent><xs:extension base="t:B"/></xs:complexContent></xs:complexType><xs:complexType name="B"><xs:complexContent><xs:extension base="t:A"/></xs:complexContent></xs:complexType>`, "derived from itself"},
		"simple cycle":   {`<xs:simpleType name="A"><xs:restriction base="t:B"/></xs:simpleType><xs:simpleType name="B"><xs:restriction base="t:A"/></xs:simpleType>`, "derived from itself"},
		"attribute bomb": {`<xs:element name="a" ` + strings.Repeat(`b="" `, 2000) + `/>`, "more than 1000 attributes"},
		"deep nesting":   {strings.Repeat("<a>", 600) + strings.Repeat("</a>", 600), "nested deeper than"},
	} {
		text := `<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:t="urn:t"><types><xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:t">` + test.body + `</xs:schema></types></definitions>`
		_, problems := Read("x.wsdl", func(string) ([]byte, bool) { return []byte(text), true })
		if !strings.Contains(problems.Error(), test.want) {
			t.Errorf("%s: got %v, want %s", name, problems, test.want)
		}
	}
}
