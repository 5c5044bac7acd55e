package cloud

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what an atom may tell, in bytes. What is longer is cut.
const (
	maxWord  = 200      // a name, a version, a state
	maxText  = 16 << 10 // an error
	maxReply = 1 << 20  // a document

	maxListeners = 10_000 // of an atom
)

// goodName reports whether something may be called so.
func goodName(s string) bool {
	return s != "" && len(s) <= 200 && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// legible gives the beginning of what an atom tells, at most so many bytes,
// without what a terminal would take for commands.
func legible(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	if !strings.ContainsFunc(s, commands) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if commands(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func commands(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
