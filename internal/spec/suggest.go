package spec

// Suggest gives the candidate that s is most likely a slip of the pen for, ""
// if none is near: at most a third of its length in edits (Damerau-Levenshtein,
// optimal string alignment), or a known confusion.
func Suggest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	best, at := "", len([]rune(s))/3+1
	folded := fold(s)
	for _, c := range candidates {
		if fold(c) == folded && c != s {
			return c
		}
		if far := len(c) - len(s); far > 4*at || far < -4*at {
			continue // of at most four bytes a character
		}
		if n := distance(s, c); n < len([]rune(s)) && (n < at || n == at && best == "" && at == 1) {
			best, at = c, n
		}
	}
	return best
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

func distance(a, b string) int {
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
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(up[j]+1, row[j-1]+1, up[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], upup[j-2]+1)
			}
		}
	}
	return rows[len(x)%3][len(y)]
}
