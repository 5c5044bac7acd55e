package cloud

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of strings reported by atoms, in bytes. Longer ones are truncated.
const (
	maxWord  = 200      // a name, version or state
	maxText  = 16 << 10 // an error
	maxReply = 1 << 20  // a document

	maxTriggers = 10_000 // triggers of an atom
	maxFeatures = 50     // likewise
)

// validName reports whether s is usable as a name.
func validName(s string) bool {
	return s != "" && len(s) <= 200 && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// sanitize truncates s to a number of bytes and replaces control characters.
func sanitize(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func isControl(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
