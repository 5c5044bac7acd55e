package expression

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"valence/internal/document"
)

// entry documents an operator or a name. Its example is an expression over the
// sample values below.
type entry struct{ name, doc, example string }

var operators = []entry{
	{"+", "Adds numbers or joins text.", `"EUR " + "12.50"`},
	{"-", "Subtracts numbers, or negates one.", `doc.total - 100`},
	{"*", "Multiplies numbers.", `doc.items[0].price * 3`},
	{"/", "Divides numbers: exact if the result is an integer, otherwise rounded to 34 digits.", `doc.total / 4`},
	{"%", "The remainder of a division, with the sign of the first number.", `-7 % 3`},
	{"** ^", "The first number to the power of the second.", `2 ** 10`},
	{"== !=", "Whether two values are equal or not: numbers by value, objects regardless of key order.", `doc.total == 1249.9`},
	{"< <= > >=", "Compares two numbers, or two texts by code point. Dates in RFC 3339 compare as text.", `doc.items[0].price >= 12.5`},
	{"and &&", "Whether both conditions are true. The second is evaluated only if the first is true.", `doc.paid and doc.total > 1000`},
	{"or ||", "Whether at least one condition is true. The second is evaluated only if the first is false.", `doc.paid or doc.missing.key`},
	{"not !", "Whether the condition is false.", `not doc.paid`},
	{"??", "The first value, or the second if the first is nil.", `doc.customer.vat ?? "none"`},
	{"?:", "The second value if the condition is true, otherwise the third.", `doc.paid ? "paid" : "open"`},
	{"in", "Whether a list contains a value, or an object contains a key. The opposite is `not in`.", `"vat" in doc.customer`},
	{"contains", "Whether text contains the second text.", `doc.number contains "47"`},
	{"startsWith endsWith", "Whether text starts or ends with the second text.", `doc.number startsWith "A-"`},
	{"matches", "Whether text matches a regular expression ([RE2](https://github.com/google/re2/wiki/Syntax)).", `doc.number matches "^A-[0-9]+$"`},
	{"..", "The list of integers from the first to the second number.", `1..4`},
	{".", "The value of a key. A missing key is nil; reading a key of nil is an error.", `doc.customer.name`},
	{"?.", "The value of a key, or nil if the value before it is nil.", `doc.delivery?.address?.city`},
	{"[ ]", "The element at an index, or the value of a computed key. Negative indexes count from the end.", `doc.items[-1].sku`},
	{"[a:b]", "The elements or characters from a up to, but not including, b. Either bound may be omitted.", `doc.number[2:]`},
	{"|", "Passes the value on its left as the first argument of a function.", `doc.number | lower() | trimPrefix("a-")`},
	{"{ }", "An object. A key in parentheses is computed.", `{id: doc.id, (doc.currency): doc.total}`},
	{"[ , ]", "A list.", `[doc.id, doc.paid, nil]`},
	{"let", "Names a value for the expression after the semicolon.", `let net = doc.total / 1.25; doc.total - net`},
	{"#", "The element inside a function that evaluates an expression per element; `.key` is short for `#.key`.", `filter([5, 10, 15], # > 7)`},
	{"#index", "The index of that element, counted from 0.", `map(["a", "b"], string(#index) + #)`},
	{"#acc", "The previous value inside `reduce`.", `reduce([1, 2, 3], #acc + #, 10)`},
}

var scopeNames = []entry{
	{"doc", "The current document as data.", `doc.customer.name`},
	{"raw", "The current document as text or bytes, exactly as received.", `raw contains "Lovelace"`},
	{"input", "The document that started the execution. It never changes.", `input.id`},
	{"request", "The HTTP request: `method path params query headers user correlation_id`, and with `input: soap` the `operation`. Nil if there was none. Header names are case-insensitive, and a repeated header is a list.", `request.headers["X-Event-ID"]`},
	{"response", "`status headers` of the latest call. Nil before the first call.", `response.status`},
	{"props", "The process properties of the message: from the trigger, an execution request or a calling process.", `props.region`},
	{"vars", "The variables of `set:` and `into:`.", `vars.attempts + 1`},
	{"steps", "The results of earlier steps with a `name:`.", `steps.price.net`},
	{"item", "The current element in `for_each` and `$each`; `as:` and `$as` rename it.", `item.sku`},
	{"index", "The index of that element, counted from 0.", `index + 1`},
	{"error", "The failure in `catch:`: `code message status body detail step retryable cause`.", `error.code`},
	{"state", "The persisted state of the process, and its `version`.", `state.watermark`},
	{"env", "The values of the environment, fixed when the execution starts.", `env.SHOP_URL + "/orders"`},
	{"secret", "The secrets of the environment. Allowed in connections, `auth`, the `with:` of a call and `hmac()` only.", `len(hmac(secret.WEBHOOK_KEY, raw))`},
	{"execution", "The execution: `id process started_at`.", `execution.process`},
}

// sampleDocument is the document of the examples.
const sampleDocument = `{
  "id": 4711,
  "number": "A-4711",
  "created": "2026-01-31T09:30:00Z",
  "currency": "EUR",
  "total": 1249.90,
  "paid": true,
  "customer": { "name": "Ada Lovelace", "vat": null },
  "items": [
    { "sku": "A-100", "price": 12.50, "quantity": 2 },
    { "sku": "B-200", "price": 3.10, "quantity": 1 },
    { "sku": "A-100", "price": 10, "quantity": 4 }
  ]
}`

