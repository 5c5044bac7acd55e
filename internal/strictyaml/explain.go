package strictyaml

import (
	"strings"

	"valence/internal/fault"
	"valence/internal/spec"
)

// explain reports a syntax error at its probable cause, with a hint.
func (s *File) explain(e *SyntaxError, scan *scanned) {
	for i, u := range scan.unquoted {
		if i == 20 {
			break
		}
		msg := "quote this expression: YAML misreads `: `, ` #` and { } [ ]"
		if !strings.Contains(s.Line(u.line), "${") {
			msg = "quote this string: YAML misreads brackets inside { } and [ ]"
		}
		s.Report(u.line, u.col, CodeUnquoted, msg,
			"write the line as `"+strings.TrimSpace(u.fixed)+"`")
		s.Problems[len(s.Problems)-1].Fix = fault.Edit{Old: s.Line(u.line), New: u.fixed}
	}
	if len(scan.unquoted) > 0 {
		return
	}
	if strings.Contains(e.Msg, "unknown anchor") {
		name := strings.TrimSuffix(strings.TrimPrefix(e.Msg, "unknown anchor '"), "' referenced")
		line, col := s.find("*" + name)
		s.Report(line, col, CodeAnchor, "anchors and aliases (`*"+spec.Clip(name)+"`) are not supported", "write the value out; quote text that starts with *")
		return
	}
	line, col, hint := s.culprit(e, scan)
	s.Report(line, col, CodeSyntax, "invalid YAML: "+e.Msg, hint)
}

// find returns the position of the first occurrence of a word.
func (s *File) find(word string) (line, col int) {
	for n := 1; n <= len(s.starts); n++ {
		if i := strings.Index(s.Line(n), word); i >= 0 {
			return n, len([]rune(s.Line(n)[:i])) + 1
		}
	}
	return 1, 1
}

// culprit looks for common mistakes in the line that the parser reports and in
// the lines next to it. It returns the position and a hint.
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
			return n, col, "quote strings that start with " + text[v:v+1] + ": `" + strings.TrimSpace(text[:v]+quoted(text[v:])) + "`"
		case v < len(text) && !strings.ContainsRune("\"'{[|>&*!#", rune(text[v])) && v > len(text)-len(trimmed) && strings.Contains(text[v:], ": "):
			return n, col, "quote strings that contain `: `: `" + strings.TrimSpace(text[:v]+quoted(text[v:])) + "`"
		}
	}
	indented := near
	if strings.Contains(e.Msg, "did not find expected") { // the line is then the start of the list or map
		for n := e.Line + 2; n <= len(s.starts); n++ {
			indented = append(indented, n)
		}
	}
	for _, n := range indented {
		if bad, want := s.misplaced(n, scan); bad {
			return n, scan.indents[n-1] + 1, "align the line with the lines around it: " + want
		}
	}
	for _, n := range near {
		text := strings.TrimSpace(s.Line(n))
		key := strings.TrimPrefix(text, "- ")
		if i := strings.IndexByte(key, ':'); i > 0 && i+1 < len(key) && key[i+1] != ' ' && !strings.ContainsAny(key[:i], " \"'{[") {
			return n, scan.column(n), "add a space after the colon: `" + key[:i+1] + " " + key[i+1:] + "`"
		}
		if key != "" && !strings.Contains(key, ":") && !strings.HasPrefix(text, "-") && !strings.ContainsAny(key, "{}[]\"'#") {
			return n, scan.column(n), "write `key: value`"
		}
	}
	switch {
	case scan.open[0] > 0:
		return scan.open[0], scan.open[1], "close the bracket or quote that opens here, and check what follows it"
	case strings.Contains(e.Msg, "escape"):
		hint = "use single quotes around strings with backslashes"
	case strings.Contains(e.Msg, "',' or"):
		hint = "check for an unclosed bracket or a missing comma"
	default:
		hint = "check the indentation, quotes and brackets of this line and the previous one"
	}
	return max(e.Line, 1), scan.column(max(e.Line, 1)), hint
}

func (c *scanned) column(line int) int {
	if line < 1 || line > len(c.indents) || c.indents[line-1] < 0 {
		return 1
	}
	return c.indents[line-1] + 1
}

// misplaced reports whether the indentation of a line matches none of the lines
// that enclose it, and describes the problem.
func (s *File) misplaced(n int, scan *scanned) (bool, string) {
	if n < 2 || n > len(scan.indents) || scan.indents[n-1] < 0 {
		return false, ""
	}
	indent, text := scan.indents[n-1], strings.TrimSpace(s.Line(n))
	if !strings.HasPrefix(text, "- ") && !strings.Contains(text, ": ") && !strings.HasSuffix(text, ":") {
		return false, "" // continues a string
	}
	above := n - 1
	for above > 0 && scan.indents[above-1] < 0 {
		above--
	}
	if above == 0 {
		return indent > 0, "the first line of a document must not be indented"
	}
	if opens := strings.HasSuffix(strings.TrimSpace(stripComment(s.Line(above))), ":"); indent > s.content(above, scan) {
		return !opens, "it is indented more than the previous line, which starts no list or map"
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
	return true, "its indentation lies between that of the previous lines and that of their parent"
}

// content returns the offset of a line's text after any `- `.
func (s *File) content(n int, scan *scanned) int {
	at := scan.indents[n-1]
	for text := s.Line(n); strings.HasPrefix(text[at:], "- "); {
		at += len(text[at:]) - len(strings.TrimLeft(text[at+1:], " "))
	}
	return at
}
