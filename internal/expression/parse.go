package expression

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/parser/lexer"

	"valence/internal/fault"
)

// part is a piece of a text: literal characters or one expression.
type part struct {
	text string // the characters, or the source of the expression
	at   int    // byte offset in the text
	expr bool
}

// split splits a text into literals and expressions. `$${` is a literal `${`.
// Braces, strings and comments inside an expression do not end it.
func split(s string) (parts []part, badAt int, msg, hint string) {
	var plain strings.Builder
	from := 0 // offset of plain
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "$${"):
			plain.WriteString("${")
			i += 3
		case strings.HasPrefix(s[i:], "${"):
			n, bad, badMsg := sourceLen(s[i+2:])
			if badMsg != "" {
				return nil, i + bad, badMsg, "close it with }, or write $${ for a literal ${"
			}
			if plain.Len() > 0 {
				parts = append(parts, part{text: plain.String(), at: from})
				plain.Reset()
			}
			parts = append(parts, part{text: s[i+2 : i+2+n], at: i + 2, expr: true})
			i += n + 3
			from = i
		default:
			next := strings.IndexByte(s[i+1:], '$')
			if next < 0 {
				next = len(s) - i - 1
			}
			plain.WriteString(s[i : i+1+next])
			i += 1 + next
		}
	}
	if plain.Len() > 0 || len(parts) == 0 {
		parts = append(parts, part{text: plain.String(), at: from})
	}
	return parts, 0, "", ""
}

// sourceLen returns the length of the expression at the start of s, up to its
// closing brace. It skips strings and comments as the lexer does.
func sourceLen(s string) (n, badAt int, msg string) {
	depth := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '{':
			depth++
		case c == '}' && depth == 0:
			return i, 0, ""
		case c == '}':
			depth--
		case c == '"' || c == '\'' || c == '`':
			end := i + 1
			for end < len(s) && s[end] != c {
				if s[end] == '\\' && c != '`' {
					end++
				}
				end++
			}
			if end >= len(s) {
				return 0, i + 2, "the text that starts here has no closing " + string(c)
			}
			i = end
		case strings.HasPrefix(s[i:], "/*"):
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				return 0, i + 2, "the comment that starts here has no */"
			}
			i += end + 3
		case strings.HasPrefix(s[i:], "//"):
			end := strings.IndexByte(s[i:], '\n')
			if end < 0 {
				return 0, i + 2, "the comment that starts here hides the end of the expression"
			}
			i += end
		}
		i++
	}
	return 0, 0, "the expression has no closing }"
}

// hasExpression reports whether a text contains expressions.
func hasExpression(s string) bool { return strings.Contains(s, "${") }

// column returns the column in which further lines of the node's text start.
func (n *Node) column() int {
	if n.Text.Line != 0 {
		return n.Text.Col
	}
	return n.Pos.Col
}

// locate returns the position of a byte of the node's text in the author's
// file.
func (n *Node) locate(text string, offset int) fault.Pos {
	at := n.Text
	if at.Line == 0 {
		at = n.Pos
	}
	return advance(at, n.column(), text[:min(offset, len(text))])
}

// advance returns the position after text, which starts at at.
func advance(at fault.Pos, column int, text string) fault.Pos {
	if at.Line == 0 {
		return at
	}
	if nl := strings.LastIndexByte(text, '\n'); nl >= 0 {
		at.Line += strings.Count(text, "\n")
		at.Col = column
		text = text[nl+1:]
	}
	at.Col += utf8.RuneCountInString(text)
	return at
}

// sourceText is the source of one expression with its position in a text.
type sourceText struct {
	start   fault.Pos
	column  int // the column in which further lines of the text start
	text    string
	short   string // text for messages
	offsets []int  // byte offset in text of each rune, if not all are ASCII
}

func newSourceText(n *Node, whole string, p part) *sourceText {
	s := &sourceText{start: n.locate(whole, p.at), column: n.column(), text: p.text, short: shorten(p.text)}
	for i := range len(p.text) {
		if p.text[i] >= utf8.RuneSelf {
			for i := range p.text {
				s.offsets = append(s.offsets, i)
			}
			s.offsets = append(s.offsets, len(p.text))
			break
		}
	}
	return s
}

// offset converts the parser's rune offset into a byte offset.
func (s *sourceText) offset(rune int) int {
	if s.offsets != nil {
		return s.offsets[max(0, min(rune, len(s.offsets)-1))]
	}
	return max(0, min(rune, len(s.text)))
}