// sample resolves the other names of the examples.
var sample = map[string]string{
	"request":   `{"method": "POST", "path": "/orders", "headers": {"x-event-id": "e-1"}}`,
	"response":  `{"status": 201, "headers": {}}`,
	"props":     `{"region": "north"}`,
	"vars":      `{"attempts": 2}`,
	"steps":     `{"price": {"net": 1050.34}}`,
	"item":      `{"sku": "B-200", "price": 3.10, "quantity": 1}`,
	"index":     `1`,
	"error":     `{"code": "timeout", "message": "no response in time", "status": null, "retryable": true}`,
	"state":     `{"watermark": "2026-01-30T00:00:00Z", "version": 7}`,
	"env":       `{"SHOP_URL": "https://shop.example"}`,
	"secret":    `{"WEBHOOK_KEY": "example"}`,
	"execution": `{"id": "x-1", "process": "orders", "started_at": "2026-01-31T09:30:00Z"}`,
}

type sampleNames struct{}

func (sampleNames) Name(root string) (any, bool) {
	switch root {
	case "doc", "input":
		return document.Parse(sampleDocument), true
	case "raw":
		return sampleDocument, true
	}
	text, ok := sample[root]
	return document.Parse(text), ok
}

// evaluate returns the result of an example as JSON text.
func evaluate(example string) (string, error) {
	sc := standardScope()
	sc.Library = sampleLibrary()
	e, problems := Compile(&Node{Value: "${" + example + "}"}, sc)
	if problems.HasErrors() {
		return "", problems
	}
	v, err := e.Eval(&Env{
		Names:    sampleNames{},
		Now:      time.Date(2026, 1, 31, 9, 30, 0, 0, time.UTC),
		UUID:     func(string, int) string { return "3f2b8c1e-5d47-4a0b-9c66-0e1f2a3b4c5d" },
		Callback: func(name string) (string, error) { return "https://atom.example/callbacks/" + name, nil },
	})
	if err != nil {
		return "", err
	}
	return string(document.AppendJSON(nil, v)), nil
}

// Reference returns the reference of expressions in Markdown: every operator,
// name and function with an example and its result. It fails if an example does.
func Reference() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, referenceIntro, sampleDocument)
	b.WriteString("## Names\n\nWhich of these names an expression can read depends on its place; `valence lint` reports the others.\n\n")
	if err := table(&b, "name", scopeNames); err != nil {
		return nil, err
	}
	b.WriteString("## Operators\n\nFrom strongest to weakest: `. ?. [ ]`, `??`, `** ^`, unary `-`, `* / %`, `not`, `+ -`, `..`, comparisons with `in contains startsWith endsWith matches`, `and`, `or`, `|`, `? :`. `??` needs parentheses next to most other operators; lint says where.\n\n")
	if err := table(&b, "operator", operators); err != nil {
		return nil, err
	}
	b.WriteString("## Functions\n\nArguments in brackets are optional.\n\n")
	for _, g := range functionGroups {
		fmt.Fprintf(&b, "### %s\n\n", g.title)
		var entries []entry
		for _, f := range g.functions {
			if !f.alias {
				entries = append(entries, entry{f.Usage, f.Doc, f.Example})
			}
		}
		if err := table(&b, "function", entries); err != nil {
			return nil, err
		}
	}
	if err := layoutReference(&b); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func table(b *bytes.Buffer, kind string, entries []entry) error {
	cell := strings.NewReplacer("|", `\|`)
	fmt.Fprintf(b, "| %s | meaning | example | result |\n| --- | --- | --- | --- |\n", kind)
	for _, e := range entries {
		result, err := evaluate(e.example)
		if err != nil {
			return fmt.Errorf("example %s: %w", e.example, err)
		}
		fmt.Fprintf(b, "| `%s` | %s | `%s` | `%s` |\n", cell.Replace(e.name), cell.Replace(e.doc), cell.Replace(e.example), cell.Replace(result))
	}
	b.WriteByte('\n')
	return nil
}

const referenceIntro = "# Expressions\n\n<!-- Generated by `make generate`. -->\n\n" +
	"`${ … }` in any string of a process is an expression. If it is the whole value, the result keeps its type; within other text it is converted to text. " +
	"Write `$${` for a literal `${`. Every example on this page runs in the tests.\n\n" +
	"- Types: null, boolean, number, text, list and object. `nil` is the null value.\n" +
	"- A missing key is `nil`. Reading a key of `nil` is an error; use `?.` if the value may be missing, and `??` for a default.\n" +
	"- Arithmetic is exact: integers have any length, and decimals are rounded to 34 digits.\n" +
	"- Text is quoted with `\"…\"`, `'…'` or backticks. `/* … */` and `// …` are comments.\n" +
	"- An evaluation is limited to 1,000,000 steps and 64 MiB. Exceeding a limit is the failure `expression_limit`; any other failure has the code `expression`.\n\n" +
	"The examples use this document as `doc`:\n\n```json\n%s\n```\n\n"

// Doc describes a name or a function that expressions may use, for editors.
type Doc struct{ Name, Usage, Text, Example string }

// NameDocs describes the names in the order of the reference.
func NameDocs() []Doc {
	var out []Doc
	for _, e := range scopeNames {
		out = append(out, Doc{e.name, e.name, e.doc, e.example})
	}
	return out
}

// FunctionDocs describes the functions in the order of the reference.
func FunctionDocs() []Doc {
	var out []Doc
	for _, g := range functionGroups {
		for _, f := range g.functions {
			if !f.alias {
				out = append(out, Doc{f.Name, f.Usage, f.Doc, f.Example})
			}
		}
	}
	return out
}
