package expression

import "strings"

// didYouMean returns a hint with the known word closest to word.
func didYouMean(word string, known []string) string {
	hint, _ := nearest(word, known)
	return hint
}

// nearest returns the known word closest to word, or "" if none is close, and a
// hint.
func nearest(word string, known []string) (hint, near string) {
	best, least := "", len(word)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		if len(known) == 0 || len(known) > 24 {
			return "", ""
		}
		return "available: " + strings.Join(known, ", "), ""
	}
	return "did you mean `" + best + "`?", best
}

// distance returns the restricted Damerau–Levenshtein distance between a and b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
