package convert

import "testing"

func TestXMLNil(t *testing.T) {
	const xsi = `xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`
	shape := &Shape{Fields: map[string]*Shape{"r": {Fields: map[string]*Shape{
		"n": {Type: "number", Null: true}, "s": {Type: "string", Null: true}, "o": {Null: true, Fields: map[string]*Shape{"x": {}}}, "c": {Fields: map[string]*Shape{"x": {}}},
	}}}}
	for in, want := range map[string]string{
		`<r ` + xsi + `><n xsi:nil="true"/></r>`:      `{"r":{"n":null}}`,
		`<r ` + xsi + `><n xsi:nil="1"></n></r>`:      `{"r":{"n":null}}`,
		`<r><n/></r>`:                                 `{"r":{"n":null}}`,
		`<r><n> </n></r>`:                             `{"r":{"n":null}}`,
		`<r><n>1.50</n></r>`:                          `{"r":{"n":1.50}}`,
		`<r><s/></r>`:                                 `{"r":{"s":""}}`,
		`<r ` + xsi + `><s xsi:nil="true"/></r>`:      `{"r":{"s":null}}`,
		`<r ` + xsi + `><o xsi:nil="true"/></r>`:      `{"r":{"o":null}}`,
		`<r ` + xsi + `><s xsi:nil="false">x</s></r>`: `{"r":{"s":{"@nil":"false","#text":"x"}}}`,
		`<r xmlns:p="urn:p"><s p:nil="true"/></r>`:    `{"r":{"s":{"@nil":"true"}}}`,
		"<r><c>\n  </c></r>":                          `{"r":{"c":{}}}`,
		`<r><c/></r>`:                                 `{"r":{"c":{}}}`,
	} {
		got, err := XMLToJSON(t.Context(), []byte(in), shape)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}
