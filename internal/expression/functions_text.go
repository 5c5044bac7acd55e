package expression

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"valence/internal/expression/exact"

	"github.com/expr-lang/expr/ast"
)

// textFunctions read and build text. Positions and lengths count Unicode code
// points.
var textFunctions = []*Function{
	{
		Name: "upper", Usage: "upper(text)",
		Doc:     "The text in upper case.",
		Example: `upper("Ada")`,
		args:    "t", result: TypeText, call: mapped(strings.ToUpper),
	},
	{
		Name: "lower", Usage: "lower(text)",
		Doc:     "The text in lower case.",
		Example: `lower("Ada")`,
		args:    "t", result: TypeText, call: mapped(strings.ToLower),
	},
	{
		Name: "trim", Usage: "trim(text[, characters])",
		Doc:     "The text without white space, or without the given characters, at both ends.",
		Example: `trim("  Ada ")`,
		args:    "t?t", result: TypeText, call: trim,
	},
	{
		Name: "trimPrefix", Usage: "trimPrefix(text, prefix)",
		Doc:     "The text without the prefix.",
		Example: `trimPrefix(doc.number, "A-")`,
		args:    "tt", result: TypeText, call: trimmed(strings.TrimPrefix),
	},
	{
		Name: "trimSuffix", Usage: "trimSuffix(text, suffix)",
		Doc:     "The text without the suffix.",
		Example: `trimSuffix("order.json", ".json")`,
		args:    "tt", result: TypeText, call: trimmed(strings.TrimSuffix),
	},
	{
		Name: "hasPrefix", Usage: "hasPrefix(text, prefix)",
		Doc:     "Whether the text starts with the prefix.",
		Example: `hasPrefix(doc.number, "A-")`,
		args:    "tt", result: TypeBoolean, call: tested(strings.HasPrefix),
	},
	{
		Name: "hasSuffix", Usage: "hasSuffix(text, suffix)",
		Doc:     "Whether the text ends with the suffix.",
		Example: `hasSuffix("order.json", ".json")`,
		args:    "tt", result: TypeBoolean, call: tested(strings.HasSuffix),
	},
	{
		Name: "split", Usage: "split(text, separator[, n])",
		Doc:     "The parts between the separators. With n, at most n parts; the last one contains the rest.",
		Example: `split("a,b,c", ",", 2)`,
		args:    "tt?n", result: TypeList, call: splitting(strings.SplitN),
	},
	{
		Name: "splitAfter", Usage: "splitAfter(text, separator[, n])",
		Doc:     "Like split, but each part keeps its separator.",
		Example: `splitAfter("a,b,c", ",")`,
		args:    "tt?n", result: TypeList, call: splitting(strings.SplitAfterN),
	},
	{
		Name: "join", Usage: "join(list[, separator])",
		Doc:     "The elements joined to one text.",
		Example: `join(map(doc.items, .sku), " ")`,
		args:    "l?t", result: TypeText, call: join,
	},
	{
		Name: "replace", Usage: "replace(text, old, new[, n])",
		Doc:     "The text with old replaced by new, everywhere or only the first n times.",
		Example: `replace("a-b-c", "-", "/", 1)`,
		args:    "ttt?n", result: TypeText, call: replace,
	},
	{
		Name: "repeat", Usage: "repeat(text, n)",
		Doc:     "The text repeated n times.",
		Example: `repeat("ab", 3)`,
		args:    "tn", result: TypeText, call: repeat,
	},
	{
		Name: "indexOf", Usage: "indexOf(text, part)",
		Doc:     "The position of the first occurrence, counted from 0, or -1.",
		Example: `indexOf("banana", "an")`,
		args:    "tt", result: TypeNumber, call: located(strings.Index),
	},
	{
		Name: "lastIndexOf", Usage: "lastIndexOf(text, part)",
		Doc:     "The position of the last occurrence, counted from 0, or -1.",
		Example: `lastIndexOf("banana", "an")`,
		args:    "tt", result: TypeNumber, call: located(strings.LastIndex),
	},
}

func mapped(f func(string) string) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		if err := c.allocText(2 * len(c.text(0))); err != nil {
			return nil, err
		}
		return f(c.text(0)), nil
	}
}

func trimmed(f func(s, part string) string) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		return f(c.text(0), c.text(1)), c.allocText(0)
	}
}

