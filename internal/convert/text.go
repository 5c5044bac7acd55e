package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
)

// Label says how the bytes of a text are encoded. The first of these counts: a
// byte order mark, Charset, for XML its declaration, Default, UTF-8. That is the
// order of RFC 7303, section 3.
type Label struct {
	Charset string // from a Content-Type; may be empty
	XML     bool   // an XML declaration counts
	Default string // from the settings of an author; may be empty
}

// Charsets are named as in the Encoding Standard of the WHATWG, section 4.2.
// There iso-8859-1 is windows-1252. Differing from it, us-ascii is UTF-8, so that
// bytes beyond it are never taken for another charset.
const (
	utf8Name    = "utf-8"
	utf16LE     = "utf-16le"
	utf16BE     = "utf-16be"
	replacement = "replacement" // charsets that the standard refuses to decode
	userDefined = "x-user-defined"
	gb18030Name = "gb18030"
	gbkName     = "gbk"
)

// KnownCharset reports whether text in a charset can be read.
func KnownCharset(name string) bool { return canonical(name) != "" }

// canonical returns the standard's name of a charset, or "" if it is unknown.
func canonical(label string) string {
	switch label = strings.ToLower(strings.Trim(label, " \t\r\n")); label {
	case utf8Name, "utf8", "us-ascii", "ascii":
		return utf8Name
	case "unicode", "utf-16":
		return utf16LE
	}
	e, err := htmlindex.Get(label)
	if err != nil {
		return ""
	}
	switch name, err := htmlindex.Name(e); {
	case err != nil, name == replacement, name == userDefined:
		return ""
	default:
		return name
	}
}

var byteOrderMarks = []struct{ mark, charset string }{
	{"\xef\xbb\xbf", utf8Name}, {"\xff\xfe", utf16LE}, {"\xfe\xff", utf16BE},
}

// Text returns text as UTF-8 without byte order mark. Text that is UTF-8 already
// is not copied. It is not checked either: its reader does that. Text in
// another charset is checked, and the first bytes that are not text in it are a
// *SyntaxError.
//
// An XML declaration that names another charset than UTF-8 is changed to UTF-8.
func Text(ctx context.Context, b []byte, l Label) ([]byte, error) {
	text, err := l.text(ctx, b)
	if err != nil || !l.XML {
		return text, err
	}
	return declareUTF8(text), nil
}

// TextString is like Text, and checks the text in any charset.
func TextString(ctx context.Context, b []byte, l Label) (string, error) {
	text, err := Text(ctx, b, l)
	if err == nil {
		err = checkUTF8(text)
	}
	return string(text), err
}

func (l Label) text(ctx context.Context, b []byte) ([]byte, error) {
	if len(b) > 0 && b[0] >= 0xef {
		for _, m := range byteOrderMarks {
			if bytes.HasPrefix(b, []byte(m.mark)) {
				return decode(ctx, b, len(m.mark), m.charset)
			}
		}
	}
	if l.Charset != "" && l.Charset != utf8Name {
		return decodeLabel(ctx, b, l.Charset, "charset")
	}
	if l.Charset == utf8Name {
		return b, nil
	}
	if l.XML {
		if bytes.HasPrefix(b, []byte("<\x00")) {
			return decode(ctx, b, 0, utf16LE)
		}
		if bytes.HasPrefix(b, []byte("\x00<")) {
			return decode(ctx, b, 0, utf16BE)
		}
		// Bytes that are not UTF-16 may still say so: writers of text declare the
		// charset of their strings.
		if from, to := declaredCharset(b); from < to && !strings.HasPrefix(canonical(string(b[from:to])), "utf-16") {
			return decodeLabel(ctx, b, string(b[from:to]), "declared charset")
		}
	}
	if l.Default != "" {
		return decodeLabel(ctx, b, l.Default, "charset")
	}
	return b, nil
}

func decodeLabel(ctx context.Context, b []byte, label, what string) ([]byte, error) {
	name := canonical(label)
	if name == "" {
		return nil, &SyntaxError{Msg: "the " + what + " " + clip(label) + " is not supported"}
	}
	if name == utf16LE && strings.EqualFold(label, "utf-16") && bytes.HasPrefix(b, []byte("\x00<")) {
		name = utf16BE
	}
	return decode(ctx, b, 0, name)
}

