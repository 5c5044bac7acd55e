package expression

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"valence/internal/document"
)

// The functions below read valid JSON text. On invalid text they stop early;
// they never panic and never read twice.

// space returns the index of the next character that is not white space.
func space(s string, i int) int {
	if i < len(s) && s[i] > ' ' {
		return i
	}
	return spaces(s, i)
}

func spaces(s string, i int) int {
	for i < len(s) && s[i] <= ' ' {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func load(s string, i int) uint64 {
	return binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s), len(s))[i:])
}

// textEnd returns the index after the string that starts at i and whether it
// contains escapes.
func textEnd(s string, i int) (end int, escaped bool) {
	for i++; ; {
		for i+8 <= len(s) {
			x := load(s, i)
			quote, slash := x^(ones*'"'), x^(ones*'\\')
			hit := ((quote-ones)&^quote | (slash-ones)&^slash) & highs
			if hit != 0 {
				i += bits.TrailingZeros64(hit) / 8
				break
			}
			i += 8
		}
		if i >= len(s) {
			return len(s), escaped
		}
		switch s[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i += 2
		default:
			i++
		}
	}
}

// skip returns the index after the value that starts at i.
func skip(s string, i int) int {
	if i >= len(s) {
		return len(s)
	}
	switch s[i] {
	case '"':
		end, _ := textEnd(s, i)
		return end
	case '{', '[':
		return leave(s, i+1)
	}
	for i++; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == ',' || c == '}' || c == ']' {
			break
		}
	}
	return i
}

