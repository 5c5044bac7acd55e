package strictyaml

import (
	"strings"
	"unicode/utf8"
)

// scanned is the result of scanning the lines of a file without a YAML parser.
type scanned struct {
	tabs     bool
	unquoted []unquoted
	indents  []int  // of each line; -1 for blank lines, comments and lines inside strings
	open     [2]int // line and column of an unclosed quote or bracket; zero if there is none
}

// unquoted is an expression, or a string with brackets inside brackets, that YAML
// misreads.
type unquoted struct {
	line, col int
	fixed     string // the line with quotes
}

// scanLines reports tabs, and collects probable causes of syntax errors.
func scanLines(s *File) *scanned {
	out := &scanned{indents: make([]int, len(s.starts))}
	st := lineState{block: -1}
	tabs := 0
	for i := range s.starts {
		line := s.Line(i + 1)
		out.indents[i] = -1
		if st.skips(line) {
			continue
		}
		if st.quote == 0 && strings.Trim(line, " \t") != "" && strings.TrimLeft(line, " \t")[0] != '#' {
			out.indents[i] = len(line) - len(strings.TrimLeft(line, " "))
		}
		depth, quoted := len(st.flow), st.quote != 0
		st.line = i + 1
		at := st.advance(line)
		if at >= 0 {
			if tabs++; tabs <= 20 {
				s.Report(i+1, utf8.RuneCountInString(line[:at])+1, CodeTab, "tabs are not allowed here", "use spaces; configure the editor to insert spaces in YAML files")
			}
			out.tabs = true
		}
		if !quoted && strings.ContainsAny(line, "{[") {
			if fixed, col := quoteLine(line, depth); fixed != "" {
				out.unquoted = append(out.unquoted, unquoted{i + 1, utf8.RuneCountInString(line[:col]) + 1, fixed})
			}
		}
	}
	if st.quote != 0 {
		out.open = st.quoteAt
	} else if len(st.flow) > 0 {
		out.open = st.flow[len(st.flow)-1]
	}
	if at := out.open[1]; out.open[0] > 0 {
		out.open[1] = utf8.RuneCountInString(s.Line(out.open[0])[:at]) + 1
	}
	return out
}

// lineState tracks quotes, brackets and block strings across lines.
type lineState struct {
	line    int
	quote   byte     // ' or " inside a quoted string
	quoteAt [2]int   // its line and offset
	flow    [][2]int // line and offset of each open bracket
	block   int      // indentation of the line that started a block string, -1 outside
}

// skips reports whether the line belongs to a block string.
func (st *lineState) skips(line string) bool {
	if st.block < 0 {
		return false
	}
	trimmed := strings.TrimLeft(line, " ")
	if trimmed == "" || len(line)-len(trimmed) > st.block {
		return true
	}
	st.block = -1
	return false
}

// advance scans a line and returns the offset of the first tab outside of strings
// and comments, or -1.
func (st *lineState) advance(line string) int {
	tab := -1
	fresh := true // a quote here starts a string
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case st.quote == '"' && c == '\\':
			i++
		case st.quote != 0:
			if c == st.quote {
				if c == '\'' && i+1 < len(line) && line[i+1] == '\'' {
					i++
					continue
				}
				st.quote, fresh = 0, false
			}
		case c == '\t':
			if tab < 0 {
				tab = i
			}
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return tab
		case fresh && (c == '"' || c == '\''):
			st.quote, st.quoteAt = c, [2]int{st.line, i}
		case c == '{' || c == '[':
			if len(st.flow) > 0 || fresh {
				st.flow = append(st.flow, [2]int{st.line, i})
				fresh = true
			}
		case c == '}' || c == ']':
			if len(st.flow) > 0 {
				st.flow = st.flow[:len(st.flow)-1]
			}
			fresh = false
		case c == ',' && len(st.flow) > 0, c == ':' && (i+1 == len(line) || line[i+1] == ' '), c == '-' && fresh && (i+1 == len(line) || line[i+1] == ' '):
			fresh = true
		case (c == '|' || c == '>') && fresh && len(st.flow) == 0:
			if strings.Trim(stripComment(line[i+1:]), "+-0123456789 ") == "" {
				st.block = blockIndent(line)
				return tab
			}
			fresh = false
		case c != ' ':
			fresh = false
		}
	}
	return tab
}

// blockIndent returns the indentation that the lines of a block string must
// exceed: that of its key, after any `- `.
func blockIndent(line string) int {
	i := 0
	for {
		for i < len(line) && line[i] == ' ' {
			i++
		}
		if !strings.HasPrefix(line[i:], "- ") {
			break
		}
		if next := strings.TrimLeft(line[i+2:], " "); next == "" || next[0] == '|' || next[0] == '>' {
			break
		}
		i += 2
	}
	return i
}

func stripComment(s string) string {
	if i := strings.Index(s, " #"); i >= 0 {
		return s[:i]
	}
	return s
}

