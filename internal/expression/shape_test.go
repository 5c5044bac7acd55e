package expression

import (
	"fmt"
	"strings"
	"testing"
)

// describe writes a shape as text: ? is unknown, ?: an optional field.
func describe(s *Shape) string {
	switch {
	case s == nil:
		return "?"
	case s.Fixed != nil:
		return string(s.Fixed)
	case s.Type == TypeList:
		return "[" + describe(s.Item) + "]"
	case s.Type == TypeObject:
		var fields []string
		for _, f := range s.Fields {
			mark := ":"
			if f.Optional {
				mark = "?:"
			}
			fields = append(fields, f.Name+mark+describe(f.Value))
		}
		if s.Open {
			fields = append(fields, "…")
		}
		return "{" + strings.Join(fields, " ") + "}"
	case s.Type == TypeUnknown:
		return "?"
	}
	return fmt.Sprint(s.Type)
}

func TestTemplateShape(t *testing.T) {
	for _, c := range []struct{ template, want string }{
		{"a: 1\nb: ${doc.x}\nc: no ${doc.id}", "{a:1 b:? c:text}"},
		{"a: ${doc.x ?? omit}\nb: { $when: '${doc.y}', c: x }", `{a?:? b?:{c:"x"}}`},
		{"$each: ${doc.items}\nsku: ${item.sku}", "[{sku:?}]"},
		{"$merge: ${doc}\na: true", "{a:true …}"},
		{"$when: ${doc.y}\na: 1", "?"},
		{"[1, 2]", "[?]"},
		{"${doc}", "?"},
		{"${1 + 1}", "2"},
		{"text", `"text"`},
	} {
		tmpl, problems := CompileTemplate(yamlNode(t, c.template), nil)
		if len(problems) > 0 {
			t.Errorf("%s: got %v, want no problems", c.template, problems)
			continue
		}
		if got := describe(tmpl.Shape()); got != c.want {
			t.Errorf("%s: got %s, want %s", c.template, got, c.want)
		}
	}
}
