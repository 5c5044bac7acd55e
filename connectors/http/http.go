// Package http is the connector for web services: anything that is called
// with a URL.
//
// # What counts as what
//
// An answer whose status the call accepts is a result. Everything else is a
// failure, and the failure says whether another attempt may succeed:
//
//	code              when                                              retryable
//	connect           no connection: name, dial, TLS, proxy; nothing    yes
//	                  was sent
//	timeout           the call's time was over first                    yes
//	connection_lost   the connection broke before the answer was whole  yes
//	status            408 425 429, and 5xx but 501 505 506 508 510 511  yes
//	                  any other status that is not accepted             no
//	bad_answer        what comes is not HTTP                            yes
//	                  a body that is not what its Content-Type says     no
//	too_large         the answer is over max_response                   no
//	redirect          too many, or one that is not followed             no
//	auth              no access token is given to us                    no
//	bad_call          path, header or document cannot be sent; nothing  no
//	                  was sent
//
// Retry-After, in seconds or as a date, is passed on with a status.
//
// # One call is one request
//
// Operations that change something carry Idempotency-Key, the same on every
// attempt. Go's transport takes that header for leave to send a request a
// second time on its own when a kept connection breaks, which no journal would
// know of. It is therefore kept from seeing it: such a request is sent again
// within a call only where nothing of it has left this machine. Safe requests
// may be repeated once by the transport. The other exceptions are an access
// token that the server no longer takes (401 and oauth2: once, with a new
// token) and redirects.
package http

import (
	nethttp "net/http"
	"strings"

	"valence/connectors"
	"valence/internal/spec"
)

// Connector declares the connector. The version is what it calls itself in User-Agent.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name:        "http",
		Doc:         "Web services: REST and anything else that is called with a URL. Answers are read by their Content-Type, connections are kept, redirects of safe requests are followed.",
		Settings:    settingsFields,
		Operations:  operations(),
		NewSettings: func() any { return &settings{} },
		Check:       check,
		Open: func(s any) (connectors.Connection, error) {
			return open(s.(*settings), version, nethttp.ProxyFromEnvironment)
		},
	}
}

// with is what one call of any operation is told.
type with struct {
	Method      string
	Path        string
	Query       []spec.KV
	Headers     []spec.KV
	Format      string
	Root        string
	ContentType string
	Response    string
	Pages       *pages
}

func (w *with) sends() bool { return w.Format != "" || w.ContentType != "" }

func operations() []connectors.Operation {
	all := declared()
	for i := range all {
		all[i].Check = func(v any) []string { return append(checkPath(v), checkPages(v)...) }
	}
	return all
}

// checkPath finds a path that no call could be sent with. Of one with
// expressions the segments before the first can be judged.
func checkPath(w any) []string {
	path, _, _ := strings.Cut(w.(*with).Path, "?")
	if literal, _, dynamic := strings.Cut(path, "${"); dynamic {
		path = literal[:strings.LastIndexByte(literal, '/')+1]
	}
	if _, why := cleanPath(path); why != "" {
		return []string{"path " + why}
	}
	return nil
}

func declared() []connectors.Operation {
	newWith := func() any { return &with{} }
	get := connectors.Operation{Name: "get", Doc: "Reads. In `for_each` it may read page by page, with `pages:`.", With: getFields, NewWith: newWith, Safe: true, Paged: true,
		Sample: "- call: shop.get\n  with: { path: \"/orders/${doc.id}\" }\n"}
	head := connectors.Operation{Name: "head", Doc: "Asks for the headers of an answer alone; the document is empty.", With: readFields, NewWith: newWith, Safe: true,
		Sample: "- call: shop.head\n  with: { path: \"/orders/${doc.id}\" }\n  accept: [2xx, 404]\n"}
	post := connectors.Operation{Name: "post", Doc: "Creates, or asks for something to be done.", With: sendFields, NewWith: newWith, SendsBody: true,
		Sample: "- call: erp.post\n  with: { path: /invoices }\n"}
	put := connectors.Operation{Name: "put", Doc: "Replaces.", With: sendFields, NewWith: newWith, SendsBody: true,
		Sample: "- call: erp.put\n  with: { path: \"/customers/${doc.id}\" }\n"}
	patch := connectors.Operation{Name: "patch", Doc: "Changes a part.", With: sendFields, NewWith: newWith, SendsBody: true,
		Sample: "- call: shop.patch\n  with: { path: \"/orders/${input.id}\" }\n  body: { erp_number: \"${doc.number}\" }\n"}
	del := connectors.Operation{Name: "delete", Doc: "Deletes.", With: readFields, NewWith: newWith,
		Sample: "- call: shop.delete\n  with: { path: \"/orders/${input.id}/hold\" }\n  accept: [2xx, 404]\n"}
	request := connectors.Operation{Name: "request", Doc: "Any method. The document is sent unless the method is GET, HEAD, OPTIONS or DELETE; with them it is sent where `format` or `content_type` is given.",
		With: requestFields, NewWith: newWith, SendsBody: true,
		Sample: "- call: search.request\n  with: { method: GET, path: /orders/_search, format: json }\n  body: { query: { match_all: {} } }\n"}
	return []connectors.Operation{get, head, post, put, patch, del, request}
}

// methodOf gives the method of an operation, "" for request.
func methodOf(operation string) string {
	switch operation {
	case "get":
		return nethttp.MethodGet
	case "head":
		return nethttp.MethodHead
	case "post":
		return nethttp.MethodPost
	case "put":
		return nethttp.MethodPut
	case "patch":
		return nethttp.MethodPatch
	case "delete":
		return nethttp.MethodDelete
	}
	return ""
}

// safe reports whether a method changes nothing (RFC 9110, 9.2.1).
func safe(method string) bool {
	switch method {
	case nethttp.MethodGet, nethttp.MethodHead, nethttp.MethodOptions:
		return true
	}
	return false
}
