package dataplane

import (
	"strings"

	"valence/internal/soap"
	"valence/internal/wsdl"
)

// describeSOAP describes a SOAP service by its media types. OpenAPI cannot
// describe envelopes: the WSDL does.
func describeSOAP(e *endpoint, op doc) {
	s, content := e.listen.Service, doc{}
	for _, v := range []wsdl.Version{wsdl.SOAP11, wsdl.SOAP12} {
		if s.Speaks(v) {
			media, _, _ := strings.Cut(soap.MediaType(v), ";")
			content[media] = doc{}
		}
	}
	text := "An envelope with one of the operations " + strings.Join(s.OperationNames(), ", ") + ". GET with `?wsdl` returns the WSDL."
	if e.scheme == "wss" {
		text += " Its header needs a WS-Security UsernameToken."
	}
	op["requestBody"] = doc{"required": true, "content": content, "description": text}
	responses := doc{"default": doc{"description": "A fault.", "content": content}}
	if s.Replies() {
		responses["200"] = doc{"description": "The envelope of the reply.", "headers": doc{"X-Execution-Id": textHeader("The execution, if it is recorded.")}, "content": content}
	}
	if s.HasOneWay() {
		responses["202"] = doc{"description": "The message of an operation without an output is stored.", "headers": doc{"X-Execution-Id": textHeader("The execution.")}}
	}
	op["responses"] = responses
}
