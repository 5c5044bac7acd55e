package importer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The kinds of tokens.
const (
	tokenEnd = iota
	tokenLine
	tokenName // with a prefix such as $ or @
	tokenNumber
	tokenString
	tokenSign
)

type token struct {
	kind int
	text string // of a string its value
}

var signs = []string{"===", "!==", "->", "=>", "==", "!=", "<=", ">=", "&&", "||", "??", "?."}

// scan splits an expression into tokens. Comments start with # or //.
func scan(src string) ([]token, error) {
	var out []token
	for i := 0; i < len(src); {
		c := src[i]
		r, size := utf8.DecodeRuneInString(src[i:])
		switch {
		case c == '\n':
			out = append(out, token{tokenLine, "\n"})
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#' || strings.HasPrefix(src[i:], "//"):
			if n := strings.IndexByte(src[i:], '\n'); n >= 0 {
				i += n
			} else {
				i = len(src)
			}
		case strings.HasPrefix(src[i:], `"""`):
			end := strings.Index(src[i+3:], `"""`)
			if end < 0 {
				return nil, errors.New("a text does not end")
			}
			out = append(out, token{tokenString, src[i+3 : i+3+end]})
			i += end + 6
		case c == '"' || c == '\'' || c == '`':
			text, n, err := scanString(src[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, token{tokenString, text})
			i += n
		case c >= '0' && c <= '9':
			n := i
			for n < len(src) && (isWord(rune(src[n])) || src[n] == '.' && n+1 < len(src) && src[n+1] >= '0' && src[n+1] <= '9' && !afterDot(out)) {
				n++
			}
			kind := tokenNumber
			if strings.IndexFunc(src[i:n], unicode.IsLetter) >= 0 {
				kind = tokenName
			}
			out = append(out, token{kind, src[i:n]})
			i = n
		case isWord(r) || c == '$' || c == '@':
			n := i + size
			for n < len(src) {
				r, size := utf8.DecodeRuneInString(src[n:])
				if !isWord(r) {
					break
				}
				n += size
			}
			out = append(out, token{tokenName, src[i:n]})
			i = n
		default:
			sign := src[i : i+size]
			for _, s := range signs {
				if strings.HasPrefix(src[i:], s) {
					sign = s
					break
				}
			}
			if sign == "?." && i+2 < len(src) && src[i+2] >= '0' && src[i+2] <= '9' {
				sign = "?"
			}
			out = append(out, token{tokenSign, sign})
			i += len(sign)
		}
	}
	return append(out, token{tokenEnd, ""}), nil
}

func afterDot(tokens []token) bool {
	return len(tokens) > 0 && (tokens[len(tokens)-1].text == "." || tokens[len(tokens)-1].text == "?.")
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func scanString(src string) (text string, n int, err error) {
	end := src[0]
	var out strings.Builder
	for i := 1; i < len(src); i++ {
		switch c := src[i]; {
		case c == end:
			return out.String(), i + 1, nil
		case end == '`' && strings.HasPrefix(src[i:], "${"):
			return "", 0, errors.New("texts with parts in `${}` are not translated")
		case c == '\\' && i+1 < len(src):
			i++
			switch src[i] {
			case 'n':
				out.WriteByte('\n')
			case 't':
				out.WriteByte('\t')
			case 'r':
				out.WriteByte('\r')
			case '"', '\'', '`', '\\', '/':
				out.WriteByte(src[i])
			default:
				return "", 0, fmt.Errorf("the escape \\%c is not translated", src[i])
			}
		default:
			out.WriteByte(c)
		}
	}
	return "", 0, errors.New("a text does not end")
}
