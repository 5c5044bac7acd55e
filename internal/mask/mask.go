// Package mask replaces the values of secrets in text that leaves the process:
// records, logs, reports and answers to operators.
package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Text replaces a secret.
const Text = "[secret]"

// MinLength is the length from which values are masked, in bytes. Shorter ones
// would also hide ordinary words and numbers.
const MinLength = 8

// maxValues bounds how many values a Set remembers.
const maxValues = 10_000

// Set is the secrets that a process has loaded. It is safe for concurrent use.
// A nil Set masks nothing.
type Set struct {
	mu      sync.Mutex
	values  map[string]bool
	current atomic.Pointer[masker]
}

// Add adds values. Those that are replaced later stay in the set, because their
// text may be stored.
func (s *Set) Add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]bool{}
	}
	before := len(s.values)
	for _, v := range values {
		if v = strings.TrimSpace(v); len(v) >= MinLength && len(s.values) < maxValues {
			s.values[v] = true
		}
	}
	if len(s.values) > before {
		s.current.Store(newMasker(s.values))
	}
}

// String returns text with every secret replaced.
func (s *Set) String(text string) string {
	if s == nil {
		return text
	}
	m := s.current.Load()
	if m == nil || len(text) < MinLength {
		return text
	}
	b := []byte(text)
	if masked := m.replace(b); len(masked) != len(b) || !bytes.Equal(masked, b) {
		return string(masked)
	}
	return text
}

// Bytes is String for bytes. It returns b itself if nothing was replaced, and
// never changes it.
func (s *Set) Bytes(b []byte) []byte {
	if s == nil {
		return b
	}
	if m := s.current.Load(); m != nil {
		return m.replace(b)
	}
	return b
}

// JSON is Bytes for JSON values, which stay valid: a number that contains a
// secret becomes a string.
func (s *Set) JSON(b []byte) []byte {
	if s == nil {
		return b
	}
	m := s.current.Load()
	if m == nil {
		return b
	}
	if _, _, found := m.find(b, 0); !found {
		return b
	}
	return m.replaceJSON(b)
}

// Body is JSON for a text that may be JSON.
func (s *Set) Body(b []byte) []byte {
	if s != nil && json.Valid(b) {
		return s.JSON(b)
	}
	return s.Bytes(b)
}

// prefix is the number of bytes by which a pattern is found.
const prefix = 8

// filterBits is the size of the filter of prefixes, as a power of two.
const filterBits = 13

// masker finds the patterns of a set of values: the value and the forms in
// which it is transmitted.
type masker struct {
	filter   [1 << filterBits]bool
	patterns map[uint64][]string // by prefix, the longest first
}

func newMasker(values map[string]bool) *masker {
	m := &masker{patterns: map[uint64][]string{}}
	for v := range values {
		for _, form := range forms(v) {
			m.add(form)
		}
	}
	for _, all := range m.patterns {
		slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	}
	return m
}

func (m *masker) add(pattern string) {
	if len(pattern) < prefix {
		return
	}
	key := binary.LittleEndian.Uint64([]byte(pattern[:prefix]))
	if !slices.Contains(m.patterns[key], pattern) {
		m.patterns[key] = append(m.patterns[key], pattern)
		m.filter[hash(key)] = true
	}
}

func hash(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> (64 - filterBits) }

// forms returns a value as it appears in texts: as it is, in JSON, in a URL, in
// Base64, and the lines of a value that has several.
func forms(v string) []string {
	out := []string{v}
	for _, escapeHTML := range []bool{false, true} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escapeHTML)
		if e.Encode(v) == nil {
			quoted := strings.TrimSuffix(b.String(), "\n")
			out = append(out, quoted[1:len(quoted)-1])
		}
	}
	for _, escaped := range []string{url.PathEscape(v), url.QueryEscape(v), encodeAll(v)} {
		out = append(out, escaped, lowerHex(escaped))
	}
	out = append(out, base64Forms(v)...)
	if lines := strings.Fields(v); len(lines) > 1 {
		for _, line := range lines {
			if len(line) >= 2*MinLength && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	return out
}

// encodeAll returns v with every byte percent-encoded that RFC 3986 does not
// call unreserved.
func encodeAll(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") }

// lowerHex returns text with its percent-encoded bytes in lower case.
func lowerHex(text string) string {
	b := []byte(text)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// base64Forms returns the Base64 encodings of v inside of a longer text: three
// alignments, without the characters that depend on its neighbors.
func base64Forms(v string) []string {
	var out []string
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			text := alphabet.EncodeToString([]byte(strings.Repeat("\x00", shift) + v))
			from := (shift*8 + 5) / 6
			until := (shift + len(v)) * 8 / 6
			if until-from >= MinLength {
				out = append(out, text[from:until])
			}
		}
	}
	return out
}

// find returns the first pattern at or after from.
func (m *masker) find(b []byte, from int) (at, n int, found bool) {
	for i := from; i+prefix <= len(b); i++ {
		key := binary.LittleEndian.Uint64(b[i:])
		if !m.filter[hash(key)] {
			continue
		}
		for _, p := range m.patterns[key] {
			if len(b)-i >= len(p) && string(b[i:i+len(p)]) == p {
				return i, len(p), true
			}
		}
	}
	return 0, 0, false
}

func (m *masker) replace(b []byte) []byte {
	at, n, found := m.find(b, 0)
	if !found {
		return b
	}
	out, from := make([]byte, 0, len(b)), 0
	for found {
		out = append(append(out, b[from:at]...), Text...)
		from = at + n
		at, n, found = m.find(b, from)
	}
	return append(out, b[from:]...)
}

// replaceJSON replaces secrets within the strings and numbers of JSON values.
func (m *masker) replaceJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); {
		end := i + 1
		switch c := b[i]; {
		case c == '"':
			for end < len(b) && b[end] != '"' {
				if b[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(b))
			out = append(out, m.replace(b[i:end])...)
		case c == '-' || '0' <= c && c <= '9':
			for end < len(b) && (b[end] >= '0' && b[end] <= '9' || strings.IndexByte("+-.eE", b[end]) >= 0) {
				end++
			}
			if _, _, found := m.find(b[i:end], 0); found {
				out = append(out, `"`+Text+`"`...)
			} else {
				out = append(out, b[i:end]...)
			}
		default:
			out = append(out, c)
		}
		i = end
	}
	return out
}
