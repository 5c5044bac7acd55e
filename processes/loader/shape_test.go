package loader

import (
	"testing"

	"valence/internal/convert"
	"valence/internal/spec"
)

func TestXMLShape(t *testing.T) {
	shape := xmlShape([]byte(`{
		"properties": {"order": {"properties": {
			"@id": {"type": "integer"},
			"total": {"type": ["number", "null"]},
			"paid": {"type": "boolean"},
			"o:note": {"type": "string"},
			"line": {"type": "array", "items": {"$ref": "#/$defs/line"}}}}},
		"$defs": {"line": {"type": "object", "properties": {"qty": {"type": "integer"}, "sub": {"$ref": "#/$defs/line"}}}}}`),
		[]spec.KV{{Name: "o", Value: "urn:o"}})
	const in = `<order xmlns:x="urn:o" xmlns:y="urn:y" id="7"><total>0.10</total><paid>true</paid><x:note>12</x:note><y:extra>1</y:extra><line><qty>2</qty><sub><qty>3</qty></sub></line></order>`
	const want = `{"order":{"@id":7,"total":0.10,"paid":true,"o:note":"12","extra":"1","line":[{"qty":2,"sub":{"qty":3}}]}}`
	got, err := convert.XMLToJSON(t.Context(), []byte(in), shape)
	if err != nil || string(got) != want {
		t.Errorf("got  %s %v\nwant %s", got, err, want)
	}
}
