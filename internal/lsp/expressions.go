package lsp

import (
	"strings"

	"valence/internal/lsp/yamltree"
)

// expressionsIn returns the parts of a text that are within ${ }. The last one
// may lack its end.
func expressionsIn(content string, in yamltree.Span) []yamltree.Span {
	var out []yamltree.Span
	for i := in.From; i+1 < in.To; i++ {
		if content[i] != '$' || content[i+1] != '{' || i > in.From && content[i-1] == '$' {
			continue
		}
		end := expressionEnd(content, i+2, in.To)
		out = append(out, yamltree.Span{From: i + 2, To: end})
		i = end
	}
	return out
}

// expressionEnd returns the offset of the bracket that ends an expression, or
// the end of the text.
func expressionEnd(content string, at, end int) int {
	depth := 0
	for i := at; i < end; i++ {
		switch content[i] {
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		case '"', '\'', '`', '\\':
			i = skipString(content, i, end) - 1
		}
	}
	return end
}

// skipString returns the offset after a string. In a value in double quotes, a
// string of the expression begins with \".
func skipString(content string, at, end int) int {
	quote := content[at : at+1]
	if quote == `\` {
		if at+1 >= end || content[at+1] != '"' {
			return at + 1
		}
		quote = `\"`
	}
	for i := at + len(quote); i < end; i++ {
		switch {
		case strings.HasPrefix(content[i:end], quote):
			return i + len(quote)
		case content[i] == '\\' && quote != "`":
			i++
		case content[i] == '\n':
			return i // not closed
		}
	}
	return end
}

// use is the use of a name in an expression: a field of a root such as steps.x,
// a call, or the text of a lookup or a callback.
type use struct {
	root     string // empty for a call
	name     string
	span     yamltree.Span // of the name
	rootSpan yamltree.Span
}

func isIdent(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// usesIn returns the names that an expression uses.
func usesIn(content string, in yamltree.Span) []use {
	var out []use
	for i := in.From; i < in.To; i++ {
		c := content[i]
		if c == '"' || c == '\'' || c == '`' || c == '\\' {
			i = skipString(content, i, in.To) - 1
			continue
		}
		if !isIdent(c) || c >= '0' && c <= '9' {
			continue
		}
		end := i
		for end < in.To && isIdent(content[end]) {
			end++
		}
		if i == in.From || content[i-1] != '.' && content[i-1] != '#' {
			out = append(out, useAt(content, yamltree.Span{From: i, To: end}, in.To)...)
		}
		i = end - 1
	}
	return out
}

// useAt returns the use that begins with an identifier.
func useAt(content string, ident yamltree.Span, end int) []use {
	root := content[ident.From:ident.To]
	rest := content[ident.To:end]
	switch {
	case strings.HasPrefix(rest, "("):
		out := []use{{name: root, span: ident}}
		if root == "lookup" || root == "callback" {
			if s, ok := quotedAt(content, ident.To+1, end); ok {
				out = append(out, use{root, content[s.From:s.To], s, ident})
			}
		}
		return out
	case strings.HasPrefix(rest, "["):
		if s, ok := quotedAt(content, ident.To+1, end); ok {
			return []use{{root, content[s.From:s.To], s, ident}}
		}
	case strings.HasPrefix(rest, "."), strings.HasPrefix(rest, "?."):
		from := ident.To + strings.IndexByte(rest, '.') + 1
		to := from
		for to < end && isIdent(content[to]) {
			to++
		}
		return []use{{root, content[from:to], yamltree.Span{From: from, To: to}, ident}}
	}
	return []use{{root: root, rootSpan: ident, span: yamltree.Span{From: ident.To, To: ident.To}}}
}

// quotedAt returns the content of the string at an offset.
func quotedAt(content string, at, end int) (yamltree.Span, bool) {
	for at < end && content[at] == ' ' {
		at++
	}
	if at >= end || !strings.ContainsRune("\"'`\\", rune(content[at])) {
		return yamltree.Span{}, false
	}
	width := 1
	if content[at] == '\\' {
		width = 2
	}
	close := skipString(content, at, end)
	if close-width < at+width {
		return yamltree.Span{}, false
	}
	return yamltree.Span{From: at + width, To: close - width}, true
}

// pathBefore returns the path that ends at an offset of an expression, such as
// [doc customer na]; the last part may be empty. It returns nil if the offset is
// within a string or not at a name.
func pathBefore(content string, from, offset int) []string {
	for i := from; i < offset; i++ {
		if c := content[i]; c == '"' || c == '\'' || c == '`' || c == '\\' {
			if i = skipString(content, i, offset) - 1; i+1 >= offset && !closedString(content, i, c) {
				return nil
			}
		}
	}
	start := offset
	for start > from && (isIdent(content[start-1]) || content[start-1] == '.' || content[start-1] == '?') {
		start--
	}
	path := strings.Split(strings.ReplaceAll(content[start:offset], "?.", "."), ".")
	for i, part := range path[:len(path)-1] {
		if part == "" || strings.Contains(part, "?") || i == 0 && part[0] >= '0' && part[0] <= '9' {
			return nil
		}
	}
	return path
}

// closedString reports whether a string that begins with c ends at an offset.
func closedString(content string, at int, c byte) bool {
	if c == '\\' {
		c = '"'
	}
	return content[at] == c
}
