package spec

import "sort"

// Suggest gives the candidate that s is most likely a slip of the pen for, ""
// if none is near: at most a third of its length in edits (Damerau-Levenshtein,
// optimal string alignment), or a known confusion.
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
			continue // of at most four bytes a character
		}
		if n := distance(s, c, at); n < len([]rune(s)) && (n < at || n == at && best == "" && at == 1) {
			best, at = c, n
		}
	}
	return best
}

// mostEdits is how many edits still make a slip of the pen.
func mostEdits(s string) int { return len([]rune(s))/3 + 1 }

// Likely gives, of very many candidates, the few that Suggest could choose for
// s, at most n of them and in the order of their names: a hint is not worth
// comparing all of them letter by letter.
func Likely(s string, candidates []string, n int) []string {
	most := mostEdits(s)
	have := lettersOf(s)
	by := make([][]string, most+1) // by how many edits it takes at least
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

// letters counts the letters and digits of a name as fold leaves them, those
// of ASCII alone.
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

// apart gives how many edits it takes at least to make a name of another one:
// each adds a letter, takes one away, or does both.
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

// fold drops what people mix up in names: case, hyphens and underscores.
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

// distance is the number of edits between a and b; where it is over a limit,
// any number over it.
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
		if least > limit+1 { // two letters that changed places cost one less in the next row
			return least
		}
	}
	return rows[len(x)%3][len(y)]
}
