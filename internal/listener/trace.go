package listener

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
)

// correlation takes the caller's Correlation-Id where it is one: up to 128
// visible ASCII characters without quotes and backslashes. Otherwise it makes one.
func correlation(h http.Header) string {
	if values := h["Correlation-Id"]; len(values) == 1 && isToken(values[0]) {
		return values[0]
	}
	var b [32]byte
	hex.Encode(b[:], random16())
	return string(b[:])
}

func isToken(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// traceparent takes the caller's header where it is valid
// (https://www.w3.org/TR/trace-context/), and otherwise starts a trace.
func traceparent(h http.Header) string {
	if values := h["Traceparent"]; len(values) == 1 {
		if t, ok := parseTraceparent(values[0]); ok {
			return t
		}
	}
	var b [55]byte
	copy(b[:], "00-")
	hex.Encode(b[3:35], random16())
	b[35] = '-'
	hex.Encode(b[36:52], random16()[:8])
	copy(b[52:], "-01")
	return string(b[:])
}

// parseTraceparent checks version 00, and reads what comes first in a later
// version as if it were 00.
func parseTraceparent(s string) (string, bool) {
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

func isZero(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '0' {
			return false
		}
	}
	return true
}

// random16 gives bytes that tell requests apart. They are no secret.
func random16() []byte {
	a, b := rand.Uint64(), rand.Uint64()
	out := make([]byte, 16)
	for i := range 8 {
		out[i], out[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	return out
}
