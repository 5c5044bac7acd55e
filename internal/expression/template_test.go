package expression

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/fault"
)

// yamlNode decodes plain YAML.
func yamlNode(t *testing.T, text string) *Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return fromYAML(doc.Content[0])
}

func fromYAML(y *yaml.Node) *Node {
	n := &Node{Pos: fault.Pos{File: "map.yaml", Line: y.Line, Col: y.Column}}
	switch y.Kind {
	case yaml.MappingNode:
		n.Kind = Mapping
		for i := 0; i < len(y.Content); i += 2 {
			k := y.Content[i]
			n.Keys = append(n.Keys, Key{Name: k.Value, Pos: fault.Pos{File: "map.yaml", Line: k.Line, Col: k.Column}, Value: fromYAML(y.Content[i+1])})
		}
	case yaml.SequenceNode:
		n.Kind = Sequence
		for _, c := range y.Content {
			n.Items = append(n.Items, fromYAML(c))
		}
	default:
		switch y.Tag {
		case "!!null":
		case "!!bool":
			n.Value = y.Value == "true"
		case "!!int", "!!float":
			n.Value = document.Number(y.Value)
		default:
			n.Value = y.Value
			if y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
				n.Text = n.Pos
				n.Text.Col++
			}
		}
	}
	return n
}

