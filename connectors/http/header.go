package http

import (
	nethttp "net/http"
	"net/textproto"
	"strings"

	"valence/internal/fault"
	"valence/internal/spec"
)

// keyHeader is Idempotency-Key under a name that Go's transport does not look
// for: header names have no case, and this spelling keeps it from repeating
// requests on its own. See the package comment.
const keyHeader = "idempotency-key"

// ours are the headers that the connection itself must be sure of: they frame
// the request or tell a proxy what to do with it.
var ours = map[string]bool{
	"Host": true, "Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Keep-Alive": true,
	"Upgrade": true, "Te": true, "Trailer": true, "Expect": true, "Accept-Encoding": true,
	"Proxy-Connection": true, "Proxy-Authorization": true, "Proxy-Authenticate": true,
}

// badHeader says why a header cannot be sent, "" if it can.
func badHeader(name, value string) string {
	if name == "" {
		return "a header has no name"
	}
	for i := 0; i < len(name); i++ {
		if !tokenByte[name[i]] {
			return "header name " + quote(name) + " holds a character that names cannot have"
		}
	}
	if ours[textproto.CanonicalMIMEHeaderKey(name)] {
		return "header " + name + " is the connector's own and cannot be set"
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return "the value of header " + name + " holds a control character"
		}
	}
	return ""
}

// tokenByte are the bytes of a token (RFC 9110, 5.6.2).
var tokenByte = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return set
}()

func quote(s string) string { return `"` + strings.ToValidUTF8(cut(s, 60), "�") + `"` }

// headerKey is the key of a header where the transport expects it.
func headerKey(name string) string {
	switch name = textproto.CanonicalMIMEHeaderKey(name); name {
	case "Idempotency-Key":
		return keyHeader
	case "X-Idempotency-Key":
		return "x-idempotency-key"
	}
	return name
}

// addHeaders puts a call's headers over those of the connection. A name that
// the call repeats is sent as often.
func (c *connection) addHeaders(h nethttp.Header, own []spec.KV) *fault.Failure {
	for _, kv := range own {
		if c.authorized && strings.EqualFold(kv.Name, c.authHeader) {
			return badCall("header %s stands beside the connection's auth: only one of them can be sent", kv.Name)
		}
	}
	if why := setHeaders(h, own); why != "" {
		return badCall("%s", why)
	}
	return nil
}

// setHeaders replaces headers; it says why if one cannot be sent.
func setHeaders(h nethttp.Header, list []spec.KV) string {
	for i, kv := range list {
		if why := badHeader(kv.Name, kv.Value); why != "" {
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
