package editor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"valence/internal/lsp"
)

// linked is a project in which every kind of name is used.
var linked = map[string]string{
	"library.yaml": `connection: shop
connector: http
url: http://shop.example
---
profile: order
schema: { type: object }
---
function: net
params: [gross]
returns: ${round(gross / 1.2, 2)}
---
function: twice
params: [a]
returns: ${net(a) * 2}
---
table: countries
key: code
rows: [ { code: PT, name: Portugal } ]
---
environment: prod
connections: { shop: { concurrency: 2 } }
`,
	"orders.yaml": `# 🙂🙂
process: orders
listen: { path: /orders, input: json, auth: none }
profile: order
steps:
  - name: found   # 🙂
    call: shop.get
    with: { path: "/🙂/${doc.id}", query: { a: "${net(doc.total)}" } }
  - set: { total: "${steps.found.total}" }
  - log: 🙂 ${steps["found"].id} ${vars.total} ${lookup("countries", "PT").name}
  - call: shop.post
    body: { at: '${callback("paid")}', n: "${steps?.found}" }
  - wait: paid
    timeout: 1h
    into: paid
  - process: helper
    mode: handoff
`,
	"helper.yaml": "process: helper\nsteps:\n  - name: found\n    map: { a: 1 }\n  - log: ${steps.found.a}\n",
	"tests.yaml":  "test: t\ntarget: orders\nmocks:\n  found: { reply: { id: 1 } }\n  shop.post: { reply: {} }\nsignals: [ paid: { body: {} } ]\nexpect:\n  calls:\n    - found\n    - shop.post: { body: {} }\n",
}

// places returns the places as FILE:LINE:TEXT.
func (c *client) places(list []lsp.Location) []string {
	var out []string
	for _, l := range list {
		name := strings.TrimPrefix(l.URI, c.uri("")+"/")
		line := strings.Split(c.content(name), "\n")[l.Range.Start.Line]
		out = append(out, fmt.Sprintf("%s:%d:%s", name, l.Range.Start.Line+1, between(line, l.Range)))
	}
	slices.Sort(out)
	return out
}

// between returns a part of a line, by UTF-16 code units.
func between(line string, r lsp.Range) string {
	units, out := 0, ""
	for _, c := range line {
		if units >= r.Start.Character && units < r.End.Character {
			out += string(c)
		}
		units++
		if c >= 0x10000 {
			units++
		}
	}
	return out
}

func (c *client) content(name string) string {
	c.t.Helper()
	if text, ok := c.texts[name]; ok {
		return text
	}
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// marked opens the file of linked that has a word, and returns the parameters
// of a request at it. The word is the one after the mark.
func (c *client) marked(name, before string) map[string]any {
	c.t.Helper()
	text := c.content(name)
	c.open(name, text)
	i := strings.Index(text, before)
	if i < 0 {
		c.t.Fatalf("%s has no %q", name, before)
	}
	return map[string]any{"textDocument": map[string]any{"uri": c.uri(name)}, "position": at(text, i+len(before))}
}

func TestNavigation(t *testing.T) {
	for _, test := range []struct {
		name, file, before string
		declared           string
		used               []string
	}{
		{"connection", "orders.yaml", "call: sh", "library.yaml:1:shop", []string{"library.yaml:21:shop", "orders.yaml:11:shop", "orders.yaml:7:shop", "tests.yaml:10:shop", "tests.yaml:5:shop"}},
		{"connection from a test", "tests.yaml", "  sho", "library.yaml:1:shop", nil},
		{"profile", "orders.yaml", "profile: ord", "library.yaml:5:order", []string{"orders.yaml:4:order"}},
		{"process", "orders.yaml", "process: hel", "helper.yaml:1:helper", []string{"orders.yaml:16:helper"}},
		{"process from a test", "tests.yaml", "target: o", "orders.yaml:2:orders", []string{"tests.yaml:2:orders"}},
		{"step", "orders.yaml", "${steps.fo", "orders.yaml:6:found", []string{"orders.yaml:10:found", "orders.yaml:12:found", "orders.yaml:9:found", "tests.yaml:4:found", "tests.yaml:9:found"}},
		{"step of another process", "helper.yaml", "${steps.", "helper.yaml:3:found", []string{"helper.yaml:5:found"}},
		{"function", "orders.yaml", "${ne", "library.yaml:8:net", []string{"library.yaml:14:net", "orders.yaml:8:net"}},
		{"table", "orders.yaml", "lookup(\"cou", "library.yaml:16:countries", []string{"orders.yaml:10:countries"}},
		{"variable", "orders.yaml", "${vars.", "orders.yaml:9:total", []string{"orders.yaml:10:total"}},
		{"wait", "orders.yaml", "callback(\"", "orders.yaml:13:paid", []string{"orders.yaml:12:paid", "tests.yaml:6:paid"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, linked)
			params := c.marked(test.file, test.before)
			var got []lsp.Location
			c.call("textDocument/definition", params, &got)
			if places := c.places(got); len(places) != 1 || places[0] != test.declared {
				t.Errorf("got the definition %v, want %s", places, test.declared)
			}
			params["context"] = map[string]any{"includeDeclaration": false}
			c.call("textDocument/references", params, &got)
			if places := c.places(got); test.used != nil && !slices.Equal(places, test.used) {
				t.Errorf("got the references %v, want %v", places, test.used)
			}
		})
	}
}