func tested(f func(s, part string) bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		return f(c.text(0), c.text(1)), c.m.read(c.site, len(c.text(1)))
	}
}

func trim(c *call) (any, error) {
	if err := c.m.read(c.site, len(c.text(0))+len(c.text(1))); err != nil {
		return nil, err
	}
	if c.has(1) {
		return strings.Trim(c.text(0), c.text(1)), c.allocText(0)
	}
	return strings.TrimSpace(c.text(0)), c.allocText(0)
}

func splitting(f func(s, sep string, n int) []string) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		text, sep, n := c.text(0), c.text(1), -1
		if c.has(2) {
			var err error
			if n, err = c.integer(2); err != nil {
				return nil, err
			}
			if n < 1 {
				return nil, c.fail("split(…) needs a limit of at least 1")
			}
		}
		if err := c.m.read(c.site, len(text)); err != nil {
			return nil, err
		}
		parts := strings.Count(text, sep) + 1
		if n > 0 {
			parts = min(parts, n)
		}
		if err := c.allocList(3 * parts); err != nil {
			return nil, err
		}
		found := f(text, sep, n)
		out := make([]any, len(found))
		for i, s := range found {
			out[i] = s
		}
		return out, nil
	}
}

func join(c *call) (any, error) {
	list, err := c.list(0)
	if err != nil {
		return nil, err
	}
	n := 0
	for i, e := range list {
		s, err := Text(e)
		if err != nil {
			return nil, c.fail("element %d of join(…): %s", i, err)
		}
		n += len(s) + len(c.text(1))
	}
	if err := c.allocText(n); err != nil {
		return nil, err
	}
	var out strings.Builder
	out.Grow(n)
	for i, e := range list {
		if i > 0 {
			out.WriteString(c.text(1))
		}
		s, _ := Text(e)
		out.WriteString(s)
	}
	return out.String(), c.m.spend(c.site, int64(len(list))>>3)
}

func replace(c *call) (any, error) {
	text, from, to, n := c.text(0), c.text(1), c.text(2), -1
	if c.has(3) {
		var err error
		if n, err = c.integer(3); err != nil {
			return nil, err
		}
	}
	if err := c.m.read(c.site, len(text)); err != nil {
		return nil, err
	}
	hits := strings.Count(text, from)
	if n >= 0 {
		hits = min(hits, n)
	}
	if err := c.allocText(len(text) + hits*(len(to)-len(from))); err != nil {
		return nil, err
	}
	return strings.Replace(text, from, to, n), nil
}

func repeat(c *call) (any, error) {
	n, err := c.integer(1)
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return nil, c.fail("repeat(…) needs a count of at least 0")
	}
	text := c.text(0)
	if n > 0 && len(text) > (1<<40)/n {
		n = (1 << 40) / len(text) // exceeds every budget
	}
	if err := c.allocText(len(text) * n); err != nil {
		return nil, err
	}
	return strings.Repeat(text, n), nil
}

func located(f func(s, part string) int) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		text := c.text(0)
		at := f(text, c.text(1))
		if at > 0 {
			at = utf8.RuneCountInString(text[:at])
		}
		return exact.Int(int64(at)).Text(), c.m.read(c.site, len(text))
	}
}

// matches compiles `text matches pattern` with an RE2 pattern.
func (c *compiler) matches(t *ast.BinaryNode) *node {
	text := c.text(t.Left, "`matches`")
	s := c.src.site(t.Location())
	pattern := c.compile(t.Right)
	if p, ok := pattern.value.(string); ok && pattern.fixed {
		re, size, msg := compilePattern(p)
		if msg != "" {
			c.problem(pattern.site.pos, CodeSyntax, "", "%s", msg)
			return c.broken()
		}
		return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
			v, err := text(m)
			if err != nil {
				return nil, err
			}
			return m.match(&s, re, size, v)
		}}
	}
	if pattern.typ != TypeUnknown && pattern.typ != TypeText {
		c.problem(pattern.site.pos, CodeType, "", "a pattern must be text, not %s", article(pattern.typ))
	}
	return &node{typ: TypeBoolean, run: func(m *machine) (any, error) {
		v, err := text(m)
		if err != nil {
			return nil, err
		}
		p, err := pattern.run(m)
		if err != nil {
			return nil, err
		}
		source, ok := p.(string)
		if !ok {
			return nil, pattern.site.mismatch(TypeText, p)
		}
		if err := m.spend(&s, 64+int64(len(source))); err != nil {
			return nil, err
		}
		if err := m.alloc(&s, 64*int64(len(source))+4096); err != nil {
			return nil, err
		}
		re, size, msg := compilePattern(source)
		if msg != "" {
			return nil, pattern.site.fail("%s", msg)
		}
		if err := m.alloc(&s, 64*size); err != nil {
			return nil, err
		}
		return m.match(&s, re, size, v)
	}}
}

