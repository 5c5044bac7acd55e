package expression

import (
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"

	"valence/internal/fault"
)

// foreignNames maps names that other languages have to the name that has the
// same meaning here.
var foreignNames = map[string]string{
	"True": "true", "TRUE": "true", "False": "false", "FALSE": "false",
	"None": "nil", "NULL": "nil", "Null": "nil", "undefined": "nil", "NaN": "nil",
	"$json": "doc", "$input": "input", "$env": "env", "$vars": "vars", "$item": "item", "$doc": "doc", "$": "doc",
	"payload": "doc", "body": "doc", "message": "doc", "msg": "doc", "data": "doc", "event": "doc", "record": "doc", "json": "doc",
	"headers": "request.headers", "query": "request.query", "params": "request.params",
}

// foreignFunctions maps functions that other languages have to the function
// with the same arguments here.
var foreignFunctions = map[string]string{
	"toUpperCase": "upper", "toUpper": "upper", "uppercase": "upper", "upcase": "upper", "ucase": "upper", "UPPER": "upper",
	"toLowerCase": "lower", "toLower": "lower", "lowercase": "lower", "downcase": "lower", "lcase": "lower", "LOWER": "lower",
	"length": "len", "size": "len", "strlen": "len", "sizeof": "len", "sizeOf": "len", "LEN": "len",
	"toString": "string", "str": "string", "String": "string", "toNumber": "number", "Number": "number", "parseFloat": "number", "num": "number",
	"parseInt": "int", "toInt": "int", "integer": "int", "strip": "trim", "unique": "uniq", "distinct": "uniq", "distinctBy": "uniq",
	"each": "map", "collect": "map", "pluck": "map", "select": "filter", "where": "filter", "some": "any", "every": "all", "exists": "any",
	"sort_by": "sortBy", "orderBy": "sortBy", "group_by": "groupBy", "average": "mean", "avg": "mean", "total": "sum",
	"strftime": "formatDate", "dateFormat": "formatDate", "date_format": "formatDate", "format_date": "formatDate",
	"today": "now", "utcnow": "now", "getdate": "now", "currentDate": "now", "guid": "uuid", "newGuid": "uuid", "uuidv4": "uuid", "generateUUID": "uuid",
	"encodeURIComponent": "urlencode", "urlEncode": "urlencode", "btoa": "base64", "atob": "unbase64", "push": "concat", "append": "concat", "typeof": "type",
}

// foreignForms maps functions and methods of other languages to the operator
// that replaces them here. $1, $2 and $3 are the arguments.
var foreignForms = map[string]string{
	"substring": "$1[$2:$3]", "substr": "$1[$2:$3]", "slice": "$1[$2:$3]", "mid": "$1[$2:$3]",
	"includes": "$1 contains $2", "contains": "$1 contains $2", "startsWith": "$1 startsWith $2", "endsWith": "$1 endsWith $2",
	"coalesce": "$1 ?? $2", "nvl": "$1 ?? $2", "ifNull": "$1 ?? $2", "ifnull": "$1 ?? $2", "default": "$1 ?? $2", "orElse": "$1 ?? $2",
	"iff": "$1 ? $2 : $3", "iif": "$1 ? $2 : $3", "ifelse": "$1 ? $2 : $3", "isNull": "$1 == nil", "isEmpty": "len($1) == 0",
}

// written returns a call in the form that it has here, or "" if there is none.
func written(name string, args []string) string {
	if form, ok := foreignForms[name]; ok {
		for i := range 3 {
			place := "$" + string(rune('1'+i))
			switch {
			case i < len(args):
				form = strings.ReplaceAll(form, place, args[i])
			case place == "$3":
				form = strings.ReplaceAll(form, place, "")
			case strings.Contains(form, place):
				return ""
			}
		}
		return strings.TrimSpace(form)
	}
	if ours, ok := foreignFunctions[name]; ok {
		name = ours
	} else if functions[name] == nil && !isPredicate(name) {
		return ""
	}
	if isPredicate(name) && len(args) == 3 { // map(list, x, x.id)
		if e, ok := elementOf(args[1], args[2]); ok {
			args = []string{args[0], e}
		}
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

func isPredicate(name string) bool {
	_, ok := predicates[name]
	return ok
}

var identifier = regexp.MustCompile(`^[A-Za-z_]\w*$`)

// elementOf returns an expression over a parameter as an expression over the
// element of a loop.
func elementOf(parameter, body string) (string, bool) {
	if !identifier.MatchString(parameter) {
		return "", false
	}
	word := regexp.MustCompile(`\b` + parameter + `\b(\.?)`)
	return word.ReplaceAllStringFunc(strings.TrimSpace(body), func(s string) string {
		if strings.HasSuffix(s, ".") {
			return "."
		}
		return "#"
	}), true
}

// until returns the end of the text that starts at i, up to the first of the
// stops outside of brackets and quotes.
func until(s string, i int, stops string) int {
	depth := 0
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case depth == 0 && strings.IndexByte(stops, c) >= 0:
			return i
		case c == '(' || c == '[' || c == '{':
			depth++
		case c == ')' || c == ']' || c == '}':
			if depth--; depth < 0 {
				return i
			}
		case c == '"' || c == '\'':
			for i++; i < len(s) && s[i] != c; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		}
	}
	return len(s)
}

