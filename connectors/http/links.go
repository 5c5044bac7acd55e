package http

import (
	"errors"
	nethttp "net/http"
	"net/url"
	"strings"
)

// maxLink limits the URLs that other systems give, in bytes.
const maxLink = 8 << 10

var (
	errLinkTooLong = errors.New("the URL is longer than 8 KiB")
	errLinkHeader  = errors.New("the Link header is not valid (RFC 8288)")
)

// resolve returns the URL of a reference in a response, which may be
// relative to the URL of its request. Bytes that a URL cannot contain, such as
// spaces and letters beyond ASCII, are percent-encoded as browsers do.
func resolve(request *url.URL, reference string) (*url.URL, error) {
	if len(reference) > maxLink {
		return nil, errLinkTooLong
	}
	reference = strings.Trim(reference, " \t")
	start := 0 // of the path; names of hosts are not encoded
	if host := strings.Index(reference, "//"); host == 0 || host > 0 && !strings.ContainsAny(reference[:host], "/?#") {
		start = len(reference)
		if end := strings.IndexAny(reference[host+2:], "/?#"); end >= 0 {
			start = host + 2 + end
		}
	}
	u, err := request.Parse(reference[:start] + encodeReference(reference[start:]))
	if err != nil {
		return nil, err
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// encodeReference percent-encodes the bytes that are not allowed in a URL. Bytes
// that are encoded already stay as they are. Control characters stay too, so
// that parsing rejects them.
func encodeReference(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = !encodes(s, i)
	}
	if clean {
		return s
	}
	out := make([]byte, 0, len(s)+32)
	for i := 0; i < len(s); i++ {
		if encodes(s, i) {
			out = append(out, '%', upperHex[s[i]>>4], upperHex[s[i]&15])
		} else {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// encodes reports whether the byte at i must be percent-encoded.
func encodes(s string, i int) bool {
	switch c := s[i]; c {
	case ' ', '"', '<', '>', '\\', '^', '`', '{', '|', '}':
		return true
	case '%':
		return i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2])
	default:
		return c >= 0x80
	}
}

// nextLink returns the target of the first link with the relation next in the
// Link header (RFC 8288), or "". Links whose anchor is another resource than
// the request's are about that one and do not count.
func nextLink(h nethttp.Header, request *url.URL) (target string, err error) {
	for _, line := range h.Values("Link") {
		for p := (linkParser{rest: line}); p.more(); {
			l, err := p.link()
			if err != nil {
				return "", err
			}
			if !l.isNext() || l.anchor != nil && !sameResource(request, *l.anchor) {
				continue
			}
			return l.target, nil
		}
	}
	return "", nil
}

// link is one link of a Link header.
type link struct {
	target string
	rel    *string // the first parameter of that name counts
	anchor *string
}

func (l *link) isNext() bool {
	if l.rel == nil {
		return false
	}
	for _, rel := range strings.Fields(*l.rel) {
		if strings.EqualFold(rel, "next") {
			return true
		}
	}
	return false
}

func sameResource(request *url.URL, anchor string) bool {
	u, err := resolve(request, anchor)
	return err == nil && origin(u) == origin(request) && u.EscapedPath() == request.EscapedPath() && u.RawQuery == request.RawQuery
}

// linkParser parses the links of one header line. rest is the unparsed text.
type linkParser struct{ rest string }

func (p *linkParser) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

// take skips optional white space, and c if it is next.
func (p *linkParser) take(c byte) bool {
	p.space()
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// more skips commas and reports whether a link follows.
func (p *linkParser) more() bool {
	for p.take(',') {
	}
	return p.rest != ""
}

func (p *linkParser) link() (l link, err error) {
	if !p.take('<') {
		return l, errLinkHeader
	}
	end := strings.IndexByte(p.rest, '>')
	if end < 0 {
		return l, errLinkHeader
	}
	l.target, p.rest = p.rest[:end], p.rest[end+1:]
	for p.take(';') {
		name, value, err := p.parameter()
		if err != nil {
			return l, err
		}
		switch {
		case l.rel == nil && strings.EqualFold(name, "rel"):
			l.rel = &value
		case l.anchor == nil && strings.EqualFold(name, "anchor"):
			l.anchor = &value
		}
	}
	if p.rest != "" && p.rest[0] != ',' {
		return l, errLinkHeader
	}
	return l, nil
}

// parameter parses a name and its value, which may be missing, a token or a
// quoted string.
func (p *linkParser) parameter() (name, value string, err error) {
	p.space()
	name = p.token()
	if !p.take('=') {
		return name, "", nil
	}
	if !p.take('"') {
		return name, p.token(), nil
	}
	var b strings.Builder
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return name, b.String(), nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errLinkHeader
}

// token returns the text up to the next separator.
func (p *linkParser) token() string {
	end := strings.IndexAny(p.rest, "=;, \t\"")
	if end < 0 {
		end = len(p.rest)
	}
	var t string
	t, p.rest = p.rest[:end], p.rest[end:]
	return t
}
