package http

import (
	nethttp "net/http"
	"net/textproto"
	"strings"

	"valence/internal/fault"
	"valence/internal/spec"
)

// keyHeader is Idempotency-Key, spelled so that Go's transport does not
// recognize it. Header names are case-insensitive, and this spelling prevents
// the transport from repeating requests. See the package comment.
const keyHeader = "idempotency-key"

// reservedHeaders frame the request or instruct proxies, so only the connector
// sets them.
var reservedHeaders = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true,
	"Upgrade": true, "Te": true, "Trailer": true, "Expect": true, "Accept-Encoding": true,
	"Proxy-Connection": true, "Proxy-Authorization": true, "Proxy-Authenticate": true,
}

// headerProblem returns why a header cannot be sent, or "".
func headerProblem(name, value string) string {
	if name == "" {
		return "a header name is empty"
	}
	for i := 0; i < len(name); i++ {
		if !tokenByte[name[i]] {
			return "header name " + quote(name) + " contains an invalid character"
		}
	}
	if reservedHeaders[textproto.CanonicalMIMEHeaderKey(name)] {
		return "header " + name + " is set by the connector and cannot be overridden"
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return "the value of header " + name + " contains a control character"
		}
	}
	return ""
}

// tokenByte contains the bytes of a token (RFC 9110, 5.6.2).
var tokenByte = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return set
}()

func quote(s string) string { return `"` + strings.ToValidUTF8(truncate(s, 60), "�") + `"` }

// headerKey returns the map key of a header.
func headerKey(name string) string {
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Idempotency-Key":
		return keyHeader
	case "X-Idempotency-Key":
		return "x-idempotency-key"
	}
	return name
}

// addHeaders adds a call's headers, which replace those of the connection. A
// header that the call repeats is sent repeatedly.
func (c *connection) addHeaders(h nethttp.Header, own []spec.KV) *fault.Failure {
	for _, kv := range own {
		if c.authorized && strings.EqualFold(kv.Name, c.authHeader) {
			return badCall("header %s conflicts with the connection's auth: only one of them can be sent", kv.Name)
		}
	}
	if why := setHeaders(h, own); why != "" {
		return badCall("%s", why)
	}
	return nil
}

// setHeaders replaces headers. It returns why one cannot be sent, or "".
func setHeaders(h nethttp.Header, list []spec.KV) string {
	for i, kv := range list {
		if why := headerProblem(kv.Name, kv.Value); why != "" {
			return why
		}
		name := headerKey(kv.Name)
		if i > 0 && repeats(list[:i], kv.Name) {
			h[name] = append(h[name], kv.Value)
		} else {
			h[name] = []string{kv.Value}
		}
	}
	return ""
}

func repeats(list []spec.KV, name string) bool {
	for _, kv := range list {
		if strings.EqualFold(kv.Name, name) {
			return true
		}
	}
	return false
}