// arguments returns the arguments of the call whose bracket opens at i, and the
// offset after its closing bracket. ok is false if there is none.
func arguments(s string, i int) (args []string, end int, ok bool) {
	if i >= len(s) || s[i] != '(' {
		return nil, 0, false
	}
	for i++; i <= len(s); i++ {
		end = until(s, i, ",")
		if a := strings.TrimSpace(s[i:end]); a != "" {
			args = append(args, a)
		}
		if end >= len(s) {
			return nil, 0, false
		}
		if s[end] == ')' {
			return args, end + 1, true
		}
		i = end
	}
	return nil, 0, false
}

var arrow = regexp.MustCompile(`(\(\s*)?\b([A-Za-z_]\w*)(\s*\))?\s*=>\s*`)

// withoutArrows replaces functions such as x => x.id by expressions over the
// element.
func withoutArrows(s string) string {
	for range 10 {
		m := arrow.FindStringSubmatchIndex(s)
		if m == nil {
			return s
		}
		start := m[4]
		if m[2] >= 0 && m[6] >= 0 { // the parameter has brackets of its own
			start = m[0]
		}
		end := until(s, m[1], ",")
		body, _ := elementOf(s[m[4]:m[5]], s[m[1]:end])
		s = s[:start] + body + s[end:]
	}
	return s
}

var method = regexp.MustCompile(`[\w\])"'?]\.([A-Za-z_]\w*)\(`)

// withoutMethods replaces methods such as list.map(…) by functions.
func withoutMethods(s string) string {
	for range 10 {
		m := method.FindStringSubmatchIndex(s)
		if m == nil {
			return s
		}
		args, end, ok := arguments(s, m[3])
		dot := m[2] - 1
		if s[dot-1] == '?' {
			dot--
		}
		from := baseOf(s, dot)
		text := ""
		if ok && from < dot {
			text = written(s[m[2]:m[3]], append([]string{s[from:dot]}, args...))
		}
		if text == "" {
			return s
		}
		s = s[:from] + text + s[end:]
	}
	return s
}

// baseOf returns the start of the access that ends before end, such as
// doc.items[0] in `1 + doc.items[0].map`.
func baseOf(s string, end int) int {
	depth := 0
	for i := end - 1; i >= 0; i-- {
		switch c := s[i]; {
		case c == ')' || c == ']':
			depth++
		case (c == '(' || c == '[') && depth > 0:
			depth--
		case depth > 0:
		case c == '_' || c == '.' || c == '?' || c == '#' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z':
		default:
			return i + 1
		}
	}
	return 0
}

var (
	bareFilter = regexp.MustCompile(`([^|]\|\s*)([A-Za-z_]\w*)(\s*(?:$|\|[^|]))`)
	liquid     = regexp.MustCompile(`([^|]\|\s*)(\w+)\s*:\s*([^|]+)`)
)

// withoutFilters adds the brackets that functions after `|` need.
func withoutFilters(s string) string {
	s = liquid.ReplaceAllString(s, "$1$2($3)")
	for range 10 {
		next := bareFilter.ReplaceAllStringFunc(s, func(f string) string {
			m := bareFilter.FindStringSubmatch(f)
			name := m[2]
			if ours, ok := foreignFunctions[name]; ok {
				name = ours
			}
			return m[1] + name + "()" + m[3]
		})
		if next == s {
			break
		}
		s = next
	}
	return s
}

// filterAt returns the offset of a function after `|` that lacks its brackets,
// or -1.
func filterAt(s string) int {
	for _, form := range []*regexp.Regexp{bareFilter, liquid} {
		if m := form.FindStringSubmatchIndex(s); m != nil {
			return m[4]
		}
	}
	return -1
}

// bracesAt returns 0 for text in braces, else -1.
func bracesAt(s string) int {
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return 0
	}
	return -1
}

