package spec

import (
	"fmt"
	"slices"
	"testing"

	"gopkg.in/yaml.v3"

	"valence/internal/document"
	"valence/internal/fault"
)

type queues struct{ List []queue }

type queue struct {
	Name    string
	Durable bool
}

var queueFields = []Field{
	Objects("list", func(q *queues) *[]queue { return &q.List }, "Queues.",
		String("name", func(q *queue) *string { return &q.Name }, "Name.").Required(),
		Bool("durable", func(q *queue) *bool { return &q.Durable }, "Survives.").Or(true)),
}

func TestObjects(t *testing.T) {
	tests := []struct {
		text string
		want []queue
		code []string
	}{
		{"{}", nil, nil},
		{"list: [{ name: a }, { name: b, durable: false }]", []queue{{"a", true}, {"b", false}}, nil},
		{"list: [{ durable: true }]", []queue{{"", true}}, []string{"1:8 missing-key"}},
		{"list: [{ name: a, nam: b }]", []queue{{"a", true}}, []string{"1:19 unknown-key"}},
		{"list: [a]", []queue{{}}, []string{"1:8 wrong-type"}},
		{"list: { name: a }", nil, []string{"1:7 wrong-type"}},
		{"list: ${env.LIST}", nil, nil},
	}
	for _, test := range tests {
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(test.text), &doc); err != nil {
			t.Fatal(err)
		}
		var codes []string
		d := &Decoder{Dynamic: true, Report: func(p *fault.Problem) { codes = append(codes, fmt.Sprintf("%d:%d %s", p.Line, p.Col, p.Code)) }}
		var got queues
		d.Mapping(doc.Content[0], &Keys{What: "it", Fields: queueFields, Target: &got})
		if !slices.Equal(got.List, test.want) || !slices.Equal(codes, test.code) {
			t.Errorf("%s: got %+v %v, want %+v %v", test.text, got.List, codes, test.want, test.code)
		}
	}
	var got queues
	o, _ := document.FromPlain(map[string]any{"list": []any{map[string]any{"name": "a", "durable": false}}}).(*document.Object)
	if err := Bind(queueFields, &got, o); err != nil || !slices.Equal(got.List, []queue{{"a", false}}) {
		t.Errorf("Bind: got %+v and %v, want one queue", got.List, err)
	}
}