// TestRename renames each name and checks that the project has the same problems
// afterwards, so that no place was forgotten.
func TestRename(t *testing.T) {
	for _, test := range []struct{ name, file, before, to string }{
		{"connection", "orders.yaml", "call: sh", "store-2"},
		{"profile", "orders.yaml", "profile: ord", "purchase"},
		{"process", "orders.yaml", "process: hel", "assistant"},
		{"process with a test", "tests.yaml", "target: o", "purchases"},
		{"step", "orders.yaml", "${steps.fo", "result"},
		{"function", "orders.yaml", "${ne", "without_tax"},
		{"table", "orders.yaml", "lookup(\"cou", "nations"},
		{"variable", "orders.yaml", "${vars.", "amount"},
		{"wait", "orders.yaml", "callback(\"", "payment"},
		{"test", "tests.yaml", "test: ", "it's shipped: twice # really"},
		{"test that is a number", "tests.yaml", "test: ", "4711"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, linked)
			params := c.marked(test.file, test.before)
			params["newName"] = test.to
			var edit lsp.WorkspaceEdit
			c.call("textDocument/rename", params, &edit)
			before := c.problemsOf(nil)
			after := c.problemsOf(&edit)
			if len(before) > 0 || len(after) > 0 {
				t.Errorf("got the problems %v before and %v after it, want none", before, after)
			}
		})
	}
	c := start(t, linked)
	for name, to := range map[string]string{"a wrong name": "Not a name", "a name in use": "orders"} {
		params := c.marked("orders.yaml", "process: hel")
		params["newName"] = to
		if err := c.try("textDocument/rename", params, nil); err == nil {
			t.Errorf("got no error for %s", name)
		}
	}
}

// problemsOf returns the problems of the project after an edit.
func (c *client) problemsOf(edit *lsp.WorkspaceEdit) []string {
	c.t.Helper()
	if edit != nil {
		for uri, edits := range edit.Changes {
			name := strings.TrimPrefix(uri, c.uri("")+"/")
			c.write(name, apply(c.content(name), edits))
			delete(c.texts, name)
		}
	}
	next := start(c.t, nil)
	for name := range linked {
		next.write(name, c.content(name))
	}
	next.open("orders.yaml", next.content("orders.yaml"))
	next.diagnostics("orders.yaml")
	next.mu.Lock()
	defer next.mu.Unlock()
	var out []string
	for name, list := range next.problems {
		for _, d := range list {
			if d.Severity == 1 {
				out = append(out, name+": "+d.Message)
			}
		}
	}
	return out
}

// apply returns a text with edits, as an editor makes them.
func apply(text string, edits []lsp.TextEdit) string {
	slices.SortFunc(edits, func(a, b lsp.TextEdit) int {
		return (b.Range.Start.Line-a.Range.Start.Line)*100000 + b.Range.Start.Character - a.Range.Start.Character
	})
	for _, e := range edits {
		from, to := offset(text, e.Range.Start), offset(text, e.Range.End)
		text = text[:from] + e.NewText + text[to:]
	}
	return text
}

func offset(text string, p lsp.Position) int {
	at := 0
	for range p.Line {
		at += strings.Index(text[at:], "\n") + 1
	}
	units := 0
	for i, r := range text[at:] {
		if units >= p.Character {
			return at + i
		}
		units++
		if r >= 0x10000 {
			units++
		}
	}
	return len(text)
}

