package drawing

import (
	"math"
	"strings"
	"unicode"
)

// font is a style of text with its size in pixels.
type font struct {
	class string
	size  float64
	bold  bool
	mono  bool
}

// The fonts of a drawing.
var (
	fontTitle   = font{class: "title", size: 18, bold: true}
	fontAbout   = font{class: "about", size: 12}
	fontKind    = font{class: "kind", size: 13, bold: true}
	fontSubject = font{class: "code", size: 12, mono: true}
	fontDetail  = font{class: "code quiet", size: 11, mono: true}
	fontSmall   = font{class: "quiet", size: 11}
	fontTag     = font{class: "word", size: 11}
	fontLabel   = font{class: "label", size: 11, bold: true}
	fontEdge    = font{class: "edge", size: 11, bold: true}
)

// widths are the widths of the characters from space to ~ in thousandths of the
// size, in a wide font. The fonts that viewers have are as wide or narrower.
var widths = [...]int{
	318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636, 636, 636, 636,
	636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
	603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635,
	634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
}

const (
	widthOfBold  = 1.15  // of a bold character, compared with a regular one
	widthOfMono  = 0.615 // of a character in a font of equal widths
	widthOfOther = 1.05  // of a character that is not in the table
	widthOfEmoji = 1.4
)

// width returns the width of a text in pixels. It is an upper bound for text in
// Latin script; other text is written with this width as its textLength.
func (f font) width(s string) float64 {
	w := 0.0
	for _, r := range s {
		w += f.runeWidth(r)
	}
	return w
}

func (f font) runeWidth(r rune) float64 {
	w := widthOfOther
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= ' ' && r <= '~' && f.mono:
		w = widthOfMono
	case r >= ' ' && r <= '~':
		w = float64(widths[r-' ']) / 1000
	case r >= 0x1f000:
		w = widthOfEmoji
	}
	if f.bold {
		w *= widthOfBold
	}
	return w * f.size
}

// foreign reports whether a text has characters whose width is only estimated.
func foreign(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r >= 0x250 && r != '…' && r != '·' })
}

// clip shortens a text to a width. Line breaks and invisible characters are replaced.
func (f font) clip(s string, most float64) string {
	s = oneLine(s)
	if len(s) < 1000 && f.width(s) <= most {
		return s
	}
	w, room := 0.0, most-f.runeWidth('…')
	for i, r := range s {
		if w += f.runeWidth(r); w > room || i > 1000 {
			return strings.TrimRight(s[:i], " ") + "…"
		}
	}
	return s
}

// oneLine replaces characters that break a line, change its direction or are invisible.
func oneLine(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "�")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) && r != 0x200d || r == 0x2028 || r == 0x2029 || r == 0xfffe || r == 0xffff:
			return '␣'
		}
		return r
	}, s)
}

// wrap breaks a text into at most n lines of a width. The last one is clipped.
func (f font) wrap(s string, most float64, n int) []string {
	words := strings.Fields(oneLine(s))
	var lines []string
	for len(words) > 0 {
		if len(lines) == n-1 {
			return append(lines, f.clip(strings.Join(words, " "), most))
		}
		line, used := words[0], 1
		for used < len(words) && f.width(line+" "+words[used]) <= most {
			line += " " + words[used]
			used++
		}
		lines, words = append(lines, f.clip(line, most)), words[used:]
	}
	return lines
}

func pixels(f float64) int { return int(math.Ceil(f)) }
