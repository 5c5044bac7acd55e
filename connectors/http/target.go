package http

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"valence/internal/fault"
	"valence/internal/spec"
)

// codeCall is the failure of a call that cannot be sent as it stands. It is
// the process' fault, not the other system's.
const codeCall = "bad_call"

func badCall(format string, args ...any) *fault.Failure {
	return fault.Failf(codeCall, format, args...)
}

// base is the URL of a connection, split once.
type base struct {
	scheme, host string
	whole        string // encoded path as it was written
	path         string // the same without a slash at its end
	plain        bool   // path needs no encoding
	query        string
}

// parseBase reads the url of a connection.
func parseBase(text string) (base, string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return base{}, "url cannot be read as a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return base{}, "url must start with http:// or https://"
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return base{}, "url has no host"
	case u.User != nil:
		return base{}, "url holds a user or password: they belong under auth, with scheme: basic"
	case u.Fragment != "" || strings.Contains(text, "#"):
		return base{}, "url has a fragment (#…), which is never sent"
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

// join gives the URL of a call. The path can only lead below the base: it
// cannot name a host, climb, or hold what servers decode into climbing.
func (b *base) join(path string, query []spec.KV, extra string) (*url.URL, *fault.Failure) {
	path, inline, _ := strings.Cut(path, "?")
	encoded, why := cleanPath(path)
	if why != "" {
		return nil, badCall("path %q %s", cut(path, 200), why)
	}
	if inline != "" {
		if inline, why = cleanQuery(inline); why != "" {
			return nil, badCall("path: its query %q %s", cut(inline, 200), why)
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
			return nil, badCall("path %q holds a %% that does not encode a byte", cut(path, 200))
		}
		u.Path, u.RawPath = plain, full
	}
	if b.query == "" && inline == "" && extra == "" && len(query) == 0 {
		return u, nil
	}
	var q strings.Builder
	add := func(s string) {
		if s == "" {
			return
		}
		if q.Len() > 0 {
			q.WriteByte('&')
		}
		q.WriteString(s)
	}
	add(b.query)
	add(inline)
	for _, kv := range query {
		if q.Len() > 0 {
			q.WriteByte('&')
		}
		q.WriteString(url.QueryEscape(kv.Name))
		q.WriteByte('=')
		q.WriteString(url.QueryEscape(kv.Value))
	}
	add(extra)
	u.RawQuery = q.String()
	return u, nil
}

// inSegment are the bytes that may stand in a path as they are (RFC 3986, pchar and /).
var inSegment = func() (set [256]bool) {
	for c := range set {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c < 0x80 && strings.IndexByte("-._~!$&'()*+,;=:@/", byte(c)) >= 0
	}
	return set
}()

// cleanPath gives the path with everything encoded that must be, or says why
// it is refused.
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
			return "", "holds a control character"
		case c == '\\':
			return "", "holds a backslash"
		case c == '#':
			return "", "holds a fragment (#…), which is never sent"
		case c == '%':
			if i+2 >= len(p) || !isHex(p[i+1]) || !isHex(p[i+2]) {
				return "", "holds a % that does not encode a byte"
			}
		}
	}
	if strings.Contains(p, "//") {
		return "", "has an empty segment (//)"
	}
	first, _, _ := strings.Cut(p, "/")
	if strings.Contains(first, ":") {
		return "", "names a scheme or host: it is always below the connection's url"
	}
	if strings.Contains(p, ".") && climbs(p) {
		return "", "climbs (. or ..)"
	}
	if plain {
		return p, ""
	}
	if !utf8.ValidString(p) {
		return "", "is not UTF-8"
	}
	if why := hides(p); why != "" {
		return "", why
	}
	return encodeRest(p), ""
}

// hides looks through every layer of encoding, since proxies and servers
// decode once more than they should.
func hides(p string) string {
	for decoded := p; strings.Contains(decoded, "%"); {
		next, err := url.PathUnescape(decoded)
		if err != nil || next == decoded {
			return ""
		}
		decoded = next
		for i := 0; i < len(decoded); i++ {
			if decoded[i] < 0x20 || decoded[i] == 0x7f {
				return "holds an encoded control character"
			}
		}
		if climbs(decoded) {
			return "climbs (an encoded . or ..)"
		}
	}
	return ""
}

// climbs reports whether a segment is . or .., also as servers read it that
// take \ for / or cut parameters off (..;x).
func climbs(p string) bool {
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

// cleanQuery takes a query that stands in a path as it was written.
func cleanQuery(q string) (encoded, why string) {
	out := make([]byte, 0, len(q))
	for i := 0; i < len(q); i++ {
		switch c := q[i]; {
		case c < 0x20 || c == 0x7f:
			return q, "holds a control character"
		case c == '#':
			return q, "holds a fragment (#…), which is never sent"
		case c == '%' && (i+2 >= len(q) || !isHex(q[i+1]) || !isHex(q[i+2])):
			return q, "holds a % that does not encode a byte"
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

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
