package convert

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// CheckJSON returns nil if b is one JSON text (RFC 8259). It also rejects text
// that parsers treat differently: b must be UTF-8 without a byte order mark,
// keys must be unique after resolving escapes, surrogates must be paired, and
// nesting must not exceed MaxDepth. It does not allocate unless an object has
// many keys.
func CheckJSON(b []byte) error {
	c := checker{b: b}
	i := c.space(0)
	if i == len(b) {
		return syntaxError(b, i, "", "the JSON is empty")
	}
	i = c.value(i, 0)
	if i >= 0 {
		if i = c.space(i); i < len(b) {
			i = c.fail(i, "unexpected %s after the JSON value", quoteAt(b, i))
		}
	}
	if i >= 0 {
		return nil
	}
	return syntaxError(b, c.at, pointerAt(b, c.at), "%s", c.msg)
}

// checker walks the text once. Its methods return the index after the
// text they read, or -1 after fail.
type checker struct {
	b    []byte
	keys [96]string // keys of all open objects that have few
	n    int        // number of keys in use
	at   int
	msg  string
}

func (c *checker) fail(at int, format string, args ...any) int {
	c.at, c.msg = at, fmt.Sprintf(format, args...)
	return -1
}

func (c *checker) unexpected(i int, want string) int {
	if i >= len(c.b) {
		return c.fail(i, "unexpected end of JSON, expected %s", want)
	}
	return c.fail(i, "unexpected %s, expected %s", quoteAt(c.b, i), want)
}

func (c *checker) space(i int) int {
	if i < len(c.b) && c.b[i] > ' ' {
		return i
	}
	return c.spaces(i)
}

func (c *checker) spaces(i int) int {
	for i < len(c.b) && (c.b[i] == ' ' || c.b[i] == '\n' || c.b[i] == '\t' || c.b[i] == '\r') {
		i++
	}
	return i
}

func (c *checker) value(i, depth int) int {
	if i >= len(c.b) {
		return c.unexpected(i, "a value")
	}
	switch ch := c.b[i]; {
	case ch == '"':
		end, _ := c.text(i)
		return end
	case ch == '{':
		return c.object(i, depth+1)
	case ch == '[':
		return c.array(i, depth+1)
	case ch == '-' || ch >= '0' && ch <= '9':
		return c.number(i)
	case ch == 't':
		return c.word(i, "true")
	case ch == 'f':
		return c.word(i, "false")
	case ch == 'n':
		return c.word(i, "null")
	}
	return c.unexpected(i, "a value")
}

func (c *checker) word(i int, word string) int {
	if len(c.b)-i < len(word) || string(c.b[i:i+len(word)]) != word {
		return c.unexpected(i, "a value")
	}
	return i + len(word)
}

func (c *checker) array(i, depth int) int {
	if depth > MaxDepth {
		return c.fail(i, "the JSON is nested deeper than %d levels", MaxDepth)
	}
	if i = c.space(i + 1); i < len(c.b) && c.b[i] == ']' {
		return i + 1
	}
	for {
		if i = c.value(i, depth); i < 0 {
			return i
		}
		i = c.space(i)
		switch {
		case i < len(c.b) && c.b[i] == ',':
			i = c.space(i + 1)
		case i < len(c.b) && c.b[i] == ']':
			return i + 1
		default:
			return c.unexpected(i, `"," or "]"`)
		}
	}
}

func (c *checker) object(i, depth int) int {
	if depth > MaxDepth {
		return c.fail(i, "the JSON is nested deeper than %d levels", MaxDepth)
	}
	if i = c.space(i + 1); i < len(c.b) && c.b[i] == '}' {
		return i + 1
	}
	seen := keySet{base: c.n}
	for {
		if i >= len(c.b) || c.b[i] != '"' {
			return c.unexpected(i, "a key in quotes")
		}
		end, escaped := c.text(i)
		if end < 0 {
			return end
		}
		key := c.key(i, end, escaped)
		if !c.add(&seen, key) {
			return c.fail(i, "duplicate key %s", strconv.Quote(clip(key)))
		}
		if i = c.space(end); i >= len(c.b) || c.b[i] != ':' {
			return c.unexpected(i, `":"`)
		}
		if i = c.value(c.space(i+1), depth); i < 0 {
			return i
		}
		i = c.space(i)
		switch {
		case i < len(c.b) && c.b[i] == ',':
			i = c.space(i + 1)
		case i < len(c.b) && c.b[i] == '}':
			c.n = seen.base
			return i + 1
		default:
			return c.unexpected(i, `"," or "}"`)
		}
	}
}

// keySet holds the keys of one object: in the checker's shared array while
// there are few, otherwise in a map.
type keySet struct {
	base  int
	bloom uint64
	many  map[string]struct{}
}

const linearKeys = 24

