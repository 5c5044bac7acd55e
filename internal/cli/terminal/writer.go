package terminal

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// Writer writes text for people: to a terminal, or to a file that somebody
// prints on one. Control characters (C0, C1, DEL), characters that reorder or
// hide text (bidirectional controls, other format characters) and bytes that
// are not UTF-8 are written as escapes, such as \u001b, which have the same
// value inside of JSON. Tabs and line feeds are kept. Each Write must end at the
// end of a character.
type Writer struct{ w io.Writer }

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w} }

// Unwrap returns the writer below, for protocols that only programs read.
func (t *Writer) Unwrap() io.Writer { return t.w }

// Write implements io.Writer.
func (t *Writer) Write(p []byte) (int, error) {
	clean := true
	for _, b := range p {
		if b < ' ' && b != '\n' && b != '\t' || b >= 0x7f {
			clean = false
			break
		}
	}
	out := p
	if !clean {
		out = appendVisible(make([]byte, 0, len(p)+32), p, false)
	}
	if _, err := t.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Line returns text as one line, with its tabs and line feeds escaped as well.
func Line(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return string(appendVisible(nil, []byte(s), true))
		}
	}
	return s
}

// appendVisible appends text with everything escaped that does not stand for
// itself on a terminal.
func appendVisible(dst, text []byte, line bool) []byte {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, text[i])
		case (r == '\n' || r == '\t') && !line:
			dst = append(dst, text[i])
		case r == '\r' && !line && i+1 < len(text) && text[i+1] == '\n':
			dst = append(dst, text[i])
		case !invisible(r):
			dst = append(dst, text[i:i+n]...)
		case r > 0xffff: // as JSON escapes it
			r -= 0x10000
			dst = fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		i += n
	}
	return dst
}

// Joiners are needed in several scripts and in emoji.
const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
)

// invisible reports whether a character controls the terminal or how other
// characters are shown.
func invisible(r rune) bool {
	switch r {
	case zeroWidthNonJoiner, zeroWidthJoiner:
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
