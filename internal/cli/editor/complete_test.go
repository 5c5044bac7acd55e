package editor

import (
	"os"
	"slices"
	"strings"
	"testing"

	"valence/internal/lsp"
)

// library declares the components that the texts of the tests refer to.
const library = connections + `---
connection: pages
connector: http
url: http://pages.example
---
auth: webhook
scheme: hmac
preset: github
secret: ${secret.HOOK}
---
profile: order
schema:
  type: object
  properties:
    id: { type: integer, description: Number of the order }
    customer: { type: object, properties: { name: { type: string }, vat: { type: string } } }
    items: { type: array, items: { type: object, properties: { sku: { type: string }, qty: { type: integer } } } }
---
function: net
description: The amount without tax.
params: [gross, rate]
returns: ${round(gross / (1 + rate), 2)}
---
table: countries
key: code
rows: [ { code: PT, name: Portugal } ]
---
environment: prod
values: { SHOP_URL: https://shop.example }
secrets: { HOOK: { variable: HOOK } }
---
process: helper
description: Does something small.
steps: [ { log: hi } ]
---
test: t
target: p
input: { coupon: X1 }
mocks:
  order: { reply: { number: 1, lines: [ { no: 1 } ] } }
  erp.post: { reply: { file: invoice.json } }
`

// before is the beginning of a process that most cases complete.
const before = "process: p\nlisten: { path: \"/orders/{shop}\", auth: none }\nprofile: order\nsteps:\n"

const named = "  - name: order\n    call: shop.get\n    with: { path: / }\n"

