package strictyaml

import (
	"strings"

	"valence/internal/spec"
)

// explain reports a syntax error of YAML where it is, as far as that can be
// told, and says what to do.
func (s *File) explain(e *SyntaxError, scan *scanned) {
	for i, u := range scan.unquoted {
		if i == 20 {
			break
		}
		msg := "YAML reads this expression otherwise: unquoted, it may hold no `: ` or ` #`, and inside of { } and [ ] it may not stand at all"
		if !strings.Contains(s.Line(u.line), "${") {
			msg = "YAML reads this text otherwise: inside of { } and [ ] it may hold no brackets of its own unless it is in quotes"
		}
		s.Report(u.line, u.col, CodeUnquoted, msg,
			"write the line as `"+strings.TrimSpace(u.fixed)+"`")
	}
	if len(scan.unquoted) > 0 {
		return
	}
	if strings.Contains(e.Msg, "unknown anchor") {
		name := strings.TrimSuffix(strings.TrimPrefix(e.Msg, "unknown anchor '"), "' referenced")
		line, col := s.find("*" + name)
		s.Report(line, col, CodeAnchor, "anchors and aliases (`*"+spec.Clip(name)+"`) are not part of the language", "write the value out; a text that starts with * goes in quotes")
		return
	}
	line, col, hint := s.culprit(e, scan)
	s.Report(line, col, CodeSyntax, "this is not YAML: "+e.Msg, hint)
}

// find gives the place of a text that stands at the start of a value.
func (s *File) find(word string) (line, col int) {
	for n := 1; n <= len(s.starts); n++ {
		if i := strings.Index(s.Line(n), word); i >= 0 {
			return n, len([]rune(s.Line(n)[:i])) + 1
		}
	}
	return 1, 1
}

// culprit looks around the line that the parser names, which may be the one
// before or after, for what people get wrong.
func (s *File) culprit(e *SyntaxError, scan *scanned) (line, col int, hint string) {
	near := []int{e.Line, e.Line + 1, e.Line - 1}
	for _, n := range near {
		text := s.Line(n)
		trimmed := strings.TrimLeft(text, " ")
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		v := valueStart(text)
		col := len([]rune(text[:min(v, len(text))])) + 1
		switch {
		case v < len(text) && strings.ContainsRune("@`%", rune(text[v])):
			return n, col, "a text cannot start with " + text[v:v+1] + " unless it is in quotes: `" + strings.TrimSpace(text[:v]+quoted(text[v:])) + "`"
		case v < len(text) && !strings.ContainsRune("\"'{[|>&*!#", rune(text[v])) && v > len(text)-len(trimmed) && strings.Contains(text[v:], ": "):
			return n, col, "a text with `: ` in it goes in quotes: `" + strings.TrimSpace(text[:v]+quoted(text[v:])) + "`"
		}
	}
	indented := near
	if strings.Contains(e.Msg, "did not find expected") { // then the line is where the list or mapping begins
		for n := e.Line + 2; n <= len(s.starts); n++ {
			indented = append(indented, n)
		}
	}
	for _, n := range indented {
		if bad, want := s.misplaced(n, scan); bad {
			return n, scan.indents[n-1] + 1, "line it up with the lines around it: " + want
		}
	}
	for _, n := range near {
		text := strings.TrimSpace(s.Line(n))
		key := strings.TrimPrefix(text, "- ")
		if i := strings.IndexByte(key, ':'); i > 0 && i+1 < len(key) && key[i+1] != ' ' && !strings.ContainsAny(key[:i], " \"'{[") {
			return n, scan.column(n), "put a space behind the colon: `" + key[:i+1] + " " + key[i+1:] + "`"
		}
		if key != "" && !strings.Contains(key, ":") && !strings.HasPrefix(text, "-") && !strings.ContainsAny(key, "{}[]\"'#") {
			return n, scan.column(n), "a line in a mapping is `key: value`"
		}
	}
	switch {
	case scan.open[0] > 0:
		return scan.open[0], scan.open[1], "what begins here is not closed, or something follows it that does not belong there"
	case strings.Contains(e.Msg, "escape"):
		hint = "use single quotes around a text with backslashes"
	case strings.Contains(e.Msg, "',' or"):
		hint = "look for a bracket that is not closed, or a comma that is missing"
	default:
		hint = "look at the indentation, the quotes and the brackets of this line and the one before"
	}
	return max(e.Line, 1), scan.column(max(e.Line, 1)), hint
}

func (c *scanned) column(line int) int {
	if line < 1 || line > len(c.indents) || c.indents[line-1] < 0 {
		return 1
	}
	return c.indents[line-1] + 1
}

// misplaced reports whether a line's indentation fits none of the lines that
// enclose it.
func (s *File) misplaced(n int, scan *scanned) (bool, string) {
	if n < 2 || n > len(scan.indents) || scan.indents[n-1] < 0 {
		return false, ""
	}
	indent, text := scan.indents[n-1], strings.TrimSpace(s.Line(n))
	if !strings.HasPrefix(text, "- ") && !strings.Contains(text, ": ") && !strings.HasSuffix(text, ":") {
		return false, "" // the rest of a text
	}
	above := n - 1
	for above > 0 && scan.indents[above-1] < 0 {
		above--
	}
	if above == 0 {
		return indent > 0, "the first line of a document stands at the left edge"
	}
	if opens := strings.HasSuffix(strings.TrimSpace(stripComment(s.Line(above))), ":"); indent > s.content(above, scan) {
		return !opens, "it is indented more than the line before it, which opens nothing"
	}
	for i := above; i > 0; i-- {
		have := scan.indents[i-1]
		if have < 0 {
			continue
		}
		if have == indent || s.content(i, scan) == indent {
			return false, ""
		}
		if have < indent {
			break
		}
	}
	return true, "it is indented less than the lines before it, and more than what encloses them"
}

// content is where a line's text begins behind any `- `.
func (s *File) content(n int, scan *scanned) int {
	at := scan.indents[n-1]
	for text := s.Line(n); strings.HasPrefix(text[at:], "- "); {
		at += len(text[at:]) - len(strings.TrimLeft(text[at+1:], " "))
	}
	return at
}
