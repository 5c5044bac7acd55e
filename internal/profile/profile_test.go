package profile

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"valence/internal/fault"
)

const order = `{
  "type": "object",
  "required": ["id", "customer", "items"],
  "additionalProperties": false,
  "properties": {
    "id": {"type": "integer", "minimum": 1},
    "customer": {"$ref": "#/$defs/customer"},
    "state": {"enum": ["new", "paid"]},
    "price": {"type": "number", "multipleOf": 0.01},
    "a/b~c": {"type": "string"},
    "items": {"type": "array", "minItems": 1, "items": {
      "type": "object", "required": ["sku"],
      "properties": {"sku": {"type": "string", "pattern": "^[A-Z]+$"}, "tags": {"type": "array", "items": {"type": "string"}}}}},
    "pay": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["iban"]}]}
  },
  "$defs": {"customer": {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}, "since": {"type": "string", "format": "date"}}}}
}`

func compile(t testing.TB, schema string) *Schema {
	t.Helper()
	s, err := Compile([]byte(schema), "order")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestValidate(t *testing.T) {
	s := compile(t, order)
	for _, c := range []struct {
		name, doc string
		want      []fault.Violation
	}{
		{"matches", `{"id":4711,"customer":{"mail":"a@b.example"},"items":[{"sku":"A"}]}`, nil},
		{"matches with long integer", `{"id":1234567890123456789012,"customer":{},"items":[{"sku":"A"}]}`, nil},
		{"integer written with a fraction of zero", `{"id":5.0,"customer":{},"items":[{"sku":"A"}]}`, nil},
		{"exact decimals", `{"id":1,"price":0.29,"customer":{},"items":[{"sku":"A"}]}`, nil},
		{"no data", ``, []fault.Violation{{Pointer: "", Detail: "must be object, not null"}}},
		{"not an object", `[1]`, []fault.Violation{{Pointer: "", Detail: "must be object, not array"}}},
		{"missing", `{"items":[{"sku":"A"}]}`, []fault.Violation{{Pointer: "", Detail: `"customer" is missing`}, {Pointer: "", Detail: `"id" is missing`}}},
		{"several, in order", `{"id":"x","customer":{"mail":"nobody","since":"2026-02-30"},"items":[{"sku":"A"},{"sku":"b"},{}],"extra":1,"state":"old"}`, []fault.Violation{
			{Pointer: "/customer/mail", Detail: "is not a valid email"},
			{Pointer: "/customer/since", Detail: "is not a valid date"},
			{Pointer: "/extra", Detail: "is not allowed here"},
			{Pointer: "/id", Detail: "must be integer, not string"},
			{Pointer: "/items/1/sku", Detail: "must match ^[A-Z]+$"},
			{Pointer: "/items/2", Detail: `"sku" is missing`},
			{Pointer: "/state", Detail: `must be one of "new", "paid"`},
		}},
		{"lists in lists", `{"id":1,"customer":{},"items":[{"sku":"A","tags":["a",1]}]}`, []fault.Violation{{Pointer: "/items/0/tags/1", Detail: "must be string, not number"}}},
		{"empty list", `{"id":1,"customer":{},"items":[]}`, []fault.Violation{{Pointer: "/items", Detail: "must have at least 1 elements, has 0"}}},
		{"escaped names", `{"id":1,"customer":{},"items":[{"sku":"A"}],"a/b~c":1}`, []fault.Violation{{Pointer: "/a~1b~0c", Detail: "must be string, not number"}}},
		{"alternatives", `{"id":1,"customer":{},"items":[{"sku":"A"}],"pay":{}}`, []fault.Violation{
			{Pointer: "/pay", Detail: `matches none of the allowed schemas: must be string, not object; or "iban" is missing`}}},
		{"too small", `{"id":0,"price":0.295,"customer":{},"items":[{"sku":"A"}]}`, []fault.Violation{
			{Pointer: "/id", Detail: "must be at least 1"}, {Pointer: "/price", Detail: "must be a multiple of 0.01"}}},
		{"a number that is too large to compare", `{"id":1e1000000000,"customer":{},"items":[{"sku":"A"}]}`, []fault.Violation{
			{Pointer: "/id", Detail: "is outside the supported range of numbers"}}},
		{"not JSON", `{"id":`, []fault.Violation{{Pointer: "", Detail: "is not JSON: unexpected EOF"}}},
		{"text after the value", `{} x`, []fault.Violation{{Pointer: "", Detail: "is not JSON: unexpected text after the value"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := s.Validate(c.doc)
			if len(got) == 0 && len(c.want) == 0 {
				return
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ name, schema, pointer, msg string }{
		{"not JSON", `{`, "", "is not JSON: unexpected EOF"},
		{"a list", `[]`, "", "must be an object, true or false"},
		{"wrong type", `{"properties":{"a":{"type":"strin"}}}`, "/properties/a/type", `matches none of the allowed schemas: must be one of "array", "boolean", "integer", "null", "number", "object", "string"; or must be array, not string`},
		{"required is text", `{"required":"id"}`, "/required", "must be array, not string"},
		{"lookahead", `{"properties":{"a":{"pattern":"(?=x)"}}}`, "/properties/a/pattern", "is not a valid regex"},
		{"bad key pattern", `{"patternProperties":{"(?=x)":{}}}`, "/patternProperties", `must not have the key "(?=x)"`},
		{"missing definition", `{"properties":{"a":{"$ref":"#/$defs/nix"}}}`, "/properties/a/$ref", `"#/$defs/nix" does not exist in this schema`},
		{"missing anchor", `{"properties":{"a":{"$ref":"#nix"}}}`, "/properties/a/$ref", `"#nix" does not exist in this schema`},
		{"network", `{"properties":{"a":{"$ref":"http://127.0.0.1:1/s.json#/x"}}}`, "/properties/a/$ref", `"http://127.0.0.1:1/s.json#/x" refers to another file; copy the definition to $defs`},
		{"file", `{"allOf":[{"$ref":"file:///etc/passwd"}]}`, "/allOf/0/$ref", `"file:///etc/passwd" refers to another file; copy the definition to $defs`},
		{"relative file", `{"allOf":[{"$ref":"../other.json"}]}`, "/allOf/0/$ref", `"../other.json" refers to another file; copy the definition to $defs`},
		{"unknown draft", `{"$schema":"http://example.com/schema"}`, "/$schema", `"http://example.com/schema" refers to another file; copy the definition to $defs`},
		{"a huge number", `{"minimum":1e1000000}`, "/minimum", "is outside the supported range of numbers"},
		{"misspelled", `{"properties":{"a":{"requird":["x"]}}}`, "/properties/a/requird", `unknown keyword "requird", did you mean "required"?`},
		{"wrong case", `{"items":{"minlength":3}}`, "/items/minlength", `unknown keyword "minlength", did you mean "minLength"?`},
		{"swapped", `{"tpye":"string"}`, "/tpye", `unknown keyword "tpye", did you mean "type"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Compile([]byte(c.schema), "order")
			var ce *CompileError
			if !errors.As(err, &ce) {
				t.Fatalf("got %v, want a *CompileError", err)
			}
			if ce.Pointer != c.pointer || ce.Msg != c.msg {
				t.Errorf("got  %s: %s\nwant %s: %s", ce.Pointer, ce.Msg, c.pointer, c.msg)
			}
		})
	}
}

func TestCompileTakes(t *testing.T) {
	for _, schema := range []string{
		`true`, `{}`,
		`{"x-note":"an annotation","example":1,"properties":{"tpye":{"type":"string"}}}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{"type":"string"}},"items":{"$ref":"#/definitions/a"}}`,
		`{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://shop.example/order.json","$ref":"#/$defs/a","$defs":{"a":{"type":"array"}}}`,
	} {
		if _, err := Compile([]byte(schema), "p"); err != nil {
			t.Errorf("%s: got %v, want no error", schema, err)
		}
	}
}

func TestOlderDraftsAndRecursion(t *testing.T) {
	for _, c := range []struct{ name, schema, doc, want string }{
		{"draft 7 items", `{"$schema":"http://json-schema.org/draft-07/schema#","items":{"type":"string"}}`, `["a",2]`, "[{/1 must be string, not number}]"},
		{"draft 7 format", `{"$schema":"http://json-schema.org/draft-07/schema#","format":"date-time"}`, `"x"`, "[{ is not a valid date-time}]"},
		{"tree", `{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}}}`, `{"children":[{"children":[{},7]}]}`, "[{/children/0/children/1 must be object, not number}]"},
		{"items decide what is evaluated", `{"items":{"type":"string"},"unevaluatedItems":false}`, `["a",1]`, "[{/1 must be string, not number}]"},
		{"next to a reference", `{"$ref":"#/$defs/l","$defs":{"l":{"items":{"type":"string"}}},"items":{"maxLength":1}}`, `["aa",1]`, "[{/0 must be at most 1 characters long, has 2} {/1 must be string, not number}]"},
		{"prefix", `{"prefixItems":[{"type":"string"}],"items":{"type":"number"}}`, `["a",1,"b"]`, "[{/2 must be number, not string}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(compile(t, c.schema).Validate(c.doc)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestViolationsAreBounded checks that validating a million invalid elements stops at
// MaxViolations.
func TestViolationsAreBounded(t *testing.T) {
	s := compile(t, `{"type":"object","properties":{"lines":{"type":"array","items":{"type":"string"}}}}`)
	doc := `{"lines":[` + strings.Repeat("1,", 200_000) + `1]}`
	bytes := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			got := s.Validate(doc)
			if len(got) != MaxViolations || got[1].Pointer != "/lines/1" || got[99].Pointer != "/lines/99" {
				b.Fatalf("got %d violations, %v; want %d", len(got), got[:2], MaxViolations)
			}
		}
	}).AllocedBytesPerOp()
	if bytes > 40<<20 {
		t.Errorf("got %d MiB allocated, want at most 40 MiB", bytes>>20)
	}
}

func TestValidateAtOnce(t *testing.T) {
	s := compile(t, order)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := s.Validate(`{"id":1,"customer":{},"items":[{"sku":"a"}]}`); len(got) != 1 {
					t.Errorf("got %v, want one violation", got)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzValidate(f *testing.F) {
	f.Add(order, `{"id":1}`)
	f.Add(`{"items":{"type":"string"}}`, `["a",1]`)
	f.Add(`{"multipleOf":1e-900}`, `1e900`)
	f.Fuzz(func(t *testing.T, schema, doc string) {
		s, err := Compile([]byte(schema), "fuzz")
		if err != nil {
			var ce *CompileError
			if !errors.As(err, &ce) {
				t.Fatalf("got %v, want a *CompileError", err)
			}
			return
		}
		if got := s.Validate(doc); len(got) > MaxViolations {
			t.Fatalf("got %d violations, want at most %d", len(got), MaxViolations)
		}
	})
}

// TestSharedReferencesAreCompiled compiles schemas with a number of paths that is
// exponential in their size.
func TestSharedReferencesAreCompiled(t *testing.T) {
	var defs []string
	const n = 60
	for i := range n {
		defs = append(defs, fmt.Sprintf(`"s%d": {"type": "object", "properties": {
			"a": {"$ref": "#/$defs/s%d"}, "b": {"$ref": "#/$defs/s%[2]d"}, "l": {"type": "array", "items": {"type": "integer"}}}}`, i, (i+1)%n))
	}
	s, err := Compile([]byte(`{"$ref": "#/$defs/s0", "$defs": {`+strings.Join(defs, ",")+`}}`), "shared")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Validate(`{"a": {"l": [1]}, "b": {"b": {"a": {"l": [2]}}}, "l": [3]}`); len(got) != 0 {
		t.Errorf("got %v, want no violations", got)
	}
	if got := s.Validate(`{"a": {"l": ["x"]}, "b": {"b": {"a": {"l": [2, "y"]}}}, "l": [true]}`); len(got) != 3 {
		t.Errorf("got %v, want 3 violations", got)
	}
}
