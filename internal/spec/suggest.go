package spec

import (
	"slices"
	"sort"
	"strings"
)

// Suggest returns the candidate of which s is probably a misspelling, or "" if
// none is close. It allows edits of a third of the length of s (Damerau-
// Levenshtein distance, optimal string alignment) and ignores case, - and _.
func Suggest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	best, at := "", mostEdits(s)
	folded := fold(s)
	for _, c := range candidates {
		if fold(c) == folded && c != s {
			return c
		}
		if far := len(c) - len(s); far > 4*at || far < -4*at {
			continue // a character has at most four bytes
		}
		if n := distance(s, c, at); n < len([]rune(s)) && (n < at || n == at && best == "" && at == 1) {
			best, at = c, n
		}
	}
	return best
}

// aliases are words of other systems for keys of settings.
var aliases = map[string][]string{
	"username": {"user"}, "login": {"user"}, "userid": {"user"}, "pass": {"password"}, "passwd": {"password"}, "pwd": {"password"},
	"uri": {"url"}, "endpoint": {"url", "path"}, "baseurl": {"url"}, "address": {"url", "host"}, "hostname": {"host"}, "server": {"host", "url"},
	"db": {"database"}, "dbname": {"database"}, "params": {"query"}, "route": {"path"}, "verb": {"method"}, "type": {"scheme", "connector"},
}

// aliasOf returns the candidate that another system calls by a name, or "".
func aliasOf(name string, candidates []string) string {
	for _, ours := range aliases[fold(name)] {
		if slices.Contains(candidates, ours) {
			return ours
		}
	}
	return ""
}

// mostEdits returns the number of edits that a misspelling may have.
func mostEdits(s string) int { return len([]rune(s))/3 + 1 }

// Likely returns up to n candidates that Suggest may choose for s, sorted. It
// avoids an expensive comparison with thousands of candidates.
func Likely(s string, candidates []string, n int) []string {
	most := mostEdits(s)
	have := lettersOf(s)
	by := make([][]string, most+1) // by minimum number of edits
	for _, c := range candidates {
		if edits := have.apart(lettersOf(c)); edits <= most {
			by[edits] = append(by[edits], c)
		}
	}
	var out []string
	for _, same := range by {
		if len(out)+len(same) > n {
			if len(out) > 0 {
				break
			}
			sort.Strings(same)
			same = same[:n]
		}
		out = append(out, same...)
	}
	sort.Strings(out)
	return out
}

// letters counts the ASCII letters and digits of a folded name.
type letters [36]int8

func lettersOf(s string) (l letters) {
	for i := range min(len(s), 100) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z':
			l[c-'a']++
		case 'A' <= c && c <= 'Z':
			l[c-'A']++
		case '0' <= c && c <= '9':
			l[26+c-'0']++
		}
	}
	return l
}

// apart returns a lower bound of the edits between two names: each edit adds a
// letter, removes one, or does both.
func (l letters) apart(m letters) int {
	less, more := 0, 0
	for i := range l {
		if d := int(l[i]) - int(m[i]); d > 0 {
			more += d
		} else {
			less -= d
		}
	}
	return max(less, more)
}

// fold removes the differences that people confuse: case, hyphens and underscores.
func fold(s string) string {
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == '_' || c == '-' || c == ' ':
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// distance returns the number of edits between a and b, or any larger number
// than limit if it exceeds limit.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if len(y) > 64 {
		return len(y)
	}
	var rows [3][66]int
	for j := range len(y) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		row, up, upup := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		least := i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(up[j]+1, row[j-1]+1, up[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], upup[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit+1 { // a transposition costs one less in the next row
			return least
		}
	}
	return rows[len(x)%3][len(y)]
}

// Nearest is Suggest for candidates in any order: it sorts them, so that the
// same input always yields the same result.
func Nearest(name string, known []string) string {
	if len(known) > 64 {
		return Suggest(name, Likely(name, known, 64))
	}
	sorted := append([]string(nil), known...)
	sort.Strings(sorted)
	return Suggest(name, sorted)
}

// Suggestion returns the hint for a name that is not among those known.
func Suggestion(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	if len(known) > 20 {
		known = append(known[:20:20], "…")
	}
	return "use one of: " + strings.Join(known, ", ")
}