// leave returns the index after the end of the object or array around i.
func leave(s string, i int) int {
	for depth := 1; i < len(s); {
		switch s[i] {
		case '"':
			i, _ = textEnd(s, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return len(s)
}

// member is one member of an object or one element of an array.
type member struct {
	key  string
	text string // of the value
}

// members iterates over an object or an array.
//
//	for it := begin(text); it.next(); { … it.key … it.text … }
type members struct {
	s      string
	i      int
	object bool
	member
}

// begin starts an iteration over the text of an object or an array.
func begin(s string) members {
	return members{s: s, i: 1, object: len(s) > 0 && s[0] == '{'}
}

func (it *members) next() bool {
	s := it.s
	i := space(s, it.i)
	if i < len(s) && s[i] == ',' {
		i = space(s, i+1)
	}
	if i >= len(s) || s[i] == '}' || s[i] == ']' {
		it.i = i
		return false
	}
	if it.object {
		end, escaped := textEnd(s, i)
		it.key = keyText(s[i:end], escaped)
		if i = space(s, end); i < len(s) && s[i] == ':' {
			i++
		}
		i = space(s, i)
	}
	end := skip(s, i)
	it.text = s[i:end]
	it.i = end
	return end > i
}

// keyText returns the content of a quoted string.
func keyText(quoted string, escaped bool) string {
	if len(quoted) < 2 {
		return ""
	}
	if escaped {
		text, _ := document.Parse(quoted).(string)
		return text
	}
	return quoted[1 : len(quoted)-1]
}

// count returns the number of members of an object or array.
func count(s string) int {
	n := 0
	for i := space(s, 1); i < len(s) && s[i] != '}' && s[i] != ']'; n++ {
		if s[0] == '{' {
			i, _ = textEnd(s, i)
			if i = space(s, i); i < len(s) && s[i] == ':' {
				i++
			}
			i = space(s, i)
		}
		if i = space(s, skip(s, i)); i < len(s) && s[i] == ',' {
			i = space(s, i+1)
		}
	}
	return n
}

// lookup returns the value of a key of an object.
func lookup(s, key string) (text string, ok bool) {
	for i := space(s, 1); i < len(s) && s[i] == '"'; {
		end, escaped := textEnd(s, i)
		hit := !escaped && end-i == len(key)+2 && s[i+1:end-1] == key || escaped && keyText(s[i:end], true) == key
		if i = space(s, end); i < len(s) && s[i] == ':' {
			i++
		}
		i = space(s, i)
		end = skip(s, i)
		if hit {
			return s[i:end], true
		}
		if i = space(s, end); i < len(s) && s[i] == ',' {
			i = space(s, i+1)
		}
	}
	return "", false
}

// element returns the n-th element of an array.
func element(s string, n int) (text string, ok bool) {
	for it := begin(s); it.next(); n-- {
		if n == 0 {
			return it.text, true
		}
	}
	return "", false
}

// fromText returns the value of JSON text that has no surrounding white space.
func fromText(s string) any {
	if s == "" || s == `"` {
		return nil
	}
	switch s[0] {
	case '"':
		for i := 1; i < len(s)-1; i++ {
			if s[i] == '\\' {
				return document.Parse(s)
			}
		}
		return s[1 : len(s)-1]
	case '{', '[':
		return document.Raw(s)
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	}
	return document.Number(s)
}

// trie finds many paths in one walk over a text. It stores the text of each
// path's value in the path's place and leaves the place unchanged if there is
// none.
type trie struct {
	place    int // of the path that ends here, or -1
	keys     []branch
	elements []branch // by index, ascending
}

type branch struct {
	key   string
	index int
	next  *trie
}

func newTrie() *trie { return &trie{place: -1} }

// add returns the node at the end of the steps.
func (t *trie) add(steps []step) *trie {
	for _, st := range steps {
		list := &t.keys
		if st.isIndex {
			list = &t.elements
		}
		at := 0
		for at < len(*list) && (st.isIndex && (*list)[at].index < st.index || !st.isIndex && (*list)[at].key != st.key) {
			at++
		}
		if at == len(*list) || st.isIndex && (*list)[at].index != st.index {
			*list = append(*list, branch{})
			copy((*list)[at+1:], (*list)[at:])
			(*list)[at] = branch{key: st.key, index: st.index, next: newTrie()}
		}
		t = (*list)[at].next
	}
	return t
}

// walk reads the value that starts at i. It returns the index after it, or -1
// if the caller does not need the index and finding it would cost time.
func (t *trie) walk(s string, i int, needEnd bool, places []string) int {
	end := -1
	needEnd = needEnd || t.place >= 0
	switch {
	case i >= len(s):
		return len(s)
	case s[i] == '{' && len(t.keys) > 0:
		end = t.walkObject(s, i, needEnd, places)
	case s[i] == '[' && len(t.elements) > 0:
		end = t.walkArray(s, i, needEnd, places)
	case needEnd:
		end = skip(s, i)
	}
	if t.place >= 0 {
		places[t.place] = s[i:end]
	}
	return end
}

func (t *trie) walkObject(s string, i int, needEnd bool, places []string) int {
	wanted := len(t.keys)
	for i = space(s, i+1); i < len(s) && s[i] == '"'; {
		start := i
		end, escaped := textEnd(s, i)
		if i = end; i < len(s) && s[i] != ':' {
			i = space(s, i)
		}
		if i++; i < len(s) && s[i] <= ' ' {
			i = space(s, i)
		}
		if next := t.find(s[start:end], escaped); next != nil {
			if wanted--; wanted == 0 {
				if end = next.walk(s, i, needEnd, places); !needEnd {
					return -1
				}
				return leave(s, end)
			}
			i = next.walk(s, i, true, places)
		} else {
			i = skip(s, i)
		}
		if i < len(s) && s[i] <= ' ' {
			i = space(s, i)
		}
		if i < len(s) && s[i] == ',' {
			if i++; i < len(s) && s[i] <= ' ' {
				i = space(s, i)
			}
		}
	}
	return min(i+1, len(s))
}

func (t *trie) find(quoted string, escaped bool) *trie {
	if escaped || len(quoted) < 2 {
		quoted = `"` + keyText(quoted, escaped) + `"`
	}
	key := quoted[1 : len(quoted)-1]
	for k := range t.keys {
		if b := &t.keys[k]; len(b.key) == len(key) && b.key == key {
			return b.next
		}
	}
	return nil
}

func (t *trie) walkArray(s string, i int, needEnd bool, places []string) int {
	k := 0
	i = space(s, i+1)
	for n := 0; i < len(s) && s[i] != ']'; n++ {
		if t.elements[k].index == n {
			next := t.elements[k].next
			if k++; k == len(t.elements) {
				if i = next.walk(s, i, needEnd, places); !needEnd {
					return -1
				}
				return leave(s, i)
			}
			i = next.walk(s, i, true, places)
		} else {
			i = skip(s, i)
		}
		if i = space(s, i); i < len(s) && s[i] == ',' {
			i = space(s, i+1)
		}
	}
	return min(i+1, len(s))
}

// sameText reports whether two strings share the same memory.
func sameText(a, b string) bool {
	return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b)
}