// match charges the steps that the worst pattern of this size could need.
func (m *machine) match(s *site, re *regexp.Regexp, size int64, text string) (any, error) {
	if err := m.spend(s, 1+int64(len(text))*size>>5); err != nil {
		return nil, err
	}
	return re.MatchString(text), nil
}

// maxPatternSize limits the expansion of a pattern's repetitions.
const maxPatternSize = 5_000

// compilePattern compiles a regular expression of limited size. msg describes
// the problem if it cannot.
func compilePattern(p string) (re *regexp.Regexp, size int64, msg string) {
	if len(p) > MaxPattern {
		return nil, 0, "the pattern is longer than 1,024 bytes"
	}
	tree, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		msg := "invalid regular expression (RE2)"
		if e, ok := err.(*syntax.Error); ok {
			msg += ": " + e.Code.String()
		}
		return nil, 0, msg
	}
	if size = patternSize(tree); size > maxPatternSize {
		return nil, 0, "the pattern is too large: its repetitions expand to too many states"
	}
	if re, err = regexp.Compile(p); err != nil {
		return nil, 0, "invalid regular expression (RE2)"
	}
	return re, size, ""
}

// patternSize estimates the number of states of a pattern.
func patternSize(r *syntax.Regexp) int64 {
	n := int64(1 + len(r.Rune)/2)
	for _, sub := range r.Sub {
		n += patternSize(sub)
	}
	if r.Op == syntax.OpRepeat {
		n *= int64(max(r.Min, r.Max, 1))
	}
	return min(n, 1<<40)
}

// slice compiles list[a:b] and text[a:b]. Negative bounds count from the end;
// bounds outside are clamped.
func (c *compiler) slice(t *ast.SliceNode) *node {
	v := c.compile(t.Node)
	if v.typ != TypeUnknown && v.typ != TypeList && v.typ != TypeText {
		c.problem(v.site.pos, CodeType, "", "only lists and text can be sliced, not %s", article(v.typ))
	}
	from, to := c.end(t.From, 0), c.end(t.To, 1<<62)
	s := c.src.site(t.Node.Location())
	return &node{typ: v.typ, run: func(m *machine) (any, error) {
		x, err := v.run(m)
		if err != nil {
			return nil, err
		}
		a, err := from(m)
		if err != nil {
			return nil, err
		}
		b, err := to(m)
		if err != nil {
			return nil, err
		}
		return m.slice(&s, x, a, b)
	}}
}

// end compiles one bound of a slice.
func (c *compiler) end(t ast.Node, absent int64) func(m *machine) (int64, error) {
	if t == nil {
		return func(*machine) (int64, error) { return absent, nil }
	}
	n := c.number(t, "a slice")
	s := c.src.site(t.Location())
	return func(m *machine) (int64, error) {
		v, err := n(m)
		if err != nil {
			return 0, err
		}
		i, ok := v.Int64()
		if !ok {
			return 0, s.fail("slice bounds must be integers")
		}
		return i, nil
	}
}

func (m *machine) slice(s *site, v any, a, b int64) (any, error) {
	cut := func(n int) (int, int) {
		ends := [2]int64{a, b}
		for i, e := range ends {
			if e < 0 {
				e += int64(n)
			}
			ends[i] = min(max(e, 0), int64(n))
		}
		return int(ends[0]), int(max(ends[0], ends[1]))
	}
	if text, ok := v.(string); ok {
		if err := m.read(s, len(text)); err != nil {
			return nil, err
		}
		from, to := cut(utf8.RuneCountInString(text))
		start := runeOffset(text, from)
		end := start + runeOffset(text[start:], to-from)
		return text[start:end], m.alloc(s, boxBytes)
	}
	list, ok, err := m.list(s, v)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, s.mismatch(TypeList, v)
	}
	from, to := cut(len(list))
	return list[from:to:to], m.alloc(s, 2*boxBytes)
}

// runeOffset returns the byte offset of the n-th character.
func runeOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}
