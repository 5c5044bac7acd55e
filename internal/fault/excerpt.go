package fault

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxExcerpt is the number of characters of a line that an excerpt shows.
const maxExcerpt = 120

// Report returns the problem as text for people: the first line of Error, the
// source line with a caret, the hint, the corrected line and a link. source
// returns a line of a file, or "" if it is not known. It may be nil.
func (p *Problem) Report(source func(file string, line int) string, see string) string {
	first, _, _ := strings.Cut(p.Error(), "\n    try: ")
	out := strings.Builder{}
	out.WriteString(first)
	line := ""
	if source != nil && p.Line > 0 {
		line = source(p.File, p.Line)
	}
	number := fmt.Sprintf("%7d | ", p.Line)
	if line != "" {
		text, caret := excerpt(line, offsetOf(line, p.Col), p.marked(line))
		out.WriteString("\n" + number + text + "\n" + strings.Repeat(" ", 7) + " | " + caret)
	}
	if p.Hint != "" {
		out.WriteString("\n    try: " + p.Hint)
	}
	if corrected := p.Fix.Apply(line, p.Col); corrected != "" {
		text, _ := excerpt(corrected, min(offsetOf(line, p.Col), len(corrected)), 1)
		out.WriteString("\n" + number + text)
	}
	if see != "" {
		out.WriteString("\n    see: " + see)
	}
	return out.String()
}

// marked returns the number of characters that the caret underlines.
func (p *Problem) marked(line string) int {
	at := offsetOf(line, p.Col)
	if p.Fix.Old != "" && strings.HasPrefix(line[at:], p.Fix.Old) {
		return utf8.RuneCountInString(p.Fix.Old)
	}
	return 1
}

// excerpt returns a line, shortened around an offset, and the line with the
// caret below it.
func excerpt(line string, at, marked int) (text, caret string) {
	start := utf8.RuneCountInString(line[:at])
	runes := []rune(line)
	from, before := 0, ""
	if len(runes) > maxExcerpt && start > maxExcerpt*2/3 {
		from, before = start-maxExcerpt/3, "…"
	}
	to, after := len(runes), ""
	if to-from > maxExcerpt {
		to, after = from+maxExcerpt, "…"
	}
	shown := make([]rune, 0, to-from)
	for _, r := range runes[from:to] {
		switch {
		case r == '\t':
			r = ' '
		case r < ' ' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x2069:
			r = '␣'
		}
		shown = append(shown, r)
	}
	pad := start - from + utf8.RuneCountInString(before)
	return before + strings.TrimRight(string(shown), " ") + after, strings.Repeat(" ", pad) + strings.Repeat("^", max(1, min(marked, to-start)))
}
