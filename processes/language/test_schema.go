package language

import (
	"bytes"

	"valence/internal/spec"
)

// testSchema returns the schema of a test, with those of the values that package
// loader compiles.
func testSchema() spec.JSON {
	s := setupSchema(TestFields)
	s["properties"].(spec.JSON)["cases"] = spec.JSON{"type": "array", "items": setupSchema(CaseFields), "description": spec.Find(TestFields, "cases").Doc}
	return s
}

// setupSchema returns the schema of a test or a case.
func setupSchema(fields []spec.Field) spec.JSON {
	s := spec.ObjectSchema(false, "", fields)
	properties := s["properties"].(spec.JSON)
	answer := spec.ObjectSchema(false, "", AnswerFields)
	answer["properties"].(spec.JSON)["fail"] = spec.JSON{"anyOf": []any{spec.JSON{"type": "string"}, spec.ObjectSchema(false, "", FailureFields)},
		"description": spec.Find(AnswerFields, "fail").Doc}
	refine := func(key string, more spec.JSON) {
		more["description"] = spec.Find(fields, key).Doc
		properties[key] = more
	}
	refine("mocks", spec.JSON{"type": "object", "additionalProperties": spec.JSON{"anyOf": []any{answer, spec.JSON{"type": "array", "items": answer, "minItems": 1}}}})
	refine("signals", spec.JSON{"type": "array", "items": oneNamed(spec.ObjectSchema(false, "", SignalFields))})
	expect := spec.ObjectSchema(false, "", ExpectFields)
	expect["properties"].(spec.JSON)["calls"] = spec.JSON{"type": "array", "items": oneNamed(spec.ObjectSchema(false, "", ExpectedCallFields)),
		"description": spec.Find(ExpectFields, "calls").Doc}
	refine("expect", expect)
	return s
}

// oneNamed returns the schema of a name, or of a map from one name to settings.
func oneNamed(settings spec.JSON) spec.JSON {
	named := spec.JSON{"type": "object", "minProperties": 1, "maxProperties": 1,
		"additionalProperties": spec.JSON{"anyOf": []any{settings, spec.JSON{"type": "null"}}}}
	return spec.JSON{"anyOf": []any{spec.JSON{"type": "string"}, named}}
}

// testTables returns the tables of the reference for the values below a test.
func testTables() []byte {
	var b bytes.Buffer
	for _, t := range []struct {
		title, text string
		fields      []spec.Field
	}{
		{"Answers of a mock", "A mock is one answer, or a list of them. Of the answers whose `when:` is true, each is used once, in order, and the last one repeats.", AnswerFields},
		{"Failure of a mock", "The long form of `fail:`.", FailureFields},
		{"Signals of a test", "The value of a signal, such as `- verdict: { after: 5h, body: { ok: true } }`.", SignalFields},
		{"Expectations of a test", "The keys of `expect:`.", ExpectFields},
		{"Calls of a test", "The value of an expected call, such as `- erp.post: { body: { total: 59.9 } }`. A call without a value may send anything.", ExpectedCallFields},
	} {
		b.WriteString("#### " + t.title + "\n\n" + t.text + "\n\n" + spec.Table(t.fields) + "\n")
	}
	return b.Bytes()
}
