package mask

import (
	"net/http"
	"regexp"
	"strings"
)

// secretHeaders are the headers of HTTP responses whose whole value is a
// credential, by canonical name.
var secretHeaders = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Authentication-Info": true, "Proxy-Authentication-Info": true, "Cookie": true,
	"X-Api-Key": true, "X-Auth-Token": true, "X-Access-Token": true, "X-Csrf-Token": true, "X-Xsrf-Token": true, "X-Amz-Security-Token": true,
}

// challengeSecrets matches the parts of an authentication challenge (RFC 9110,
// section 11.6.1) that another party could use: tokens of a handshake, and nonces.
var challengeSecrets = regexp.MustCompile(`(?i)(\b(?:negotiate|ntlm|kerberos)[ \t]+)[A-Za-z0-9._~+/=-]+|(\b(?:nonce|nextnonce|cnonce|opaque|rspauth)[ \t]*=[ \t]*)(?:"(?:[^"\\]|\\.)*"|[^",\s]+)`)

// Headers returns the headers of a response with their credentials replaced: the
// values of cookies and of tokens, and nonces. It returns h itself if there are
// none, and never changes it. The names of headers and cookies stay.
func Headers(h http.Header) http.Header {
	var masked http.Header
	for name, values := range h {
		for i, v := range values {
			shown := headerText(http.CanonicalHeaderKey(name), v)
			if shown == v {
				continue
			}
			if masked == nil {
				masked = h.Clone()
			}
			masked[name][i] = shown
		}
	}
	if masked == nil {
		return h
	}
	return masked
}

func headerText(name, value string) string {
	switch {
	case value == "":
		return value
	case secretHeaders[name]:
		return Text
	case name == "Set-Cookie" || name == "Set-Cookie2":
		pair, attributes, more := strings.Cut(value, ";")
		cookie, _, named := strings.Cut(pair, "=")
		shown := Text
		if named {
			shown = cookie + "=" + Text
		}
		if more {
			shown += ";" + attributes
		}
		return shown
	case name == "Www-Authenticate" || name == "Proxy-Authenticate":
		return challengeSecrets.ReplaceAllString(value, "$1$2"+Text)
	}
	return value
}