// TestCodeActions applies the correction of each mistake, which must then be gone.
func TestCodeActions(t *testing.T) {
	for _, test := range []struct{ name, text, wrong, right string }{
		{"key", before + "  - log: a\nwokers: 3\n", "wokers", "workers"},
		{"step", before + "  - lgo: a\n", "lgo", "log"},
		{"component", before + "  - call: shpo.get\n    with: { path: / }\n", "shpo", "shop"},
		{"operation", before + "  - call: shop.gett\n    with: { path: / }\n", "gett", "get"},
		{"enum", "process: p\nlisten: { path: /x, auth: none, input: jsn }\nsteps: [ { log: x } ]\n", "jsn", "json"},
		{"kind", "proces: p\nsteps: [ { log: x } ]\n", "proces:", "process:"},
		{"variable", before + "  - set: { total: 1 }\n  - log: \"🙂 ${vars.totla}\"\n", "totla", "total"},
		{"result", before + "  - name: order\n    map: { a: 1 }\n  - log: ${steps.ordre.a}\n", "ordre", "order"},
		{"function", before + "  - log: ${uper(\"a\")}\n", "uper", "upper"},
		{"field of the request", before + "  - log: ${request.headrs}\n", "headrs", "headers"},
		{"capture", before + "  - log: ${request.params.shpo}\n", "shpo", "shop"},
		{"wait", before + "  - log: ${callback(\"piad\")}\n  - wait: paid\n    timeout: 1h\n", "piad", "paid"},
		{"state", before + "  - log: ${state.markk ?? 1}\n  - state: { set: { mark: 1 } }\n", "markk", "mark"},
		{"code", before + "  - try: [ { log: a } ]\n    catch: { codes: [timeot], steps: [ { log: b } ] }\n", "timeot", "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, map[string]string{"library.yaml": library, "invoice.json": "{}"})
			c.open("p.yaml", test.text)
			problems := c.diagnostics("p.yaml")
			var actions []lsp.CodeAction
			c.call("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "range": map[string]any{"start": at("", 0), "end": at("", 0)}, "context": map[string]any{"diagnostics": problems}}, &actions)
			if len(actions) != 1 {
				t.Fatalf("got %v for %v, want one action", actions, problems)
			}
			want := strings.Replace(test.text, test.wrong, test.right, 1)
			if got := apply(test.text, actions[0].Edit.Changes[c.uri("p.yaml")]); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			// A line that has changed since is left alone.
			c.edit("p.yaml", "\n", "\n\n")
			c.call("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "context": map[string]any{"diagnostics": problems}}, &actions)
			if problems[0].Range.Start.Line > 0 && len(actions) != 0 {
				t.Errorf("got %v for a changed text, want no action", actions)
			}
		})
	}
}

func TestFormatting(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"indentation", "process: p\nsteps:\n- log: a\n-   if: ${doc.a}\n    then:\n    - log: b\n", "process: p\nsteps:\n  - log: a\n  -   if: ${doc.a}\n      then:\n        - log: b\n"},
		{"wide indentation", "process: p\nlisten:\n      path: /x\n      auth: none\nsteps:\n      - log: a\n", "process: p\nlisten:\n  path: /x\n  auth: none\nsteps:\n  - log: a\n"},
		{"comments", "process: p\nsteps:\n# first\n- log: a   # here  \n# last\n", "process: p\nsteps:\n  # first\n  - log: a   # here\n# last\n"},
		{"block scalars", "process: p\nsteps:\n- reply: |\n    a  \n      b\n\n    c\n  status: 200\n", "process: p\nsteps:\n  - reply: |\n      a  \n        b\n\n      c\n    status: 200\n"},
		{"folded", "process: p\ndescription: >\n    a\n    b\nsteps: []\n", "process: p\ndescription: >\n    a\n    b\nsteps: []\n"},
		{"lines of a flow", "process: p\nlisten: { path: /x,\n  auth: none }\nsteps:\n- map: { a: 1,\n    b: 2 }\n", "process: p\nlisten: { path: /x,\n  auth: none }\nsteps:\n  - map: { a: 1,\n      b: 2 }\n"},
		{"several components", "process: p  \nsteps: []\n---\nfunction: f\nparams:\n- a\nreturns: ${a}\n\n\n", "process: p\nsteps: []\n---\nfunction: f\nparams:\n  - a\nreturns: ${a}\n"},
		{"windows", "process: p\r\nsteps:\r\n- log: a\r\n", "process: p\r\nsteps:\r\n  - log: a\r\n"},
		{"invalid", "process: p\nsteps: [\n- log: a\n", "process: p\nsteps: [\n- log: a\n"},
		{"formatted", orders, orders},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, nil)
			c.open("p.yaml", test.text)
			var edits []lsp.TextEdit
			c.call("textDocument/formatting", map[string]any{"textDocument": map[string]any{"uri": c.uri("p.yaml")}, "options": map[string]any{"tabSize": 2}}, &edits)
			if got := apply(test.text, edits); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}
