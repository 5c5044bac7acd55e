package expression

import (
	"regexp"
	"slices"
	"strings"

	"valence/internal/document"
	"valence/internal/fault"
	"valence/internal/spec"
)

// CodeSQL is the code of problems with expressions in an SQL statement.
const CodeSQL fault.Code = "sql"

// TextsOnly is the first element of the texts of a statement.
const TextsOnly = spec.TextsOnly

// sql compiles an SQL statement. Its value is the list of its texts and values,
// in turn: the values between the texts never become a part of the statement.
// With SQLText the value has only the texts, with SQLValues only the values.
func (c *compiler) sql(n *Node, text string) *scalar {
	parts, badAt, msg, hint := split(text)
	if msg != "" {
		c.problem(n.locate(text, badAt), CodeSyntax, hint, "%s", msg)
		return &scalar{node: *c.broken()}
	}
	out := &scalar{node: node{typ: TypeList, site: site{pos: n.Pos, text: shorten(text)}}}
	c.u.written(text, parts)
	var elements []any // text, or the node of a value
	var scan sqlScanner
	if n.Path == SQLText {
		elements = append(elements, TextsOnly)
	}
	last := ""
	for i, p := range parts {
		if !p.expr {
			c.notExpression(n, text, p.text, p.at, false)
			scan.read(p.text)
			if scan.numbered >= 0 && n.Path != SQLValues {
				c.problem(n.locate(text, p.at+scan.numbered), CodeSQL, "write the value as ${…}", "numbered parameters cannot be used in a statement")
			}
			last += p.text
			continue
		}
		next := ""
		if i+1 < len(parts) && !parts[i+1].expr {
			next = parts[i+1].text
		}
		if n.Path != SQLValues {
			c.placed(n, text, p, &scan, next)
		}
		scan.value()
		if n.Path != SQLValues {
			elements = append(elements, last)
		}
		if late, ok := c.late(n, text, p); ok {
			elements = append(elements, late)
		} else if n.Path != SQLText {
			elements = append(elements, c.expression(n, text, p, false))
		}
		last = ""
	}
	if n.Path != SQLValues {
		elements = append(elements, last)
	}
	out.run = func(m *machine) (any, error) {
		list := make([]any, len(elements))
		if err := m.alloc(&out.site, int64(16*len(list)+len(text))); err != nil {
			return nil, err
		}
		for i, element := range elements {
			e, ok := element.(*node)
			if !ok {
				list[i] = element
				continue
			}
			v, err := e.run(m)
			if err != nil {
				return nil, err
			}
			if err := m.export(&e.site, v); err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	return out
}

var rootName = regexp.MustCompile(`^\s*([A-Za-z_]\w*)`)

var lateName = regexp.MustCompile(`^\s*([a-z]+)(?:\.([A-Za-z_][A-Za-z0-9_]*)|\["([^"\\]+)"\])?\s*$`)

// late returns a placeholder for the value of a name that the connector sets.
func (c *compiler) late(n *Node, text string, p part) (any, bool) {
	root := rootName.FindStringSubmatch(p.text)
	if root == nil || !slices.Contains(n.Late, root[1]) {
		return nil, false
	}
	m := lateName.FindStringSubmatch(p.text)
	if m == nil || (m[1] == spec.LateRow) == (m[2]+m[3] == "") {
		c.problem(n.locate(text, p.at-len("${")), CodeSQL, "write the value alone, such as ${"+spec.LateSample(root[1])+"}, and compute in SQL", "an expression cannot compute with `%s`", root[1])
		return nil, true
	}
	return spec.Late(m[1], m[2]+m[3]), true
}

// statement returns an SQL statement without expressions as a list.
func (c *compiler) statement(path Path, text string) *node {
	c.u.written(text, []part{{text: text}})
	list := []any{text}
	switch path {
	case SQLValues:
		list = []any{}
	case SQLText:
		list = []any{TextsOnly, text}
	}
	return constant(document.Raw(document.AppendJSON(nil, list)))
}

// placed reports a value at a place of the statement that allows none.
func (c *compiler) placed(n *Node, text string, p part, s *sqlScanner, next string) {
	at := n.locate(text, p.at-len("${"))
	source := "${" + p.text + "}"
	switch {
	case s.in == '\'':
		quoted := strings.HasSuffix(s.lastQuoted, "'") && strings.HasPrefix(next, "'")
		if quoted {
			c.problem(at, CodeSQL, "remove the quotes: write "+source, "a value in an SQL statement needs no quotes")
			c.corrected("'"+source+"'", source)
			return
		}
		c.problem(at, CodeSQL, "join the texts in the statement: '…' || "+source+" || '…', or concat('…', "+source+", '…')", "a value cannot be a part of a quoted text")
	case s.in == 0 && strings.TrimSpace(s.code) == "":
		c.problem(at, CodeSQL, "write the statement here, with ${…} for its values", "an SQL statement cannot start with a value")
	case s.in == '-' || s.in == '*':
		c.problem(at, CodeSQL, "remove the expression from the comment", "a comment in an SQL statement cannot have a value")
	case s.in != 0 || s.names(next):
		c.problem(at, CodeSQL, "write the name itself; to choose between names, use one call for each: `switch:`", "a name in an SQL statement cannot be an expression")
	}
}

// sqlScanner follows the quotes and comments of a statement.
type sqlScanner struct {
	in         byte // ' " ` - * or $ within that quote or comment, else 0
	tag        string
	lastQuoted string // the quoted text so far, with its quote
	code       string // the end of the statement outside of quotes
	calls      []string
	numbered   int // offset of the first $1 or ?1 in the last text; -1: none
}

var (
	dollarTag   = regexp.MustCompile(`^\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$`)
	numberedArg = regexp.MustCompile(`^[$?][0-9]`)
	beforeName  = regexp.MustCompile(`(?i)(?:\b(?:from|join|into|update|table|set|as|by|index|database|schema|view|sequence|collate)\s+|\.\s*|[A-Za-z0-9_])$`)
	notName     = regexp.MustCompile(`(?i)\b(?:distinct\s+from|for\s+update)\s+$`)
	callName    = regexp.MustCompile(`(?i)\b(extract|substring|trim|overlay)\s*$`)
	afterName   = regexp.MustCompile(`^(?:[A-Za-z0-9_(]|\.)`)
)

// read follows the next text of the statement.
func (s *sqlScanner) read(text string) {
	s.numbered = -1
	for i := 0; i < len(text); {
		rest := text[i:]
		n := 1
		switch {
		case s.in == 0:
			n = s.begin(rest, i)
		case s.in == '-':
			if rest[0] == '\n' {
				s.leave()
			}
		case s.in == '*':
			if strings.HasPrefix(rest, "*/") {
				n = 2
				s.leave()
			}
		case s.in == '$':
			if strings.HasPrefix(rest, s.tag) {
				n = len(s.tag)
				s.leave()
			}
		case rest[0] == s.in && len(rest) > 1 && rest[1] == s.in:
			n = 2
			s.lastQuoted = rest[:2]
		case rest[0] == s.in:
			s.leave()
		default:
			s.lastQuoted = rest[:1]
		}
		i += n
	}
}

// begin follows the text outside of quotes and returns how much it has read.
func (s *sqlScanner) begin(rest string, at int) int {
	switch {
	case rest[0] == '\'' || rest[0] == '"' || rest[0] == '`':
		s.in, s.lastQuoted = rest[0], rest[:1]
		return 1
	case strings.HasPrefix(rest, "--"):
		s.in = '-'
		return 2
	case strings.HasPrefix(rest, "/*"):
		s.in = '*'
		return 2
	case rest[0] == '$' && dollarTag.MatchString(rest) && !endsInName(s.code):
		s.in, s.tag = '$', dollarTag.FindString(rest)
		return len(s.tag)
	case numberedArg.MatchString(rest) && !endsInName(s.code) && s.numbered < 0:
		s.numbered = at
	case rest[0] == '(':
		name := ""
		if m := callName.FindStringSubmatch(s.code); m != nil {
			name = m[1]
		}
		s.calls = append(s.calls, name)
	case rest[0] == ')' && len(s.calls) > 0:
		s.calls = s.calls[:len(s.calls)-1]
	}
	s.append(rest[:1])
	return 1
}

func endsInName(code string) bool {
	if code == "" {
		return false
	}
	c := code[len(code)-1]
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}

// append stores the end of the statement outside of quotes.
func (s *sqlScanner) append(text string) {
	if s.code += text; len(s.code) > 256 {
		s.code = s.code[len(s.code)-64:]
	}
}

func (s *sqlScanner) leave() {
	if s.in == '-' || s.in == '*' {
		s.append(" ")
	} else {
		s.append("''")
	}
	s.in, s.lastQuoted = 0, ""
}

// value follows a value.
func (s *sqlScanner) value() {
	if s.in == 0 {
		s.append("?")
	}
}

// names reports whether an expression between the text so far and next stands
// for a name or a part of one.
func (s *sqlScanner) names(next string) bool {
	if afterName.MatchString(next) {
		return true
	}
	if len(s.calls) > 0 && s.calls[len(s.calls)-1] != "" {
		return false // extract(year from ${…})
	}
	return beforeName.MatchString(s.code) && !notName.MatchString(s.code)
}