// quoteLine quotes the values of a line that YAML misreads: expressions, and
// strings with brackets inside brackets. It returns the line and the offset of the
// first such value, or "" if there is none. depth is the number of brackets open
// before the line.
func quoteLine(line string, depth int) (fixed string, col int) {
	var b strings.Builder
	col, last := -1, 0
	wrap := func(from, to int) {
		for to > from && line[to-1] == ' ' {
			to--
		}
		b.WriteString(line[last:from])
		b.WriteString(quoted(line[from:to]))
		if last = to; col < 0 {
			col = from
		}
	}
	i := 0
	if depth == 0 {
		i = valueStart(line)
		if i >= len(line) || line[i] == '#' {
			return "", 0
		}
		if line[i] != '{' && line[i] != '[' {
			if end, bad := plainEnd(line, i); bad {
				wrap(i, end)
			}
			if col < 0 {
				return "", 0
			}
			return b.String() + line[last:], col
		}
	}
	start := i
	for i < len(line) {
		switch c := line[i]; {
		case (c == '"' || c == '\'') && strings.TrimSpace(line[start:i]) == "":
			i = skipQuoted(line, i)
			start = i
			continue
		case strings.HasPrefix(line[i:], "${"):
			from := start + len(line[start:i]) - len(strings.TrimLeft(line[start:i], " "))
			end := expressionEnd(line, i)
			if end < 0 {
				return "", 0
			}
			if end = textEnd(line, end); end < 0 {
				return "", 0
			}
			wrap(from, end)
			i, start = end, end
			continue
		case (c == '{' || c == '[') && depth > 0 && strings.TrimSpace(line[start:i]) != "": // inside a string
			end := textEnd(line, i)
			if end < 0 {
				return "", 0
			}
			wrap(start+len(line[start:i])-len(strings.TrimLeft(line[start:i], " ")), end)
			i, start = end, end
			continue
		case c == '{' || c == '[':
			depth++
			start = i + 1
		case c == '}' || c == ']':
			depth--
			start = i + 1
		case c == ',', c == ':' && i+1 < len(line) && line[i+1] == ' ':
			start = i + 1
		case c == '#' && i > 0 && line[i-1] == ' ':
			i = len(line)
			continue
		}
		i++
	}
	if col < 0 {
		return "", 0
	}
	return b.String() + line[last:], col
}

// textEnd returns the offset after the string that continues at from inside
// brackets, if balanced brackets belong to the string. It returns -1 if a bracket
// is not closed.
func textEnd(line string, from int) int {
	depth := 0
	for i := from; i < len(line); i++ {
		switch c := line[i]; {
		case strings.HasPrefix(line[i:], "${"):
			end := expressionEnd(line, i)
			if end < 0 {
				return -1
			}
			i = end - 1
		case c == '{' || c == '[':
			depth++
		case depth == 0 && (c == ',' || c == '}' || c == ']'):
			return i
		case c == '}' || c == ']':
			depth--
		}
	}
	if depth > 0 {
		return -1
	}
	return len(line)
}

// valueStart skips indentation, `- ` and `key: `.
func valueStart(line string) int {
	i := 0
	for {
		for i < len(line) && line[i] == ' ' {
			i++
		}
		if !strings.HasPrefix(line[i:], "- ") {
			break
		}
		i += 2
	}
	rest := line[i:]
	if rest == "" || strings.ContainsRune("\"'{[", rune(rest[0])) || strings.HasPrefix(rest, "${") {
		return i
	}
	if k := strings.Index(rest, ": "); k > 0 && !strings.Contains(rest[:k], "${") && !strings.Contains(rest[:k], " #") {
		i += k + 2
		for i < len(line) && line[i] == ' ' {
			i++
		}
	}
	return i
}

// plainEnd returns the intended end of an unquoted value outside of brackets, and
// reports whether YAML misreads the value.
func plainEnd(line string, from int) (end int, bad bool) {
	if strings.ContainsRune("\"'|>#", rune(line[from])) || !strings.Contains(line[from:], "${") {
		return 0, false
	}
	for i := from; i < len(line); {
		switch {
		case strings.HasPrefix(line[i:], "${"):
			end = expressionEnd(line, i)
			if end < 0 {
				return 0, false
			}
			inside := line[i:end]
			bad = bad || strings.Contains(inside, ": ") || strings.Contains(inside, " #")
			i = end
		case strings.HasPrefix(line[i:], " #"):
			return i, bad
		case strings.HasPrefix(line[i:], ": "):
			bad = true
			i++
		default:
			i++
		}
	}
	return len(line), bad || line[len(line)-1] == ':'
}

// expressionEnd returns the offset after the } of the ${ at from, or -1.
func expressionEnd(s string, from int) int {
	depth := 0
	for i := from + 1; i < len(s); i++ {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"', '\'', '`':
			if i = skipQuoted(s, i) - 1; i < 0 {
				return -1
			}
		}
	}
	return -1
}

// skipQuoted returns the offset after the string whose quote is at from, or the
// length of s.
func skipQuoted(s string, from int) int {
	for i := from + 1; i < len(s); i++ {
		if s[i] == '\\' && s[from] != '`' {
			i++
		} else if s[i] == s[from] {
			return i + 1
		}
	}
	return len(s)
}

// balanced reports whether every ${ in s has its }.
func balanced(s string) bool {
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], "$${") {
			i += 3
			continue
		}
		if !strings.HasPrefix(s[i:], "${") {
			i++
			continue
		}
		if i = expressionEnd(s, i); i < 0 {
			return false
		}
	}
	return true
}

// quoted returns s in the quotes that need the fewest escapes.
func quoted(s string) string {
	switch {
	case !strings.ContainsAny(s, `"\`):
		return `"` + s + `"`
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