func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string // among the proposals
		not        []string
	}{
		{"first key", "‸", []string{"process", "connection", "test"}, []string{"steps"}},
		{"first key with a prefix", "pro‸", []string{"process"}, nil},
		{"keys of a process", "process: p\n‸", []string{"listen", "steps", "dedupe"}, []string{"process", "url"}},
		{"keys of a process without those it has", before + "  - log: a\n‸", []string{"dedupe"}, []string{"steps", "listen"}},
		{"nested keys", "process: p\nlisten:\n  path: /x\n  ‸", []string{"auth", "output"}, []string{"path", "steps"}},
		{"nested keys between others", "process: p\nlisten:\n  path: /x\n  a‸\n  input: json\nsteps: []\n", []string{"auth"}, []string{"path", "input"}},
		{"keys in brackets", "process: p\nlisten: { path: /x, ‸ }\nsteps: []\n", []string{"auth", "output"}, []string{"path"}},
		{"keys in open brackets", "process: p\nlisten: { path: /x, ‸\nsteps: []\n", []string{"auth", "output"}, []string{"path"}},
		{"values of a key", "process: p\nlisten: { path: /x, input: ‸ }\n", []string{"json", "xml"}, nil},
		{"boolean", before + "  - for_each: ${doc.items}\n    collect: ‸", []string{"true", "false"}, nil},
		{"auth", "process: p\nlisten:\n  auth: ‸\n", []string{"webhook", "none"}, nil},
		{"profile", "process: p\nprofile: o‸", []string{"order"}, nil},
		{"steps", before + "  - ‸", []string{"call", "map", "if", "for_each", "name"}, []string{"with"}},
		{"steps with a prefix", before + "  - ca‸", []string{"call"}, nil},
		{"steps without a dash", before + "  ‸", []string{"call"}, nil},
		{"keys of a step", before + "  - call: shop.get\n    ‸", []string{"with", "accept", "retry", "into", "name"}, []string{"call", "map"}},
		{"keys of a step before its kind", before + "  - ‸\n    call: shop.get\n", []string{"with", "name"}, []string{"map"}},
		{"operations", before + "  - call: ‸", []string{"shop.get", "erp.post"}, nil},
		{"operations with a prefix", before + "  - call: shop.g‸", []string{"shop.get"}, nil},
		{"settings of an operation", before + "  - call: shop.get\n    with:\n      ‸", []string{"path", "query", "idempotent"}, nil},
		{"settings of an operation in brackets", before + "  - call: shop.get\n    with: { p‸ }", []string{"path"}, nil},
		{"settings of a connection", "connection: x\nconnector: http\n‸", []string{"url", "timeout", "headers"}, []string{"connector"}},
		{"connectors", "connection: x\nconnector: ‸", []string{"http", "file", "sql"}, nil},
		{"settings of a scheme", "auth: x\nscheme: jwt\n‸", []string{"jwks", "issuer"}, nil},
		{"processes", before + "  - process: ‸", []string{"helper"}, nil},
		{"steps in then", before + "  - if: ${doc.a}\n    then:\n      - ‸", []string{"call", "stop"}, nil},
		{"steps in a branch", before + "  - branch:\n      a:\n        - ‸", []string{"call"}, nil},
		{"catch", before + "  - try:\n      - log: a\n    catch:\n      ‸", []string{"codes", "handled", "steps"}, nil},
		{"codes", before + "  - try: []\n    catch:\n      codes: [‸]\n", []string{"timeout", "unavailable"}, nil},
		{"retry", before + "  - call: shop.get\n    retry:\n      ‸", []string{"max_attempts", "backoff"}, nil},
		{"names in an expression", before + "  - log: \"${‸}\"", []string{"doc", "input", "net", "upper", "lookup"}, nil},
		{"names in an unfinished expression", before + "  - log: ${do‸", []string{"doc"}, nil},
		{"fields of a profile", before + "  - log: ${doc.‸}", []string{"id", "customer", "items", "coupon"}, nil},
		{"nested fields", before + "  - log: ${doc.customer.‸}", []string{"name", "vat"}, []string{"id"}},
		{"fields of a step by a fixture", before + named + "  - log: ${steps.order.‸}", []string{"number", "lines"}, []string{"id"}},
		{"fields after a call", before + named + "  - log: ${doc.‸}", []string{"number", "lines"}, []string{"customer"}},
		{"fields of a fixture in a file", before + "  - call: erp.post\n  - log: ${doc.‸}", []string{"invoice"}, nil},
		{"fields of a map", before + "  - map: { a: 1, b: 2 }\n  - log: ${doc.‸}", []string{"a", "b"}, []string{"id"}},
		{"fields of an element", before + "  - for_each: ${doc.items}\n    as: line\n    steps:\n      - log: ${line.‸}", []string{"sku", "qty"}, nil},
		{"fields of an element in nested loops", before + "  - for_each: ${doc.items}\n    steps:\n      - for_each: ${item.parts}\n        steps:\n          - log: ${item.‸}", nil, []string{"sku"}},
		{"fields of an element outside an inner loop", before + "  - for_each: ${doc.items}\n    as: line\n    steps:\n      - for_each: ${line.parts}\n        steps:\n          - log: ${line.‸}", []string{"sku", "qty"}, nil},
		{"a loop over itself", before + "  - for_each: ${it.parts}\n    as: it\n    steps:\n      - log: ${it.‸}", nil, []string{"sku"}},
		{"doc of an element", before + "  - for_each: ${doc.items}\n    steps:\n      - log: ${doc.‸}", []string{"sku", "qty"}, []string{"id"}},
		{"names of steps", before + named + "  - log: ${steps.‸}", []string{"order"}, nil},
		{"only steps above", before + "  - log: ${steps.‸}\n" + named, nil, []string{"order"}},
		{"variables", before + "  - set: { total: 1 }\n  - call: shop.get\n    into: answer\n  - log: ${vars.‸}", []string{"total", "answer"}, nil},
		{"environment", before + "  - log: ${env.‸}", []string{"SHOP_URL"}, nil},
		{"captures", before + "  - log: ${request.params.‸}", []string{"shop"}, nil},
		{"request", before + "  - log: ${request.‸}", []string{"headers", "params"}, nil},
		{"tables", before + "  - log: ${lookup(\"‸\", doc.id)}", []string{"countries"}, nil},
		{"nothing in a string", before + "  - log: ${\"doc.‸\"}", nil, []string{"id", "doc"}},
		{"keys of a test", "test: a\ntarget: helper\n‸", []string{"mocks", "expect", "input"}, nil},
		{"mocks", "test: a\ntarget: p\nmocks:\n  ‸\n---\n" + before + named, []string{"shop.get", "order"}, nil},
		{"answers", "test: a\ntarget: helper\nmocks:\n  shop.get: { ‸ }", []string{"reply", "status", "fail"}, nil},
		{"expectations", "test: a\ntarget: helper\nexpect:\n  status: ‸", []string{"completed", "failed"}, nil},
		{"connections of an environment", "environment: e\nconnections:\n  ‸", []string{"shop", "erp"}, nil},
		{"second component", "process: p\nsteps: []\n---\nfun‸", []string{"function"}, nil},
		{"after an invalid line", "process: p\n\tx: [\nlisten:\n  ‸", []string{"path"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, map[string]string{"library.yaml": library, "invoice.json": `{"invoice": "I-1"}`})
			text, position := cut(t, test.text)
			c.open("p.yaml", text)
			var got struct{ Items []lsp.CompletionItem }
			c.call("textDocument/completion", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "position": position}, &got)
			var labels []string
			for _, item := range got.Items {
				labels = append(labels, item.Label)
			}
			for _, want := range test.want {
				if !slices.Contains(labels, want) {
					t.Errorf("got %s, want %s among them", strings.Join(labels, " "), want)
				}
			}
			for _, not := range test.not {
				if slices.Contains(labels, not) {
					t.Errorf("got %s, want no %s", strings.Join(labels, " "), not)
				}
			}
		})
	}
}

