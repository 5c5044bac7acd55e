// Package traceparent reads and makes W3C trace contexts
// (https://www.w3.org/TR/trace-context/).
package traceparent

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// New returns a trace context of its own.
func New() string {
	var b [55]byte
	copy(b[:], "00-")
	hex.Encode(b[3:35], Random16())
	b[35] = '-'
	hex.Encode(b[36:52], Random16()[:8])
	copy(b[52:], "-01")
	return string(b[:])
}

// OrNew returns the trace context s, or a new one if s is not valid. Later
// versions are reduced to the fields of version 00.
func OrNew(s string) string {
	if t, ok := parse(s); ok {
		return t
	}
	return New()
}

func parse(s string) (string, bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return "", false
	}
	version, trace, parent, flags := s[:2], s[3:35], s[36:52], s[53:55]
	if !isHex(version) || !isHex(trace) || !isHex(parent) || !isHex(flags) || version == "ff" || isZero(trace) || isZero(parent) {
		return "", false
	}
	if version == "00" {
		return s, len(s) == 55
	}
	if len(s) > 55 && s[55] != '-' {
		return "", false
	}
	return "00" + s[2:55], true
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(s string) bool { return strings.Trim(s, "0") == "" }

// Random16 returns 16 random bytes that are unique but not secret.
func Random16() []byte {
	a, b := rand.Uint64(), rand.Uint64()
	out := make([]byte, 16)
	for i := range 8 {
		out[i], out[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return out
}
