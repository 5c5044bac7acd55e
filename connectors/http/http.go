// Package http is the connector for web services.
//
// # Results and failures
//
// A response with an accepted status is a result. Everything else is a failure,
// which says whether another attempt may succeed:
//
//	code              when                                              retryable
//	connect           no connection: name, dial, TLS, proxy; nothing    yes
//	                  was sent
//	timeout           the call timed out                                yes
//	connection_lost   the connection broke before the end of the        yes
//	                  response
//	status            408 425 429, and 5xx but 501 505 506 508 510 511  yes
//	                  any other status that is not accepted             no
//	bad_answer        the response is not HTTP                          yes
//	                  the body does not match its Content-Type          no
//	too_large         the response exceeds max_response                 no
//	redirect          too many redirects, or one that is not followed   no
//	auth              the token endpoint rejected the client            no
//	bad_call          path, header or document cannot be sent; nothing  no
//	                  was sent
//
// A status failure carries Retry-After, given in seconds or as a date.
//
// # One request per call
//
// Operations that change something carry Idempotency-Key, equal on every attempt.
// Go's transport treats that header as permission to repeat a request when an idle
// connection breaks, and the journal would not know about it. The connector
// therefore hides the header from the transport: such a request is repeated only
// if nothing of it was sent. The transport may repeat safe requests once. The
// other exceptions are a rejected access token (401 with oauth2: repeated once with
// a new token) and redirects.
package http

import (
	"context"
	nethttp "net/http"
	"strings"

	"valence/connectors"
	"valence/internal/access"
	"valence/internal/convert"
	"valence/internal/spec"
)

// Connector declares the connector. The version appears in User-Agent.
func Connector(version string) *connectors.Connector {
	return &connectors.Connector{
		Name:        "http",
		Doc:         "Calls HTTP services. Responses are parsed by their Content-Type, connections are kept open, and redirects of safe requests are followed.",
		Settings:    settingsFields,
		Operations:  operations(),
		NewSettings: func() any { return &settings{} },
		Check:       check,
		Open: func(s any, policy *access.Policy) (connectors.Connection, error) {
			return open(s.(*settings), version, nethttp.ProxyFromEnvironment, policy)
		},
	}
}

// with holds the settings of a call; each operation uses some of them.
type with struct {
	Method      string // of the operation `request`
	Path        string
	Query       []spec.KV
	Headers     []spec.KV
	Format      string
	Root        string
	ContentType string
	Response    string
	Charset     string
	Pages       *pages
}

func (w *with) sends() bool { return w.Format != "" || w.ContentType != "" }

// define returns an operation that sends the method, or with.Method if it is
// empty.
func define(method string, op connectors.Operation) connectors.Operation {
	op.HasStatus = true
	op.Check = func(v any) []string { return append(append(checkPath(v), checkPages(v)...), checkCharset(v)...) }
	op.Preview = func(ctx context.Context, conn connectors.Connection, v any, call *connectors.Call) (*connectors.Preview, error) {
		return conn.(*connection).preview(ctx, method, v.(*with), call)
	}
	return connectors.Define(op, func(ctx context.Context, c *connection, w *with, call *connectors.Call) (*connectors.Result, error) {
		return c.call(ctx, method, w, call)
	})
}

// checkPath reports a path that can never be sent. If it contains expressions,
// only the segments before the first one are checked.
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

func checkCharset(v any) []string {
	if charset := v.(*with).Charset; spec.Literal(charset) && !convert.KnownCharset(charset) {
		return []string{"`charset: " + charset + "` is not supported; use a name such as utf-8, windows-1252 or shift_jis"}
	}
	return nil
}

func operations() []connectors.Operation {
	return []connectors.Operation{
		define(nethttp.MethodGet, connectors.Operation{
			Name: "get", With: getFields, Safe: true, Paged: true, Page: extractRecorded,
			Doc:    "Sends a GET request. Inside `for_each`, `pages:` reads all pages of the response.",
			Sample: "- call: shop.get\n  with: { path: \"/orders/${doc.id}\" }\n",
		}),
		define(nethttp.MethodHead, connectors.Operation{
			Name: "head", With: readFields, Safe: true,
			Doc:    "Sends a HEAD request. The document is empty.",
			Sample: "- call: shop.head\n  with: { path: \"/orders/${doc.id}\" }\n  accept: [2xx, 404]\n",
		}),
		define(nethttp.MethodPost, connectors.Operation{
			Name: "post", With: sendFields, SendsBody: true, Files: true,
			Doc:    "Sends the document with a POST request.",
			Sample: "- call: erp.post\n  with: { path: /invoices }\n",
		}),
		define(nethttp.MethodPut, connectors.Operation{
			Name: "put", With: sendFields, SendsBody: true, Files: true,
			Doc:    "Sends the document with a PUT request.",
			Sample: "- call: erp.put\n  with: { path: \"/customers/${doc.id}\" }\n",
		}),
		define(nethttp.MethodPatch, connectors.Operation{
			Name: "patch", With: sendFields, SendsBody: true, Files: true,
			Doc:    "Sends the document with a PATCH request.",
			Sample: "- call: shop.patch\n  with: { path: \"/orders/${input.id}\" }\n  body: { erp_number: \"${doc.number}\" }\n",
		}),
		define(nethttp.MethodDelete, connectors.Operation{
			Name: "delete", With: readFields,
			Doc:    "Sends a DELETE request.",
			Sample: "- call: shop.delete\n  with: { path: \"/orders/${input.id}/hold\" }\n  accept: [2xx, 404]\n",
		}),
		define("", connectors.Operation{
			Name: "request", With: requestFields, SendsBody: true, Files: true,
			Doc:    "Sends a request with any method. The document is sent unless the method is GET, HEAD, OPTIONS or DELETE; for those it is sent only if `format` or `content_type` is set.",
			Sample: "- call: search.request\n  with: { method: GET, path: /orders/_search, format: json }\n  body: { query: { match_all: {} } }\n",
		}),
	}
}

// safe reports whether a method changes nothing (RFC 9110, 9.2.1).
func safe(method string) bool {
	switch method {
	case nethttp.MethodGet, nethttp.MethodHead, nethttp.MethodOptions:
		return true
	}
	return false
}