// syntax reports an expression that cannot be parsed. Forms of other languages
// are reported with the form that replaces them.
func (c *compiler) syntax(text string, bad *file.Error) {
	trimmed := strings.TrimSpace(text)
	for _, form := range []struct {
		at        int // -1 means not found
		corrected func(string) string
		msg, hint string
	}{
		{strings.Index(text, "=>"), func(s string) string { return withoutMethods(withoutArrows(s)) },
			"functions such as `x => x.id` do not exist", "in a function over a list, `.key` reads a key of the element and `#` is the element"},
		{filterAt(text), withoutFilters, "a function after `|` needs brackets", "write its name with ()"},
		{bracesAt(trimmed), func(string) string { return strings.TrimSpace(trimmed[1 : len(trimmed)-1]) },
			"the expression has one pair of braces too many", "write ${ and } once"},
	} {
		if form.at < 0 {
			continue
		}
		fixed := form.corrected(text)
		if _, err := parse(fixed); err != nil || fixed == text {
			continue
		}
		c.problem(advance(c.src.start, c.src.column, text[:form.at]), CodeSyntax, form.hint+": `${"+strings.TrimSpace(fixed)+"}`", "%s", form.msg)
		c.corrected(text, fixed)
		return
	}
	msg, hint := explain(bad.Message)
	if theirs, ours := strictEquals(text, c.src.offset(bad.From)); theirs != "" && msg == singleEquals {
		bad.Location = file.Location{From: bad.From - len(ours), To: bad.From + 1}
		c.problemAt(bad.Location, CodeSyntax, "write "+ours+": values of different types are never equal", "`%s` is not an operator", theirs)
		c.corrected(theirs, ours)
		return
	}
	c.problemAt(bad.Location, CodeSyntax, hint, "%s", msg)
	if msg == singleEquals {
		c.corrected("=", "==")
	}
}

// method reports the call of a method.
func (c *compiler) method(t *ast.CallNode) {
	c.problemAt(t.Location(), CodeName, "write it as a function, with the value as its first argument", "values have no methods")
	last := c.problems[len(c.problems)-1]
	if m, ok := t.Callee.(*ast.MemberNode); ok {
		if name, ok := m.Property.(*ast.StringNode); ok {
			last.Hint = "write " + name.Value + "(…) with the value as the first argument, or … | " + name.Value + "()"
		}
	}
	if fixed := withoutMethods(c.src.text); fixed != c.src.text {
		if _, err := parse(fixed); err == nil {
			last.Hint = "write it as a function: `${" + strings.TrimSpace(fixed) + "}`"
			c.corrected(c.src.text, fixed)
		}
	}
}

// unknownFunction reports the call of a function that does not exist.
func (c *compiler) unknownFunction(name string, t ast.Node, known []string) {
	text := c.src.text
	at := c.src.offset(t.Location().From)
	args, end, ok := arguments(text, at+len(name))
	if ok && strings.HasPrefix(text[at:], name) {
		if call := written(name, args); call != "" {
			c.problemAt(t.Location(), CodeName, "write `"+call+"`", "unknown function %s", name)
			c.corrected(text[at:end], call)
			return
		}
	}
	if ours, ok := foreignFunctions[name]; ok {
		c.problemAt(t.Location(), CodeName, "write "+ours+"(…)", "unknown function %s", name)
		c.corrected(name, ours)
		return
	}
	hint, near := nearest(name, known)
	c.problemAt(t.Location(), CodeName, hint, "unknown function %s", name)
	c.corrected(name, near)
}

// hyphenated reports a name with hyphens, such as request.headers.X-Event-Id,
// which the parser reads as a subtraction of unknown names.
func (c *compiler) hyphenated(t *ast.BinaryNode) bool {
	first := t
	for {
		if right, ok := t.Right.(*ast.IdentifierNode); !ok || c.declares(right.Value) {
			return false
		}
		left, ok := first.Left.(*ast.BinaryNode)
		if !ok || left.Operator != "-" {
			break
		}
		if right, ok := left.Right.(*ast.IdentifierNode); !ok || c.declares(right.Value) {
			return false
		}
		first = left
	}
	base, members := chain(first.Left)
	if root, ok := base.(*ast.IdentifierNode); !ok || len(members) == 0 || !c.declares(root.Value) {
		return false
	}
	last, ok := members[len(members)-1].Property.(*ast.StringNode)
	if !ok {
		return false
	}
	from, to := c.src.offset(base.Location().From), c.src.offset(t.Right.Location().To)
	whole := c.src.text[from:to]
	at := strings.LastIndex(whole, "."+last.Value+"-")
	if at < 0 || strings.ContainsAny(whole, " \t\n") {
		return false
	}
	fixed, why := strings.TrimSuffix(whole[:at], "?")+"['"+whole[at+1:]+"']", "a key with a hyphen needs brackets and quotes"
	switch base.(*ast.IdentifierNode).Value {
	case "env", "secret", "vars", "steps", "state":
		fixed, why = strings.ReplaceAll(whole, "-", "_"), "these names have underscores"
	}
	c.problemAt(base.Location(), CodeName, "write `"+fixed+"`", "`%s` is read as a subtraction: %s", shorten(whole), why)
	c.corrected(whole, fixed)
	return true
}