// decode returns b[from:] as UTF-8.
func decode(ctx context.Context, b []byte, from int, name string) ([]byte, error) {
	src := b[from:]
	if name == utf8Name {
		return src, nil
	}
	m := newMeter(ctx, len(b))
	defer m.finish()
	if err := m.use(3 * len(src)); err != nil {
		return nil, err
	}
	if name == utf16LE || name == utf16BE {
		return decodeUTF16(src, from, name)
	}
	e, err := htmlindex.Get(name)
	if err != nil {
		return nil, &SyntaxError{Msg: "the charset " + clip(name) + " is not supported"}
	}
	out, err := e.NewDecoder().Bytes(src)
	if err != nil {
		return nil, &SyntaxError{Msg: "the text is not valid " + name}
	}
	if at := bytes.Index(out, []byte("\uFFFD")); at >= 0 {
		if wrong := undecodable(e, name, src); wrong >= 0 {
			return nil, wrongByte(out[:at], src, from, wrong, name)
		}
	}
	return out, nil
}

// wrongByte returns the error for src[at]. before is the text before it.
func wrongByte(before, src []byte, from, at int, name string) *SyntaxError {
	err := syntaxError(before, len(before), "", "byte 0x%02x is not valid %s", src[at], name)
	err.Offset = from + at
	return err
}

// undecodable returns the offset of the first bytes that are not text in a
// charset, or -1. It decodes one character at a time, because the decoders
// replace such bytes.
func undecodable(e encoding.Encoding, name string, src []byte) int {
	const longest = 16 // bytes of a character with its escape sequence
	d := e.NewDecoder()
	var dst [32]byte
	for at := 0; at < len(src); {
		nSrc, nDst := 0, 0
		for n := 1; nSrc == 0 && n <= longest && at+n <= len(src); n++ {
			nDst, nSrc, _ = d.Transform(dst[:], src[at:at+n], at+n == len(src))
		}
		if nSrc == 0 || bytes.Contains(dst[:nDst], []byte("\uFFFD")) && !isReplacement(name, src[at:at+nSrc]) {
			return at
		}
		at += nSrc
	}
	return -1
}

// isReplacement reports whether bytes really encode U+FFFD.
func isReplacement(name string, b []byte) bool {
	return (name == gb18030Name || name == gbkName) && string(b) == "\x84\x31\xa4\x37"
}

func decodeUTF16(src []byte, from int, name string) ([]byte, error) {
	unit := binary.LittleEndian.Uint16
	if name == utf16BE {
		unit = binary.BigEndian.Uint16
	}
	out := make([]byte, 0, len(src))
	for at := 0; at < len(src); at += 2 {
		if at+1 == len(src) {
			return nil, wrongByte(out, src, from, at, name)
		}
		r := rune(unit(src[at:]))
		if utf16.IsSurrogate(r) {
			low := rune(-1)
			if at+3 < len(src) {
				low = rune(unit(src[at+2:]))
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, wrongByte(out, src, from, at, name)
			}
			at += 2
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// declaredCharset returns the position of the charset in an XML declaration.
func declaredCharset(b []byte) (from, to int) {
	const longest = 256
	if len(b) < 6 || string(b[:5]) != "<?xml" || strings.IndexByte(" \t\r\n", b[5]) < 0 {
		return 0, 0
	}
	declaration, _, _ := bytes.Cut(b[:min(len(b), longest)], []byte("?>"))
	at := bytes.Index(declaration, []byte("encoding"))
	if at < 0 {
		return 0, 0
	}
	at += len("encoding")
	for at < len(declaration) && strings.IndexByte(" \t\r\n=", declaration[at]) >= 0 {
		at++
	}
	if at == len(declaration) || declaration[at] != '"' && declaration[at] != '\'' {
		return 0, 0
	}
	n := bytes.IndexByte(declaration[at+1:], declaration[at])
	if n < 0 {
		return 0, 0
	}
	return at + 1, at + 1 + n
}

// declareUTF8 returns XML text, which is UTF-8, with its declaration corrected.
func declareUTF8(b []byte) []byte {
	from, to := declaredCharset(b)
	if from == to || canonical(string(b[from:to])) == utf8Name {
		return b
	}
	out := make([]byte, 0, len(b)+len(utf8Name))
	out = append(append(out, b[:from]...), "UTF-8"...)
	return append(out, b[to:]...)
}

// checkUTF8 returns the *SyntaxError of the first byte that is not UTF-8.
func checkUTF8(b []byte) error {
	if utf8.Valid(b) {
		return nil
	}
	at := 0
	for r, n := utf8.DecodeRune(b); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(b[at:]) {
		at += n
	}
	return syntaxError(b, at, "", "invalid UTF-8 byte 0x%02x", b[at])
}
