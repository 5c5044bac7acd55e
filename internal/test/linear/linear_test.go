package linear

import (
	"context"
	"strings"
	"testing"

	"valence/cloud/platform/codec"
	"valence/internal/cli/project"
	"valence/internal/convert"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/profile"
	"valence/internal/strictyaml"
	"valence/processes"
	"valence/processes/loader"
)

// nested wraps a text of n bytes in as many levels as are allowed.
func nested(n int, open, end string, levels int) string {
	return strings.Repeat(open, levels) + `"` + strings.Repeat("x", n) + `"` + strings.Repeat(end, levels)
}

// jsons are JSON texts of about n units.
var jsons = map[string]func(n int) string{
	"long text":         func(n int) string { return `{"r":"` + Many(n, `text\n`) + `"}` },
	"many keys":         func(n int) string { return `{"r":{"k":1` + Many(n, `,"k%d":%d`) + `}}` },
	"equal-sized keys":  func(n int) string { return `{"r":{"k":1` + Many(n, `,"k%da%d":""`) + `}}` },
	"many elements":     func(n int) string { return `{"r":{"e":[1` + Many(n, `,2`) + `]}}` },
	"many empty lists":  func(n int) string { return `{"r":{"e":[{}` + Many(n, `,{}`) + `]}}` },
	"many rows":         func(n int) string { return `[{"a":"x"}` + Many(n, `,{"a":"x","b":%d}`) + `]` },
	"ragged rows":       func(n int) string { return `[{"a":1}` + Many(n, `,{"a%d":1}`) + `]` },
	"one wide row":      func(n int) string { return `[{"a":1` + Many(n, `,"a%d":"\""`) + `}]` },
	"deep objects":      func(n int) string { return nested(n, `{"a":`, `}`, 250) },
	"deep lists":        func(n int) string { return nested(n, `[`, `]`, 250) },
	"long key":          func(n int) string { return `{"r":{"` + Many(n, "k") + `":1}}` },
	"long number":       func(n int) string { return `{"r":1` + Many(n, "2") + `}` },
	"many prefixes":     func(n int) string { return `{"r":{"a":1` + Many(n, `,"@xmlns:p%d":"u"`) + Many(n, `,"p%d:e":1`) + `}}` },
	"many attributes":   func(n int) string { return `{"r":{"a":1` + Many(n, `,"@a%d":"<"`) + `}}` },
	"broken at the end": func(n int) string { return `[{"a":[[{"b":1` + Many(n, `},{"b":2`) + `}}` },
}

var xmls = map[string]func(n int) string{
	"many elements":             func(n int) string { return "<r>" + Many(n, "<a/>") + "</r>" },
	"different elements":        func(n int) string { return "<r>" + Many(n, "<a%d>x</a%d>") + "</r>" },
	"one element, n attributes": func(n int) string { return "<r" + Many(n, ` a%d=""`) + "/>" },
	"full elements":             func(n int) string { return "<r>" + Many(n/900, "<e"+Many(900, ` a%d=""`)+"/>") + "</r>" },
	"attributes with breaks":    func(n int) string { return "<r>" + Many(n, "<a b='\r\n'/>") + "<a b='" + Many(n, "\r\n") + "'/></r>" },
	"declarations":              func(n int) string { return "<r>" + Many(n/900, "<e"+Many(900, ` xmlns:a%d="u"`)+"/>") + "</r>" },
	"text and elements":         func(n int) string { return "<r>" + Many(n, "x<a/>") + "</r>" },
	"comments":                  func(n int) string { return "<r>" + Many(n, "x<!-- -->") + "</r>" },
	"sections":                  func(n int) string { return "<r>" + Many(n, "<![CDATA[x]]>") + "</r>" },
	"entities":                  func(n int) string { return "<r>" + Many(n, "&lt;&#10;") + "</r>" },
	"instructions":              func(n int) string { return "<r>" + Many(n, "<?a b?>") + "</r>" },
	"deep":                      func(n int) string { return Many(500, "<a>") + Many(n, "x") + Many(500, "</a>") },
	"open tags":                 func(n int) string { return "<r>" + Many(n, "<") },
	"long name":                 func(n int) string { return "<" + Many(n, "a") + "/>" },
}

var csvs = map[string]func(n int) string{
	"rows":        func(n int) string { return "a,b\n" + Many(n, "1,2\n") },
	"columns":     func(n int) string { return "a" + Many(n, ",a%d") + "\nx" + Many(n, ",") },
	"quotes":      func(n int) string { return "a\n\"" + Many(n, `""`) + `"` },
	"long name":   func(n int) string { return Many(n, "n") + "\n" + Many(n, "x\n") },
	"empty lines": func(n int) string { return "a\n" + Many(n, "\r") },
	"open quote":  func(n int) string { return "a\n" + Many(n, "\"x\"\n") + `"` },
}

