package steps

import (
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/spec"
)

type mapStep struct{ Template *expression.Template }

var _ = define[mapStep]("map", kind{
	doc: "Builds a document from a template. Keys keep the order of the template. In a map, `$each: ${list}` repeats the map for each element, named " +
		"`item` or as `$as: name` says; `$merge: ${doc}` starts with a copy of an object; `$when: ${condition}` omits the map if the condition is " +
		"false. The value `${omit}` omits its key. A literal key that starts with `$` is written `$$`.",
	sample:        "- map:\n    order_no: ${doc.id}\n    lines:\n      $each: ${doc.items}\n      sku: ${item.sku}\n",
	makesDocument: true,
}, []spec.Field{
	spec.Template("map", func(s *mapStep) **expression.Template { return &s.Template }, "Template of the new document.").Required(),
}, nil)

func (s *mapStep) Run(f *Frame) error {
	d, err := build(f, s.Template)
	if err != nil {
		return err
	}
	f.SetResult(d)
	return nil
}

// Builds returns the template of the document.
func (s *mapStep) Builds() *expression.Template { return s.Template }

// build returns the JSON document of a template.
func build(f *Frame, t *expression.Template) (*document.Document, error) {
	text, err := t.JSON(&f.env)
	if err != nil {
		return nil, err
	}
	return document.FromJSON(text), nil
}

// wholeDocument is the template of a body that is the current document.
const wholeDocument = "${doc}"

// buildBody is like build, except that the current document as a whole is
// carried as it is: in its own format, with its order, bytes and white space.
func buildBody(f *Frame, t *expression.Template) (*document.Document, error) {
	if t.Source() == wholeDocument {
		return f.doc, nil
	}
	return build(f, t)
}

// buildObject returns the object of a template. It returns nil for a nil template.
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