func TestHover(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"component", "proc‸ess: p\nsteps: []\n", "An integration process"},
		{"key", "process: p\nlisten: { pa‸th: /x, auth: none }\n", "URL path."},
		{"key with a default", "process: p\nwor‸kers: 3\n", "Default: `16`"},
		{"step", before + "  - ca‸ll: shop.get\n", "Calls one operation of a connection"},
		{"operation", before + "  - call: shop.g‸et\n", "It only reads."},
		{"setting", before + "  - call: shop.get\n    with: { pa‸th: / }\n", "path"},
		{"process", before + "  - process: hel‸per\n", "Does something small."},
		{"auth", "process: p\nlisten: { path: /, auth: web‸hook }\n", "Scheme `hmac`"},
		{"function of the project", before + "  - log: ${n‸et(1, 2)}\n", "net(gross, rate)"},
		{"function", before + "  - log: ${upp‸er(doc.a)}\n", "upper("},
		{"name", before + "  - log: ${inp‸ut.id}\n", "The document that started the execution"},
		{"table", before + "  - log: ${lookup(\"count‸ries\", 1)}\n", "Key `code`"},
		{"field of a profile", before + "  - log: ${doc.i‸d}\n", "Number of the order"},
		{"result of a step", before + named + "  - log: ${steps.or‸der.number}\n", "`lines`, `number`"},
		{"value", before + "  - log: ${env.SHOP_‸URL}\n", "https://shop.example"},
		{"setting of a connection", "connection: c\nconnector: http\nu‸rl: http://x\n", "url"},
		{"nothing", "process: p\ndescription: some te‸xt\n", "Purpose, shown to operators"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, map[string]string{"library.yaml": library})
			text, position := cut(t, test.text)
			c.open("p.yaml", text)
			var got lsp.Hover
			c.call("textDocument/hover", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "position": position}, &got)
			if got.Contents == nil || !strings.Contains(got.Contents.Value, test.want) {
				t.Errorf("got %+v, want %q", got.Contents, test.want)
			}
		})
	}
}

// TestCompletionOfDescribedOperations completes the operations of a WSDL, and the
// keys of the bodies by its schema.
func TestCompletionOfDescribedOperations(t *testing.T) {
	wsdl, err := os.ReadFile("../../../connectors/soap/testdata/erp.wsdl")
	if err != nil {
		t.Fatal(err)
	}
	types, err := os.ReadFile("../../../connectors/soap/testdata/common/types.xsd")
	if err != nil {
		t.Fatal(err)
	}
	base, err := os.ReadFile("../../../connectors/soap/testdata/common/base.xsd")
	if err != nil {
		t.Fatal(err)
	}
	const head = "connection: soapy\nconnector: soap\nwsdl: erp.wsdl\nidempotent: natural\n---\nprocess: p\nsteps:\n"
	for _, test := range []struct{ name, text, want string }{
		{"operation", head + "  - call: soapy.‸\n", "soapy.CreateInvoice"},
		{"key", head + "  - call: soapy.CreateInvoice\n    body:\n      cur‸\n", "currency"},
		{"attribute", head + "  - call: soapy.CreateInvoice\n    body:\n      a‸: 1\n", "@channel"},
		{"nested key", head + "  - call: soapy.CreateInvoice\n    body:\n      line:\n        - sku: a\n          q‸\n", "qty"},
		{"after $each", head + "  - call: soapy.CreateInvoice\n    body:\n      line:\n        $each: ${input.lines}\n        pr‸\n", "price"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, map[string]string{"erp.wsdl": string(wsdl), "common/types.xsd": string(types), "common/base.xsd": string(base)})
			text, position := cut(t, test.text)
			c.open("p.yaml", text)
			c.diagnostics("p.yaml")
			var got struct{ Items []lsp.CompletionItem }
			c.call("textDocument/completion", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "position": position}, &got)
			if !slices.ContainsFunc(got.Items, func(i lsp.CompletionItem) bool { return i.Label == test.want }) {
				t.Errorf("got %v, want also %s", got.Items, test.want)
			}
		})
	}
}
