package lsp

import (
	"sort"
	"strings"
	"sync"
	"unicode/utf8"

	"valence/internal/lsp/yamltree"
)

// maxText is the size of a document up to which it is read. Lint reports larger ones.
const maxText = 4 << 20

// text is the content of a document with the offsets of its lines. It never changes.
type text struct {
	content string
	starts  []int
	once    sync.Once
	docs    []*yamltree.Node
}

func newText(content string) *text {
	t := &text{content: content, starts: []int{0}}
	for i := range len(content) {
		if content[i] == '\n' || content[i] == '\r' && (i+1 == len(content) || content[i+1] != '\n') {
			t.starts = append(t.starts, i+1)
		}
	}
	return t
}

// tree returns the documents of the text.
func (t *text) tree() []*yamltree.Node {
	t.once.Do(func() {
		if len(t.content) <= maxText {
			t.docs = yamltree.Parse(t.content)
		}
	})
	return t.docs
}

// line returns a line without its break. Lines outside the text are empty.
func (t *text) line(n int) string {
	if n < 0 || n >= len(t.starts) {
		return ""
	}
	end := len(t.content)
	if n+1 < len(t.starts) {
		end = t.starts[n+1]
	}
	return strings.TrimRight(t.content[t.starts[n]:end], "\r\n")
}

// offset returns the byte offset of a position. Positions after the end of a line
// or of the text are moved to it, as the protocol says.
func (t *text) offset(p Position) int {
	if p.Line < 0 {
		return 0
	}
	if p.Line >= len(t.starts) {
		return len(t.content)
	}
	line := t.line(p.Line)
	units := 0
	for i, r := range line {
		if units >= p.Character {
			return t.starts[p.Line] + i
		}
		units += utf16Len(r)
	}
	return t.starts[p.Line] + len(line)
}

// position returns the position of a byte offset.
func (t *text) position(offset int) Position {
	offset = max(0, min(offset, len(t.content)))
	line := sort.SearchInts(t.starts, offset+1) - 1
	units := 0
	for _, r := range t.content[t.starts[line]:offset] {
		units += utf16Len(r)
	}
	return Position{line, units}
}

func (t *text) span(s yamltree.Span) Range { return Range{t.position(s.From), t.position(s.To)} }

// column returns the byte offset of a column of a line, both counted in
// characters from 1, as problems have them.
func (t *text) column(line, col int) int {
	if line < 1 || line > len(t.starts) {
		return len(t.content)
	}
	start, s := t.starts[line-1], t.line(line-1)
	if line == 1 {
		if rest, ok := strings.CutPrefix(s, "\ufeff"); ok { // problems do not count it
			start, s = start+len("\ufeff"), rest
		}
	}
	for i := range s {
		if col--; col < 1 {
			return start + i
		}
	}
	return start + len(s)
}

// edit returns the text with a part replaced.
func (t *text) edit(r Range, with string) *text {
	from, to := t.offset(r.Start), t.offset(r.End)
	if to < from {
		from, to = to, from
	}
	return newText(t.content[:from] + with + t.content[to:])
}

func utf16Len(r rune) int {
	if r >= 0x10000 {
		return 2
	}
	return 1
}

// valid replaces bytes that are not UTF-8, so that offsets and positions agree.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