func (s *sourceText) pos(l file.Location) fault.Pos {
	return advance(s.start, s.column, s.text[:s.offset(l.From)])
}

// token returns the source of a node as far as its location covers it.
func (s *sourceText) token(l file.Location) string {
	return s.text[s.offset(l.From):s.offset(l.To)]
}

// site returns a position together with the expression for messages.
func (s *sourceText) site(l file.Location) site {
	return site{pos: s.pos(l), text: s.short}
}

// shorten truncates source for messages.
func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > 80 {
		s = string([]rune(s)[:79]) + "…"
	}
	return s
}

// parse returns the syntax tree of an expression.
func parse(source string) (ast.Node, *file.Error) {
	cfg := &conf.Config{MaxNodes: conf.DefaultMaxNodes}
	tree, err := parser.ParseWithConfig(blankNumbers(source), cfg)
	if err == nil {
		return tree.Node, nil
	}
	var syntax *file.Error
	if errors.As(err, &syntax) {
		return nil, syntax
	}
	return nil, &file.Error{Message: err.Error()}
}

// blankNumbers replaces the digits of numbers that are too long for the parser
// by zeros. The compiler reads the digits from the source.
func blankNumbers(source string) string {
	run, long := 0, false
	for i := range len(source) {
		if c := source[i]; c >= '0' && c <= '9' || c == '_' || c|0x20 >= 'a' && c|0x20 <= 'f' {
			run++
			long = long || run >= 15
		} else {
			run = 0
		}
		long = long || i > 0 && source[i]|0x20 == 'e' && source[i-1] <= '9'
	}
	if !long {
		return source
	}
	tokens, err := lexer.Lex(file.NewSource(source))
	if err != nil {
		return source // the parser reports the error
	}
	runes := []rune(source)
	for _, t := range tokens {
		if t.Kind != lexer.Number {
			continue
		}
		digits := runes[t.From:t.To]
		start := 0
		hex := false
		if len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("xXoObB", digits[1]) {
			start, hex = 2, digits[1]|0x20 == 'x'
		}
		for i := start; i < len(digits); i++ {
			if d := digits[i]; d >= '0' && d <= '9' || hex && strings.ContainsRune("abcdefABCDEF", d) {
				digits[i] = '0'
			}
		}
	}
	return string(runes)
}

// singleEquals is the message for a comparison with one equals sign.
const singleEquals = "`=` is not an operator"

// strictEquals returns the operator of JavaScript whose last character is at an
// offset, and the operator that replaces it here; "" if there is none.
func strictEquals(text string, at int) (theirs, ours string) {
	for _, op := range []string{"===", "!=="} {
		if start := at - len("=="); start >= 0 && strings.HasPrefix(text[start:], op) {
			return op, op[:2]
		}
	}
	return "", ""
}

// explain translates a message of the parser for authors.
func explain(msg string) (text, hint string) {
	token, unexpected := strings.CutPrefix(msg, "unexpected token ")
	switch {
	case strings.HasPrefix(token, "EOF"), strings.Contains(msg, "unexpected end of expression"):
		return "the expression ends too early", "something is missing at its end"
	case unexpected && token == `Operator("=")`:
		return singleEquals, "write == to compare"
	case unexpected && token == `Operator(":")`:
		return "unexpected `:`", "to return an object from a function such as map, write two braces: map(list, {{key: .value}})"
	case unexpected:
		if i := strings.IndexByte(token, '('); i >= 0 {
			token = strings.TrimSuffix(token[i+1:], ")")
			token = strings.TrimSuffix(strings.TrimPrefix(token, `"`), `"`)
		}
		return "unexpected `" + token + "`", ""
	case strings.Contains(msg, "coalesce expressions"):
		op := "another operator"
		if from, to := strings.IndexByte(msg, '('), strings.IndexByte(msg, ')'); from >= 0 && to > from {
			op = "`" + msg[from+1:to] + "`"
		}
		return "`??` cannot be combined with " + op + " without parentheses", "write (a ?? b) " + strings.Trim(op, "`") + " c"
	case strings.HasPrefix(msg, "unrecognized character"):
		return "unexpected character", "put text in quotes"
	case strings.HasPrefix(msg, "literal not terminated"):
		return "the text that starts here has no closing quote", ""
	case strings.Contains(msg, "exceeds maximum allowed nodes"):
		return "the expression is too large", "split it with set:"
	}
	return strings.ReplaceAll(msg, "\n", " "), ""
}