// TestTemplate checks the output of templates for the order of fixture_test.go.
func TestTemplate(t *testing.T) {
	for _, c := range []struct{ name, template, want string }{
		{"constants", "{b: 1.10, a: [true, null, text], c: {}}", `{"b":1.10,"a":[true,null,"text"],"c":{}}`},
		{"paths", "id: ${doc.id}\nname: ${doc.customer.name}\ntext: ${doc.text}\nnone: ${doc.none}\ntags: ${doc.customer.tags}\nall: ${doc.empty}",
			`{"id":4711,"name":"Ada Ünlü","text":"a \"quoted\" \\ line\nnext","none":null,"tags":["a", "b"],"all":[]}`},
		{"expressions", "total: ${sum(doc.items, .price * .qty)}\ntext: No. ${doc.id}\ntype: \"${doc.paid ? 'paid' : 'open'}\"", `{"total":45.28,"text":"No. 4711","type":"paid"}`},
		{"scalar", "${doc.customer.tags}", `["a", "b"]`},
		{"scalar text", "${doc.id}/x", `"4711/x"`},
		{"whole name", "${vars}", `{"n":3,"list":[1,2],"order":{"a":{"b":[1,{"c":"deep"}]}}}`},
		{"list", "- ${doc.id}\n- x\n- [1, '${doc.note}']", `[4711,"x",[1,null]]`},
		{"each", "lines:\n  $each: ${doc.items}\n  no: ${index + 1}\n  sku: ${item.sku}\n  sum: ${item.price * item.qty}",
			`{"lines":[{"no":1,"sku":"x1","sum":39.98},{"no":2,"sku":"x2","sum":0.3},{"no":3,"sku":"x3","sum":5}]}`},
		{"each at the root", "$each: ${doc.customer.tags}\ntag: ${item}", `[{"tag":"a"},{"tag":"b"}]`},
		{"each of a computed list", "$each: ${1..3}\nn: ${item * 2}", `[{"n":2},{"n":4},{"n":6}]`},
		{"each of an object", "$each: ${doc.customer}\nid: ${item.id}\nat: ${index}", `[{"id":7,"at":0}]`},
		{"each of nothing", "$each: ${doc.empty}\nid: ${item.id}", `[]`},
		{"each of nil", "$each: ${doc.none}\nid: ${item.id}", "expression: $each needs a list, got nil; write … ?? [] if it may be missing: `doc.none`"},
		{"each of nil with ??", "$each: ${doc.none ?? []}\nid: ${item.id}", `[]`},
		{"each of text", "$each: ${doc.number}\nid: ${item.id}", "expression: $each needs a list, got text: `doc.number`"},
		{"each with as", "$each: ${doc.items}\n$as: line\nsku: ${line.sku}\nouter: ${item.sku}", `[{"sku":"x1","outer":"x2"},{"sku":"x2","outer":"x2"},{"sku":"x3","outer":"x2"}]`},
		{"each nested", "$each: ${doc.items[0:2]}\n$as: line\nsku: ${line.sku}\ntags:\n  $each: ${doc.customer.tags}\n  tag: ${item}${line.qty}\n  at: ${index}\nat: ${index}",
			`[{"sku":"x1","tags":[{"tag":"a2","at":0},{"tag":"b2","at":1}],"at":0},{"sku":"x2","tags":[{"tag":"a3","at":0},{"tag":"b3","at":1}],"at":1}]`},
		{"each of item's own list", "$each: '${[{l: [1, 2]}, {l: []}]}'\nl:\n  $each: ${item.l}\n  v: ${item}", `[{"l":[{"v":1},{"v":2}]},{"l":[]}]`},
		{"each in a list", "- first\n- $each: ${doc.customer.tags}\n  tag: ${item}\n- $each: ${doc.empty}\n  tag: ${item}\n- last", `["first",{"tag":"a"},{"tag":"b"},"last"]`},
		{"each in a list, first and empty", "- $each: ${doc.empty}\n  tag: ${item}\n- last", `["last"]`},
		{"each with when", "$each: ${doc.items}\n$when: ${item.on}\nsku: ${item.sku}", `[{"sku":"x1"},{"sku":"x3"}]`},
		{"when true", "a:\n  $when: ${doc.paid}\n  b: 1", `{"a":{"b":1}}`},
		{"when false", "x: 0\na:\n  $when: ${not doc.paid}\n  b: 1\ny: 1", `{"x":0,"y":1}`},
		{"when false, first", "a:\n  $when: ${false}\n  b: 1\ny: 1", `{"y":1}`},
		{"when false in a list", "- $when: ${doc.id == 1}\n  a: 1\n- 2", `[2]`},
		{"when false at the root", "$when: ${doc.id == 1}\na: 1", `null`},
		{"when of no boolean", "$when: ${doc.id}\na: 1", "expression: $when must be boolean, not a number; compare it, such as … > 0: `doc.id`"},
		{"omit", "a: 1\nb: ${doc.note ?? omit}\nc: '${doc.paid ? omit : 1}'\nd: ${omit}\ne: ${doc.id ?? omit}", `{"a":1,"e":4711}`},
		{"omit in a list", "- ${omit}\n- 1\n- ${doc.note ?? omit}", `[1]`},
		{"omit in each", "$each: ${doc.items}\nsku: ${item.sku}\ndiscount: ${item.discount ?? omit}", `[{"sku":"x1"},{"sku":"x2"},{"sku":"x3","discount":0.5}]`},
		{"omit at the root", "${omit}", `null`},
		{"merge", "$merge: ${doc.customer}\nname: Bob\nid: ${omit}\nnew: ${doc.id}", `{"name":"Bob","tags":["a", "b"],"address":{"city": "Köln", "a.b*c": 1},"new":4711}`},
		{"merge of a built object", "$merge: '${{b: 1, a: [2]}}'\na: ${doc.paid}", `{"b":1,"a":true}`},
		{"merge of nothing else", "$merge: ${doc.customer.address}", `{"city":"Köln","a.b*c":1}`},
		{"merge into nothing", "$merge: ${{}}\na: 1", `{"a":1}`},
		{"merge of nil", "$merge: ${doc.note}\na: 1", "expression: $merge needs an object, got nil; write … ?? {} if it may be missing: `doc.note`"},
		{"merge of a list", "$merge: ${doc.items}\na: 1", "expression: $merge needs an object, got a list: `doc.items`"},
		{"merge per element", "$each: ${doc.items}\n$when: ${item.qty > 1}\n$merge: ${item}\non: ${omit}\nsum: ${item.price * item.qty}",
			`[{"sku":"x1","price":19.99,"qty":2,"sum":39.98},{"sku":"x2","price":0.1,"qty":3,"sum":0.3}]`},
		{"dollar keys", "$$each: 1\n$$$x: 2\n$${y}: 3\na$b: 4", `{"$each":1,"$$x":2,"${y}":3,"a$b":4}`},
		{"escapes in keys", `{"a\"b": "${doc.id}"}`, `{"a\"b":4711}`},
		{"headers", "id: ${request.headers['X-Event-Id']}", `{"id":"e-1"}`},
		{"failure inside", "a:\n  b: ${doc.none.x}", "expression: cannot read `x` of nil; write `?.x` if it may be missing: `doc.none.x`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tmpl, problems := CompileTemplate(yamlNode(t, c.template), nil)
			if problems != nil {
				t.Fatalf("got %v, want no problems", problems)
			}
			for range 2 { // an evaluation must not affect the next one
				out, err := tmpl.Append([]byte("before "), env())
				got := strings.TrimPrefix(string(out), "before ")
				if err != nil {
					got = err.Error()
					if string(out) != "before " {
						t.Errorf("output after a failure: got %s, want it unchanged", out)
					}
				}
				if got != c.want {
					t.Errorf("\n got %s\nwant %s", got, c.want)
				}
				v, err := tmpl.Value(env())
				got = string(document.AppendJSON(nil, v))
				if err != nil {
					got = err.Error()
				}
				if got != c.want {
					t.Errorf("Value:\n got %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

// TestTemplateProblems checks the problems of invalid templates.
func TestTemplateProblems(t *testing.T) {
	for _, c := range [][2]string{
		{"$eahc: ${doc.items}\na: 1", "map.yaml:1:1: error: unknown directive $eahc [template_directive]\n    try: did you mean `$each`?; write $$eahc for the literal key"},
		{"$ref: a", "map.yaml:1:1: error: unknown directive $ref [template_directive]\n    try: available: $each, $as, $merge, $when; write $$ref for the literal key"},
		{"${doc.id}: a", "map.yaml:1:1: error: a key cannot be an expression [template_directive]\n    try: use fromPairs(…) or an object such as {(key): value} in an expression"},
		{"x${doc.id}: a", "map.yaml:1:1: error: a key cannot be an expression [template_directive]\n    try: use fromPairs(…) or an object such as {(key): value} in an expression"},
		{"$as: line\na: 1", "map.yaml:1:1: error: $as requires $each [template_directive]\n    try: add $each: ${…}"},
		{"$each: ${doc.items}\n$as: Line", "map.yaml:2:6: error: $as must be a name such as line [template_directive]\n    try: a name has lower-case letters, digits and _"},
		{"$each: [1, 2]\na: 1", "map.yaml:1:8: error: $each must be one expression [template_directive]\n    try: write an expression, such as $each: ${doc}"},
		{"$each: ${1}\na: 1", "map.yaml:1:8: error: $each must be a list, not a number [expression_type]"},
		{"$each: text\na: 1", "map.yaml:1:8: error: $each must be a list, not text [expression_type]"},
		{"$each: ${nil}\na: 1", "map.yaml:1:8: error: $each must be a list, not nil [expression_type]\n    try: write … ?? [] if it may be missing"},
		{"$when: ${1}\na: 1", "map.yaml:1:8: error: $when must be boolean, not a number [expression_type]\n    try: compare it, such as … > 0"},
		{"$merge: ${[]}\na: 1", "map.yaml:1:9: error: $merge must be an object, not a list [expression_type]"},
		{"$merge: ${omit}\na: 1", "map.yaml:1:11: error: omit must be the whole value of a key [template_directive]\n    try: use omit alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"},
		{"a: x${omit}", "map.yaml:1:7: error: omit must be the whole value of a key [template_directive]\n    try: use omit alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"},
		{"a: ${omit == 1}", "map.yaml:1:6: error: omit must be the whole value of a key [template_directive]\n    try: use omit alone, such as ${omit} or ${doc.vat ?? omit}, as the value of a key in a template"},
		{"a:\n  $each: ${doc.items}\n  $as: line\n  b: ${lime.sku}\nc: ${line.sku}", "map.yaml:4:8: error: unknown name lime [expression_name]\n    try: did you mean `line`?\n" +
			"map.yaml:5:6: error: unknown name line [expression_name]\n    try: available: doc, env, error, execution, index, input, item, props, raw, request, response, secret, state, steps, vars"},
		{"a: '${dc.id}'\nb: ${upper(1)}", "map.yaml:1:7: error: unknown name dc [expression_name]\n    try: did you mean `doc`?\n" +
			"map.yaml:2:12: error: upper(…) expects text here, not a number [expression_type]\n    try: use string(…) to convert a number to text"},
	} {
		_, problems := CompileTemplate(yamlNode(t, c[0]), nil)
		if got := problems.Error(); got != c[1] {
			t.Errorf("%s\n got %s\nwant %s", c[0], got, c[1])
		}
	}
}

func TestTemplateFacts(t *testing.T) {
	tmpl, _ := CompileTemplate(yamlNode(t, "$merge: ${doc}\n$$a: 1\nb: ${vars.x}\nc:\n  $each: ${doc.items}\n  d: ${item.sku}"), nil)
	if got := strings.Join(tmpl.Keys(), " "); got != "$a b c" {
		t.Errorf("keys: got %s, want $a b c", got)
	}
	var refs []string
	for _, r := range tmpl.Refs() {
		refs = append(refs, strings.Join(r.Path, "."))
	}
	if got := strings.Join(refs, " "); got != "doc vars.x doc.items" {
		t.Errorf("refs: got %s, want doc vars.x doc.items", got)
	}
	if tmpl.Constant() {
		t.Error("Constant: got true, want false")
	}
	for _, s := range []string{"a: 1\nb: ['${1 + 1}', {c: x}]", "text", "- 1"} {
		if tmpl, _ := CompileTemplate(yamlNode(t, s), nil); !tmpl.Constant() {
			t.Errorf("%s: Constant: got false, want true", s)
		}
	}
	deep := &Node{Value: "x"}
	for range 200 {
		deep = &Node{Kind: Sequence, Items: []*Node{deep}}
	}
	if _, problems := CompileTemplate(deep, nil); len(problems) != 1 || problems[0].Code != CodeTooLarge {
		t.Errorf("got %v, want one problem %s", problems, CodeTooLarge)
	}
}
