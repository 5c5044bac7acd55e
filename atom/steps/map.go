package steps

import (
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/spec"
)

type mapStep struct{ Template *expression.Template }

var _ = define[mapStep]("map", kind{
	doc: "Builds a document from a template. Keys come in the order they are written. `$each:` repeats the mapping that holds it per element, " +
		"as `item` (or `$as: line`), at the root too; `$merge: ${doc}` starts from a copy; `$when:` drops the mapping; the value `${omit}` drops the key; " +
		"a literal key starting with `$` is written `$$`.",
	sample:        "- map:\n    order_no: ${doc.id}\n    lines:\n      $each: ${doc.items}\n      sku: ${item.sku}\n",
	makesDocument: true,
}, []spec.Field{
	spec.Template("map", func(s *mapStep) **expression.Template { return &s.Template }, "The template of the new document.").Required(),
}, nil)

func (s *mapStep) Run(f *Frame) error {
	d, err := build(f, s.Template)
	if err != nil {
		return err
	}
	f.Give(d)
	return nil
}

// build makes a JSON document of a template.
func build(f *Frame, t *expression.Template) (*document.Document, error) {
	text, err := t.Append(make([]byte, 0, 512), &f.env)
	if err != nil {
		return nil, err
	}
	return document.FromJSON(text), nil
}

// buildObject evaluates a template that must give an object; a nil template gives nil.
func buildObject(f *Frame, t *expression.Template) (*document.Object, error) {
	if t == nil {
		return nil, nil
	}
	v, err := t.Value(&f.env)
	if err != nil {
		return nil, err
	}
	o, _ := document.Decode(v).(*document.Object)
	return o, nil
}
