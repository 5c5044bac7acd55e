package http

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"valence/internal/fault"
	"valence/internal/spec"
)

// codeCall is the failure of a call that cannot be sent. The process is at
// fault, not the other system.
const codeCall = "bad_call"

func badCall(format string, args ...any) *fault.Failure {
	return fault.Failf(codeCall, format, args...)
}

// base is the parsed URL of a connection.
type base struct {
	scheme, host string
	whole        string // encoded path as written
	path         string // the same without a trailing slash
	plain        bool   // path needs no decoding
	query        string
}

// parseBase parses the URL of a connection.
func parseBase(text string) (base, string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return base{}, "url is not a valid URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return base{}, "url must start with http:// or https://"
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return base{}, "url has no host"
	case u.User != nil:
		return base{}, "url must not contain a user or password: use auth with scheme: basic"
	case u.Fragment != "" || strings.Contains(text, "#"):
		return base{}, "url must not contain a fragment (#…)"
	}
	b := base{scheme: u.Scheme, host: u.Host, query: u.RawQuery}
	if _, why := cleanPath(strings.TrimSuffix(u.EscapedPath(), "/")); why != "" {
		return base{}, "url " + why
	}
	b.whole = u.EscapedPath()
	b.path = strings.TrimSuffix(b.whole, "/")
	b.plain = !strings.Contains(b.path, "%")
	return b, ""
}

// join returns the URL of a call, always below the base. A path cannot name a
// host or leave the base, even if a server decodes it repeatedly.
func (b *base) join(path string, query []spec.KV, extra string) (*url.URL, *fault.Failure) {
	path, inline, _ := strings.Cut(path, "?")
	encoded, why := cleanPath(path)
	if why != "" {
		return nil, badCall("path %q %s", truncate(path, 200), why)
	}
	if inline != "" {
		if inline, why = cleanQuery(inline); why != "" {
			return nil, badCall("path: its query %q %s", truncate(inline, 200), why)
		}
	}
	u := &url.URL{Scheme: b.scheme, Host: b.host}
	var full string
	switch {
	case encoded == "" && b.whole == "":
		full = "/"
	case encoded == "":
		full = b.whole
	case encoded[0] == '/':
		full = b.path + encoded
	default:
		full = b.path + "/" + encoded
	}
	if b.plain && !strings.Contains(encoded, "%") {
		u.Path, u.RawPath = full, full
	} else {
		plain, err := url.PathUnescape(full)
		if err != nil {
			return nil, badCall("path %q contains a %% that does not encode a byte", truncate(path, 200))
		}
		u.Path, u.RawPath = plain, full
	}
	if b.query != "" || inline != "" || extra != "" || len(query) > 0 {
		u.RawQuery = joinQuery(b.query, inline, query, extra)
	}
	return u, nil
}

// joinQuery returns the query of a call: of the base, of the path, of the
// settings, and the parameter of auth.
func joinQuery(base, inline string, query []spec.KV, extra string) string {
	var q strings.Builder
	add := func(parts ...string) {
		if q.Len() > 0 {
			q.WriteByte('&')
		}
		for _, p := range parts {
			q.WriteString(p)
		}
	}
	for _, s := range []string{base, inline} {
		if s != "" {
			add(s)
		}
	}
	for _, kv := range query {
		add(url.QueryEscape(kv.Name), "=", url.QueryEscape(kv.Value))
	}
	if extra != "" {
		add(extra)
	}
	return q.String()
}

// inSegment contains the bytes that need no encoding in a path (RFC 3986, pchar
// and /).
var inSegment = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 0x80 && strings.IndexByte("-._~!$&'()*+,;=:@/", byte(c)) >= 0
	}
	return set
}()

// cleanPath returns the path with all necessary bytes encoded, or why it is
// rejected.
func cleanPath(p string) (encoded, why string) {
	plain := true
	for i := 0; i < len(p); i++ {
		c := p[i]
		if inSegment[c] {
			continue
		}
		plain = false
		switch {
		case c < 0x20 || c == 0x7f:
			return "", "contains a control character"
		case c == '\\':
			return "", "contains a backslash"
		case c == '#':
			return "", "contains a fragment (#…)"
		case c == '%':
			if i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2]) {
				return "", "contains a % that does not encode a byte"
			}
		}
	}
	if strings.Contains(p, "//") {
		return "", "has an empty segment (//)"
	}
	first, _, _ := strings.Cut(p, "/")
	if strings.Contains(first, ":") {
		return "", "must not name a scheme or host: it is relative to the connection's url"
	}
	if strings.Contains(p, ".") && hasDotSegment(p) {
		return "", "must not contain . or .. segments"
	}
	if plain {
		return p, ""
	}
	if !utf8.ValidString(p) {
		return "", "is not valid UTF-8"
	}
	if why := hiddenProblem(p); why != "" {
		return "", why
	}
	return encodeRest(p), ""
}

// hiddenProblem checks every layer of encoding, because proxies and servers may
// decode more than once.
func hiddenProblem(p string) string {
	for decoded := p; strings.Contains(decoded, "%"); {
		next, err := url.PathUnescape(decoded)
		if err != nil || next == decoded {
			return ""
		}
		decoded = next
		for i := 0; i < len(decoded); i++ {
			if decoded[i] < 0x20 || decoded[i] == 0x7f {
				return "contains an encoded control character"
			}
		}
		if hasDotSegment(decoded) {
			return "must not contain encoded . or .. segments"
		}
	}
	return ""
}

// hasDotSegment reports whether a segment is . or .., including the readings of
// servers that treat \ as / or cut off parameters (..;x).
func hasDotSegment(p string) bool {
	for len(p) > 0 {
		segment := p
		if i := strings.IndexAny(p, `/\`); i >= 0 {
			segment, p = p[:i], p[i+1:]
		} else {
			p = ""
		}
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func encodeRest(p string) string {
	out := make([]byte, 0, len(p)+16)
	for i := 0; i < len(p); i++ {
		if c := p[i]; inSegment[c] || c == '%' {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out)
}

// cleanQuery returns a query with all necessary bytes encoded, or why it is
// rejected.
func cleanQuery(q string) (encoded, why string) {
	out := make([]byte, 0, len(q))
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case c < 0x20 || c == 0x7f:
			return q, "contains a control character"
		case c == '#':
			return q, "contains a fragment (#…)"
		case c == '%' && (i+2 >= len(q) || !isHex(q[i+1]) || !isHex(q[i+2])):
			return q, "contains a % that does not encode a byte"
		case c == '%' || c == '?' || inSegment[c]:
			out = append(out, c)
		default:
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out), ""
}

const upperHex = "0123456789ABCDEF"

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
