package dataplane

import (
	"encoding/hex"
	"net/http"

	"valence/internal/traceparent"
)

// correlation returns the request's Correlation-Id, or a new one if it is
// absent or invalid. Valid ones have up to 128 visible ASCII characters without
// quotes and backslashes.
func correlation(h http.Header) string {
	if values := h["Correlation-Id"]; len(values) == 1 && isToken(values[0]) {
		return values[0]
	}
	var b [32]byte
	hex.Encode(b[:], traceparent.Random16())
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

// traceOf returns the request's traceparent header, or a new one if it is
// absent or invalid.
func traceOf(h http.Header) string {
	if values := h["Traceparent"]; len(values) == 1 {
		return traceparent.OrNew(values[0])
	}
	return traceparent.New()
}
