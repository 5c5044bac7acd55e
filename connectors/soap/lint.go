package soap

import (
	"valence/connectors"
	"valence/internal/document"
	"valence/internal/expression"
	"valence/internal/fault"
	"valence/internal/spec"
	"valence/internal/wsdl"
	"valence/internal/xsd"
)

// checkBody returns the parts of a body that can never match the schema of an
// operation.
func checkBody(d *wsdl.Definition, op *wsdl.Operation, body *expression.Shape) (problems fault.Problems) {
	if op.Input.Body == nil {
		return nil
	}
	for _, m := range d.Schemas.Lint(op.Input.Body, body) {
		where := ""
		if m.Pointer != "" {
			where = " at " + m.Pointer
		}
		hint := m.Hint
		if hint == "" {
			hint = "see the schema of " + op.Name + " in " + d.Files[0].Name
		}
		p := &fault.Problem{Pos: m.Pos, Msg: "the document does not match the schema of " + op.Name + where + ": " + m.Detail, Hint: hint}
		p.Correct(m.Key, m.Near)
		problems = append(problems, p)
	}
	return problems
}

// bodyKeys returns the keys of an object in the body of an operation.
func bodyKeys(op *wsdl.Operation, path []string) (keys []connectors.BodyKey) {
	if op.Input.Body == nil {
		return nil
	}
	for _, m := range op.Input.Body.Members(path) {
		keys = append(keys, connectors.BodyKey{Name: m.Name, Type: m.Type, Required: m.Required})
	}
	return keys
}

// checkHeaders checks the names of the header blocks of a call.
func checkHeaders(op *wsdl.Operation, w *callWith) (wrong []string) {
	o, _ := document.Decode(document.FromPlain(w.Headers)).(*document.Object)
	if o == nil {
		return nil
	}
	for i := range o.Len() {
		if key, _ := o.At(i); !declares(op.Input.Headers, key) {
			wrong = append(wrong, undeclared(op, key))
		}
	}
	return wrong
}

// undeclared is the message for a header block that the WSDL does not declare.
func undeclared(op *wsdl.Operation, key string) string {
	text := "the WSDL declares no header `" + spec.Clip(key) + "` for " + op.Name
	if near := spec.Nearest(key, headerNames(op.Input.Headers)); near != "" {
		text += " (did you mean `" + near + "`?)"
	}
	return text
}

func headerNames(list []*xsd.Element) (names []string) {
	for _, e := range list {
		names = append(names, e.Name.Local)
	}
	return names
}