// add reports whether the key is new in the object.
func (c *checker) add(s *keySet, key string) bool {
	if s.many != nil {
		if _, dup := s.many[key]; dup {
			return false
		}
		s.many[key] = struct{}{}
		return true
	}
	h := uint(len(key))
	if h > 0 {
		h = h*7 + uint(key[0])*31 + uint(key[len(key)-1])*5 + uint(key[len(key)/2])
	}
	bit := uint64(1) << (h & 63)
	known := c.keys[s.base:c.n]
	if s.bloom&bit != 0 {
		for _, k := range known {
			if k == key {
				return false
			}
		}
	}
	s.bloom |= bit
	if len(known) < linearKeys && c.n < len(c.keys) {
		c.keys[c.n] = key
		c.n++
		return true
	}
	s.many = make(map[string]struct{}, 4*len(known)+8)
	for _, k := range known {
		s.many[k] = struct{}{}
	}
	s.many[key] = struct{}{}
	return true
}

func (c *checker) key(start, end int, escaped bool) string {
	raw := c.b[start+1 : end-1]
	if escaped {
		return unescape(string(raw))
	}
	return unsafe.String(unsafe.SliceData(raw), len(raw))
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// text reads a string from its opening quote and reports whether it contains
// escapes.
func (c *checker) text(i int) (end int, escaped bool) {
	b, start := c.b, i
	i++
	for {
		for i+8 <= len(b) { // eight plain ASCII bytes at a time
			x := binary.LittleEndian.Uint64(b[i:])
			quote, slash := x^(ones*'"'), x^(ones*'\\')
			hit := (x | (x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & highs
			if hit != 0 {
				i += bits.TrailingZeros64(hit) / 8
				break
			}
			i += 8
		}
		if i >= len(b) {
			return c.fail(start, "unterminated string"), false
		}
		switch ch := b[i]; {
		case ch == '"':
			return i + 1, escaped
		case ch == '\\':
			n, msg := escapeLen(b[i:])
			if msg != "" {
				return c.fail(i, "%s", msg), false
			}
			i, escaped = i+n, true
		case ch < 0x20:
			return c.fail(i, "the control character %U must be escaped", ch), false
		case ch < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return c.fail(i, "invalid UTF-8 byte 0x%02x", ch), false
			}
			i += n
		}
	}
}

// escapeLen returns the length of the escape at the start of b, including both
// halves of a surrogate pair, or a message that describes the error.
func escapeLen(b []byte) (int, string) {
	if len(b) < 2 {
		return 0, "unterminated string"
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, ""
	case 'u':
	default:
		return 0, fmt.Sprintf(`invalid escape \%s`, charAt(b, 1))
	}
	r := hex4(b[2:])
	switch {
	case r < 0:
		return 0, `\u needs four hexadecimal digits`
	case !utf16.IsSurrogate(r):
		return 6, ""
	case len(b) >= 12 && b[6] == '\\' && b[7] == 'u' && utf16.DecodeRune(r, hex4(b[8:])) != utf8.RuneError:
		return 12, ""
	}
	return 0, `unpaired surrogate \` + string(b[1:6])
}

func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	var r rune
	for _, ch := range b[:4] {
		switch {
		case ch >= '0' && ch <= '9':
			ch -= '0'
		case ch >= 'a' && ch <= 'f':
			ch -= 'a' - 10
		case ch >= 'A' && ch <= 'F':
			ch -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(ch)
	}
	return r
}

func (c *checker) number(i int) int {
	b, start := c.b, i
	if b[i] == '-' {
		i++
	}
	switch {
	case i < len(b) && b[i] == '0':
		i++
		if i < len(b) && b[i] >= '0' && b[i] <= '9' {
			return c.fail(start, "a number must not have leading zeros")
		}
	case i < len(b) && b[i] >= '1' && b[i] <= '9':
		i = digits(b, i)
	default:
		return c.unexpected(i, "a digit")
	}
	if i < len(b) && b[i] == '.' {
		end := digits(b, i+1)
		if end == i+1 {
			return c.unexpected(end, "a digit")
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := digits(b, i)
		if end == i {
			return c.unexpected(end, "a digit")
		}
		i = end
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	return i
}

// quoteAt returns the character at i, quoted for a message.
func quoteAt(b []byte, i int) string {
	if i == 0 && len(b) >= 3 && string(b[:3]) == "\xef\xbb\xbf" {
		return "byte order mark"
	}
	return strconv.Quote(charAt(b, i))
}

func charAt(b []byte, i int) string {
	r, n := utf8.DecodeRune(b[i:])
	if r == utf8.RuneError && n == 1 {
		return fmt.Sprintf(`\x%02x`, b[i])
	}
	return string(r)
}

// clip shortens s for a message and makes it valid UTF-8.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= 60 {
		return s
	}
	return string([]rune(s)[:60]) + "…"
}
