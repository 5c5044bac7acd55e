package sql

import (
	"regexp"
	"strings"

	"valence/internal/spec"
)

var (
	expressions = regexp.MustCompile(`\$\{[^}]*\}`)
	firstWord   = regexp.MustCompile(`^[\s(]*([A-Za-z]+)`)
	writesPart  = regexp.MustCompile(`(?i)\binto\b|\bdelete\s+from\b|\bupdate\s+[^\s(),]+(?:\s+(?:as\s+)?\w+)?\s+set\b`)
	another     = regexp.MustCompile(`;\s*\S`)
)

// readers are the words that queries start with.
var readers = map[string]bool{"select": true, "with": true, "values": true, "table": true, "show": true, "explain": true, "describe": true, "desc": true, "pragma": true}

// onlyReads returns the problem of a query that writes, as far as its text shows.
// The database rejects the others.
func onlyReads(s spec.Statement) (problem, hint string) {
	const use = "use the operation `exec`, which writes in a transaction and returns rows too"
	bare := quoted.ReplaceAllString(expressions.ReplaceAllString(strings.Join(s.Texts, "?"), "?"), " ")
	first := firstWord.FindStringSubmatch(bare)
	switch {
	case strings.TrimSpace(bare) == "":
		return "is empty", "write a query, such as `select * from orders`"
	case strings.HasPrefix(strings.TrimSpace(bare), "?"): // a value, which is another problem
		return "", ""
	case first == nil:
		return "must start with `select` or `with`", use
	case !readers[strings.ToLower(first[1])]:
		return "must read, but starts with `" + strings.ToLower(spec.Clip(first[1])) + "`", use
	case another.MatchString(bare):
		return "must be one statement", "use the operation `transaction` for several statements"
	}
	if part := writesPart.FindString(bare); part != "" {
		return "must read, but contains `" + strings.ToLower(spec.Clip(part)) + "`", use
	}
	return "", ""
}