// declares reports whether a name can be read.
func (c *compiler) declares(name string) bool {
	_, ok := c.scope.Names[name]
	return ok || c.bound(name)
}

var (
	moustache  = regexp.MustCompile(`\{?\{\s*(\$?[A-Za-z_]\w*)((?:\??\.\w+|\[[^\]{}]*\])+)\s*\}\}?`)
	dollarName = regexp.MustCompile(`\$([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*|\[\d+\])+)`)
	bareDollar = regexp.MustCompile(`^\$([A-Za-z_]\w*)$`)
	jsonPath   = regexp.MustCompile(`^\$((?:\.[A-Za-z_]\w*|\[\d+\])+)$`)
	barePath   = regexp.MustCompile(`^([a-z][a-z0-9_]*)((?:\.[A-Za-z_]\w*|\[\d+\]|\['[^'\]]*'\]|\["[^"\]]*"\])+)$`)
)

// notExpression reports text that the author probably meant as an expression. whole
// says that the text is the entire value; otherwise it begins at an offset of it.
func (c *compiler) notExpression(n *Node, value, part string, at int, whole bool) {
	say := func(from int, old, fixed, msg string) {
		c.problem(n.locate(value, at+from), CodeLiteral, "write `"+fixed+"`", "%s", msg)
		if whole && old == part && n.Text.Line == 0 {
			fixed = `"` + fixed + `"` // braces need quotes inside of { } and [ ]
		}
		c.corrected(old, fixed)
	}
	if whole {
		if m := jsonPath.FindStringSubmatch(part); m != nil {
			say(0, part, "${doc"+m[1]+"}", "`"+shorten(part)+"` is text here: paths are expressions that start with a name")
			return
		}
		if m := bareDollar.FindStringSubmatch(part); m != nil && (c.declares(m[1]) || m[1] == "json") {
			name := m[1]
			if name == "json" {
				name = "doc"
			}
			say(0, part, "${"+name+"}", "`"+part+"` is text here: an expression is written as ${…}")
			return
		}
		if c.template && c.wholeValue && (part == "doc" || part == "input" || part == "item") && c.declares(part) {
			say(0, part, "${"+part+"}", "`"+part+"` is text here, not the document")
			c.problems[len(c.problems)-1].Severity = fault.Warning
			return
		}
		if m := barePath.FindStringSubmatch(part); m != nil && c.reads(m[1], m[2]) {
			say(0, part, "${"+part+"}", "`"+shorten(part)+"` is text here, not the value of this path")
			c.problems[len(c.problems)-1].Severity = fault.Warning
			return
		}
	}
	for _, form := range []*regexp.Regexp{moustache, dollarName} {
		for _, m := range form.FindAllStringSubmatchIndex(part, -1) {
			root, old := part[m[2]:m[3]], part[m[0]:m[1]]
			if m[0] > 0 && part[m[0]-1] == '$' {
				continue
			}
			if ours, ok := foreignNames["$"+strings.TrimPrefix(root, "$")]; ok {
				root = ours
			}
			if !c.declares(root) {
				continue
			}
			say(m[0], old, "${"+root+part[m[4]:m[5]]+"}", "`"+shorten(old)+"` is text here: an expression is written as ${…}")
			return
		}
	}
}

// reads reports whether a path is one that expressions can read, so that text
// of this form is probably a mistake.
func (c *compiler) reads(root, keys string) bool {
	fields, fixed := map[string][]string{
		"request": {"method", "path", "params", "query", "headers", "user", "correlation_id", "operation"}, "response": {"status", "headers"},
		"error": {"code", "message", "status", "body", "step"}, "execution": {"id", "process", "started_at"},
	}[root]
	if fixed {
		first, _, _ := strings.Cut(strings.TrimPrefix(keys, "."), ".")
		return c.declares(root) && slices.Contains(fields, first)
	}
	return c.declares(root) && root != "state" && root != "raw" && root != "index"
}
