package expression

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"valence/internal/document"
)

// patternFunctions search and pad text, and format numbers.
var patternFunctions = []*Function{
	{
		Name: "replaceRegex", Usage: "replaceRegex(text, pattern, new)",
		Doc:     "The text with every match of the regular expression ([RE2](https://github.com/google/re2/wiki/Syntax)) replaced by new, in which `$1` is the text of the first group and `$$` a dollar sign.",
		Example: `replaceRegex("2026-01-31", "(\\d+)-(\\d+)-(\\d+)", "$3.$2.$1")`,
		args:    "ttt", result: TypeText, prepare: patternAt(1), call: replaceRegex,
	},
	{
		Name: "findRegex", Usage: "findRegex(text, pattern)",
		Doc:     "The first match of the regular expression, or the text of its first group if it has one. Nil if nothing matches.",
		Example: `findRegex("Invoice INV-4711", "INV-(\\d+)")`,
		args:    "tt", prepare: patternAt(1), call: findRegex,
	},
	{
		Name: "padStart", Usage: "padStart(value, length[, characters])",
		Doc:     "Text or a number as text, extended at the start to the given length with spaces or the given characters. Longer text is unchanged.",
		Example: `padStart(doc.id, 8, "0")`,
		args:    "vn?t", result: TypeText, call: padded(true),
	},
	{
		Name: "padEnd", Usage: "padEnd(value, length[, characters])",
		Doc:     "Like padStart, but extended at the end.",
		Example: `padEnd(doc.currency, 5, ".")`,
		args:    "vn?t", result: TypeText, call: padded(false),
	},
	{
		Name: "formatNumber", Usage: `formatNumber(number, "#,##0.00")`,
		Doc:     "The number as text: `0` is a digit that is always written, `#` one that is written if needed, `,` separates groups, `.` starts the decimal places, and `%` multiplies by 100. A second pattern after `;` applies to negative numbers. Halves are rounded away from zero.",
		Example: `formatNumber(doc.total, "#,##0.00")`,
		args:    "nt", result: TypeText, prepare: prepareNumberPattern, call: formatNumber,
	},
}

// mergeFunction combines objects.
var mergeFunction = &Function{
	Name: "merge", Usage: "merge(object, …)",
	Doc:     "One object with the keys of all objects. A later value replaces an earlier one in its place.",
	Example: `merge({"a": 1, "b": 2}, {"b": 3, "c": 4})`,
	args:    "o", anyCount: true, result: TypeObject, call: merge,
}

func merge(c *call) (any, error) {
	out := &document.Object{}
	for _, arg := range c.args {
		o, ok, err := c.m.object(c.site, arg)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, c.site.mismatch(TypeObject, arg)
		}
		if err := c.m.alloc(c.site, int64(o.Len()+1)*memberBytes); err != nil {
			return nil, err
		}
		if err := c.m.spend(c.site, int64(o.Len())>>3+1); err != nil {
			return nil, err
		}
		for i := range o.Len() {
			out.Set(o.At(i))
		}
	}
	return out, nil
}

// pattern is a compiled regular expression and the estimate of its states.
type pattern struct {
	re   *regexp.Regexp
	size int64
}

// patternAt returns a prepare function that compiles the constant regular
// expression in argument i.
func patternAt(i int) func(c *compiler, args []*node) any {
	return func(c *compiler, args []*node) any {
		source, ok := args[i].value.(string)
		if !args[i].fixed || !ok {
			return nil
		}
		re, size, msg := compilePattern(source)
		if msg != "" {
			c.problem(args[i].site.pos, CodeSyntax, "", "%s", msg)
			return nil
		}
		return &pattern{re, size}
	}
}

// pattern returns the regular expression in argument i after charging for a
// search in text.
func (c *call) pattern(i int, text string) (*regexp.Regexp, error) {
	p, ok := c.prepared.(*pattern)
	if !ok {
		source := c.text(i)
		if err := c.m.spend(c.site, 64+int64(len(source))); err != nil {
			return nil, err
		}
		re, size, msg := compilePattern(source)
		if msg != "" {
			return nil, c.fail("%s", msg)
		}
		if err := c.m.alloc(c.site, 64*(int64(len(source))+size)+4096); err != nil {
			return nil, err
		}
		p = &pattern{re, size}
	}
	return p.re, c.m.spend(c.site, 1+int64(len(text))*p.size>>5)
}

func findRegex(c *call) (any, error) {
	text := c.text(0)
	re, err := c.pattern(1, text)
	if err != nil {
		return nil, err
	}
	at := re.FindStringSubmatchIndex(text)
	if at == nil {
		return nil, nil
	}
	from, to := at[0], at[1]
	if len(at) > 2 {
		from, to = at[2], at[3]
	}
	if from < 0 { // the group took no part in the match
		return nil, nil
	}
	return text[from:to], c.m.alloc(c.site, boxBytes)
}

func replaceRegex(c *call) (any, error) {
	text := c.text(0)
	re, err := c.pattern(1, text)
	if err != nil {
		return nil, err
	}
	matches := 0
	re.ReplaceAllStringFunc(text, func(string) string { matches++; return "" })
	if err := c.allocText(len(text) + matches*16*(re.NumSubexp()+3)); err != nil {
		return nil, err
	}
	found := re.FindAllStringSubmatchIndex(text, -1)
	var out []byte
	last := 0
	for _, at := range found {
		before := len(out)
		out = append(out, text[last:at[0]]...)
		out = re.ExpandString(out, c.text(2), text, at)
		last = at[1]
		if err := c.m.alloc(c.site, 2*int64(len(out)-before)); err != nil {
			return nil, err
		}
	}
	return string(append(out, text[last:]...)), nil
}

func padded(start bool) func(c *call) (any, error) {
	return func(c *call) (any, error) {
		text, err := Text(c.args[0])
		if err != nil {
			return nil, c.fail("%s", err)
		}
		length, err := c.integer(1)
		if err != nil {
			return nil, err
		}
		with := " "
		if c.has(2) {
			if with = c.text(2); with == "" {
				return nil, c.fail("the characters to extend with are empty")
			}
		}
		if err := c.m.read(c.site, len(text)); err != nil {
			return nil, err
		}
		missing := length - utf8.RuneCountInString(text)
		if missing <= 0 {
			return text, nil
		}
		width := utf8.RuneCountInString(with)
		if err := c.allocText(len(text) + 2*(missing/width+1)*len(with)); err != nil {
			return nil, err
		}
		pad := strings.Repeat(with, missing/width+1)
		pad = pad[:runeOffset(pad, missing)]
		if start {
			return pad + text, nil
		}
		return text + pad, nil
	}
}