var forms = map[string]func(n int) string{
	"fields":     func(n int) string { return Many(n, "a%d=1&") },
	"repeated":   func(n int) string { return Many(n, "a=%20&") },
	"ampersands": func(n int) string { return Many(n, "&") },
}

var yamls = map[string]func(n int) string{
	"keys":            func(n int) string { return Many(n, "k%d: 1\n") },
	"items":           func(n int) string { return "a:\n" + Many(n, "  - 1\n") },
	"flow items":      func(n int) string { return "a: [1" + Many(n, ", 2") + "]\n" },
	"duplicate keys":  func(n int) string { return Many(n, "k: 1\n") },
	"documents":       func(n int) string { return Many(n, "---\na: 1\n") },
	"comments":        func(n int) string { return "a: 1\n" + Many(n, "# x\n") },
	"long line":       func(n int) string { return "a: " + Many(n, "x ") + "\n" },
	"tags":            func(n int) string { return "a: [1" + Many(n, ", !t x") + "]\n" },
	"tabs":            func(n int) string { return "a:\n" + Many(n, "\t- 1\n") },
	"cut expressions": func(n int) string { return "a:\n" + Many(n, "  - ${doc.a # b}\n") },
	"anchors":         func(n int) string { return "a:\n" + Many(n, "  - &a%d 1\n") },
	"quotes":          func(n int) string { return "a: 'x" + Many(n, "''") + "'\n" },
	"open flow":       func(n int) string { return "a: " + Many(n, "[") + "\n" },
	"block text":      func(n int) string { return "a: |\n" + Many(n, "  text\n") },
}

var expressions = map[string]func(n int) string{
	"sums":    func(n int) string { return "1" + Many(n/8, "+1") },
	"text":    func(n int) string { return "'" + Many(n/2, "x") + "'" },
	"members": func(n int) string { return "doc" + Many(n/8, ".a") },
}

func parsers(t *testing.T) []Parser {
	schema, err := profile.Compile([]byte(`{"type":["object","array"],"properties":{"r":{"type":["object","string","number"],"additionalProperties":true,"uniqueItems":true}},
		"items":{"type":["object","array","string"],"uniqueItems":true}}`), "p")
	if err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	file := func(text string) processes.File { return processes.File{Name: "a.yaml", Content: []byte(text)} }
	return []Parser{
		{"CheckJSON", jsons, n, func(_ context.Context, s string) { _ = convert.CheckJSON([]byte(s)) }},
		{"JSONToXML", jsons, n, func(ctx context.Context, s string) { _, _ = convert.JSONToXML(ctx, s, "", nil) }},
		{"JSONToXML with a root", jsons, n, func(ctx context.Context, s string) { _, _ = convert.JSONToXML(ctx, s, "root", nil) }},
		{"JSONToCSV", jsons, n, func(ctx context.Context, s string) { _, _ = convert.JSONToCSV(ctx, s, true, ',') }},
		{"JSONToForm", jsons, n, func(ctx context.Context, s string) { _, _ = convert.JSONToForm(ctx, s) }},
		{"XMLToJSON", xmls, n, func(ctx context.Context, s string) { _, _ = convert.XMLToJSON(ctx, []byte(s), nil) }},
		{"CSVToJSON", csvs, n, func(ctx context.Context, s string) { _, _ = convert.CSVToJSON(ctx, []byte(s), true, ',') }},
		{"FormToJSON", forms, n, func(ctx context.Context, s string) { _, _ = convert.FormToJSON(ctx, []byte(s)) }},
		{"Plain", jsons, n, func(_ context.Context, s string) {
			if convert.CheckJSON([]byte(s)) == nil {
				document.Plain(document.Parse(s))
			}
		}},
		{"profile", jsons, n / 8, func(_ context.Context, s string) { schema.Validate(s) }},
		{"platform JSON", jsons, n, func(_ context.Context, s string) { _, _ = codec.Decode([]byte(s), codec.JSON) }},
		{"platform XML", xmls, n, func(_ context.Context, s string) { _, _ = codec.Decode([]byte(s), codec.XML) }},
		{"strictyaml", yamls, n / 8, func(_ context.Context, s string) {
			f, roots := strictyaml.Read("a.yaml", []byte(s))
			for _, r := range roots {
				f.Check(r)
			}
		}},
		{"lint", yamls, n / 16, func(_ context.Context, s string) { loader.Load([]processes.File{file(s)}, project.Catalog()) }},
		{"expression", expressions, 2000, func(_ context.Context, s string) {
			expression.Compile(&expression.Node{Kind: expression.Scalar, Value: "${" + s + "}"}, nil)
		}},
	}
}

func TestCostIsLinear(t *testing.T) { Check(t, parsers(t)) }
