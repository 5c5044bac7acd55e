package soap

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
)

// templateOf compiles a body written in YAML.
func templateOf(t *testing.T, text string) *expression.Template {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		t.Fatal(err)
	}
	tmpl, problems := expression.CompileTemplate(nodeOf(root.Content[0]), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return tmpl
}

func nodeOf(n *yaml.Node) *expression.Node {
	out := &expression.Node{Pos: fault.Pos{Line: n.Line, Col: n.Column}}
	switch n.Kind {
	case yaml.MappingNode:
		out.Kind = expression.Mapping
		for i := 0; i < len(n.Content); i += 2 {
			out.Keys = append(out.Keys, expression.Key{Name: n.Content[i].Value, Pos: fault.Pos{Line: n.Content[i].Line, Col: n.Content[i].Column}, Value: nodeOf(n.Content[i+1])})
		}
	case yaml.SequenceNode:
		out.Kind = expression.Sequence
		for _, e := range n.Content {
			out.Items = append(out.Items, nodeOf(e))
		}
	default:
		switch n.Tag {
		case "!!int", "!!float":
			out.Value = document.Number(n.Value)
		case "!!null":
		default:
			out.Value = n.Value
		}
	}
	return out
}

func operationOf(t *testing.T, name string) *connectors.Operation {
	t.Helper()
	all, problems := describe(&settings{WSDL: "erp.wsdl"}, files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	op, ok := connectors.FindOperation(all, name)
	if !ok {
		t.Fatalf("there is no operation %s", name)
	}
	return op
}

// good is a body that matches, with expressions.
const good = `"@channel": web
customer: { "@type": Company, name: "${doc.name}", vat: DE1 }
number: INV-001
currency: EUR
iban: "${doc.iban}"
line:
  - $each: ${doc.lines}
    sku: ${item.sku}
    qty: ${item.qty}
    price: 1.5
note: null
`

func TestBodiesAreChecked(t *testing.T) {
	op := operationOf(t, "CreateInvoice")
	for _, test := range []struct{ old, new, want string }{
		{"", "", ""},
		{"number:", "numbr:", "3:1 : `numbr` is not an element of this element; did you mean `number`?"},
		{"number: INV-001\n", "", "1:1 : `number` is missing; add `number:`"},
		{"number: INV-001\n", "number: null\n", "1:1 : `number` is missing; add `number:`"},
		{"number: INV-001", "number: [INV-001]", ""},
		{"number: INV-001", "number: ${omit}", ""},
		{"number: INV-001", "number: { a: 1 }", "3:9 at /number: it must be text, not an object"},
		{"number: INV-001", "number: X", "3:9 at /number: `X` does not match the pattern"},
		{"number: INV-001", "number: INV-${doc.x}", ""},
		{"currency: EUR", "currency: eur", "4:11 at /currency: `eur` is not one of EUR, USD"},
		{"iban: \"${doc.iban}\"\n", "", "1:1 : one of `iban`, `card` is missing; add one of them"},
		{"iban:", "card:", ""},
		{"iban: \"${doc.iban}\"", "card: { '#text': 1, '@expires': '${doc.until}' }", ""},
		{"iban:", "card: { '#text': '1', '@expires': 2020-10 }\niban:", ""}, // the expression may return null
		{`"${doc.iban}"`, `DE02`, ""},
		{"sku:", "skv:", "8:5 at /line: `skv` is not an element of the type Line; did you mean `sku`?"},
		{"price: 1.5", "price: much", "10:12 at /line/price: `much` is not a number"},
		{"qty: ${item.qty}", "qty: [1]", ""},
		{"price: 1.5", "$when: ${item.ok}\n    price: 1.555", "/line/price: 1.555 has more than 2 decimal places"},
		{`"@channel": web`, `"@channl": web`, "1:1 : `@channl` is not an attribute of this element; did you mean `channel`?"},
		{`"@channel": web`, `"@channel": web` + "\n" + `"@priority": high`, "2:14 at /@priority: `high` is not an integer"},
		{`"@channel": web` + "\n", "", "1:1 : `@channel` is missing"},
		{"Company", "Compny", "2:22 at /customer: `@type: Compny` is not derived from Party; did you mean `Company`?"},
		{"Company", "'${doc.type}'", ""},
		{"vat", "born", "2:52 at /customer: `born` is not an element of the type Company"},
		{`"@type": Company, `, "", "2:11 at /customer: the type Party is abstract; set `@type` to one of Person, Company"},
		{"note: null", "extra: { '@xmlns': 'urn:x' }\nnote: null", ""},
		{"note: null", "extra: x\nnote: null", "11:1 : `extra` is not an element of this element"},
		{"note: null", "note: ${doc.note}", ""},
		{"note: null", "$merge: ${doc}", ""},
		{good, "[1]", "1:1 : it must be an object, not a list"},
		{good, "a ${doc.b}", "1:1 : it must be an object, not text"},
		{good, "${doc}", ""},
		{good, "{}", "1:1 : `@channel` is missing"},
		{good, "~", "`@channel` is missing"},
	} {
		body := strings.Replace(good, test.old, test.new, 1)
		var got []string
		for _, p := range op.CheckBody(templateOf(t, body).Shape()) {
			got = append(got, fmt.Sprintf("%d:%d %s; %s", p.Line, p.Col, strings.TrimPrefix(strings.TrimPrefix(p.Msg, "the document does not match the schema of CreateInvoice"), " "), p.Hint))
		}
		text := strings.Join(got, "\n")
		if test.want == "" && text != "" || !strings.Contains(text, test.want) {
			t.Errorf("%s → %s: got %s, want %s", test.old, test.new, text, test.want)
		}
	}
}

// TestLintAgreesWithTheCall checks that no body which lint rejects would be sent,
// and that a completely literal body which lint accepts is.
func TestLintAgreesWithTheCall(t *testing.T) {
	op := operationOf(t, "CreateInvoice")
	base := `{"@channel":"web","line":[{"sku":"a","qty":1,"price":1}],"number":"INV-001","customer":{"@type":"Person","name":"A"},"note":null,"currency":"EUR","iban":"x"}`
	for _, test := range []struct{ old, new string }{
		{"", ""}, {`"iban":"x"`, `"iban":"x","card":{"#text":"1","@expires":"2020-10"}`}, {`"iban":"x"`, `"card":{"#text":"1"}`}, {`"iban":"x"`, `"card":"1"`},
		{`"note":null`, `"note":["a","b"]`}, {`"note":null,`, ``}, {`[{"sku"`, `[{"gift":"yes","sku"`}, {`"qty":1`, `"qty":0`}, {`"line":[`, `"line":[null,`},
		{`"name":"A"`, `"name":""`}, {`"name":"A"`, `"name":"A","member":[{"@type":"Company","name":"B"}]`}, {`"currency":"EUR"`, `"currency":null`}, {`"EUR"`, `7`},
		{`"line":[{"sku":"a","qty":1,"price":1}]`, `"line":{"sku":"a","qty":1,"price":1}`}, {`"line":[{"sku":"a","qty":1,"price":1}]`, `"line":[]`}, {base, `null`}, {base, `[]`}, {base, `"x"`},
	} {
		body := strings.Replace(base, test.old, test.new, 1)
		problems := op.CheckBody(templateOf(t, body).Shape())
		_, err := call(t, &settings{URL: "http://127.0.0.1:1", Port: "Erp11"}, t.Context(), "CreateInvoice", body)
		f := fault.AsFailure(err)
		if refused := f.Code == "bad_call"; refused != (len(problems) > 0) {
			t.Errorf("%s: got lint %v and the call %v, want them to agree", body, problems, err)
		}
	}
}

func TestHeadersAreChecked(t *testing.T) {
	op := operationOf(t, "CreateInvoice")
	wrong := op.Check(&callWith{Headers: map[string]any{"Sesion": "x"}})
	if len(wrong) != 1 || !strings.Contains(wrong[0], "no header `Sesion` for CreateInvoice (did you mean `Session`?)") {
		t.Errorf("got %v, want the unknown header", wrong)
	}
	if wrong := op.Check(&callWith{Headers: map[string]any{"Session": "${doc.s}"}}); len(wrong) > 0 {
		t.Errorf("got %v, want no problems", wrong)
	}
}

func TestCodesOfFaults(t *testing.T) {
	for port, want := range map[string][]string{"Erp11": {"Server", "Client", "Client.", "Limit", "FailedAuthentication"}, "Erp12": {"Sender", "Receiver", "Limit"}} {
		all, problems := describe(&settings{WSDL: "erp.wsdl", Port: port, FaultCodes: []string{"Limit"}}, files)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		for _, code := range want {
			if !slices.Contains(all[0].Codes, code) {
				t.Errorf("%s: got %v, want also %s", port, all[0].Codes, code)
			}
		}
		if slices.Contains(all[0].Codes, "Anything") {
			t.Errorf("%s: got a code that no fault has", port)
		}
	}
}

func TestKeysOfBodies(t *testing.T) {
	op := operationOf(t, "CreateInvoice")
	for _, test := range []struct {
		path []string
		want string
	}{
		{nil, "@priority:an integer @channel:text! customer:an object! number:text! currency:text! due:a date iban:text card:text line:a list! note:text!"},
		{[]string{"line"}, "sku:text! qty:an integer! price:a number! gift:true or false"},
		{[]string{"customer"}, "@type:text! name:text! member:a list"},
		{[]string{"customer", "member"}, "@type:text! name:text! member:a list"},
		{[]string{"card"}, "@expires:a gYearMonth! #text:text!"},
		{[]string{"number"}, ""},
		{[]string{"nothing", "below"}, ""},
	} {
		var got []string
		for _, k := range op.Body(test.path) {
			text := k.Name + ":" + k.Type
			if k.Required {
				text += "!"
			}
			got = append(got, text)
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%v: got %s, want %s", test.path, text, test.want)
		}
	}
}
