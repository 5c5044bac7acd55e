package testrun

import (
	"regexp"
	"strconv"
)

// made matches UUIDs and the tokens of callbacks.
var made = regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|/callbacks/[0-9a-z]+`)

// Generated compares texts of two runs that make other UUIDs and tokens. One that
// stands for another in a text must stand for it in every later text. Those that
// were received must be equal.
type Generated struct {
	received      map[string]bool
	first, second map[string]int // the number of a generated value, by run
}

// NewGenerated returns a comparison. received are the texts that both runs received.
func NewGenerated(received ...string) *Generated {
	g := &Generated{received: map[string]bool{}, first: map[string]int{}, second: map[string]int{}}
	for _, text := range received {
		for _, id := range made.FindAllString(text, -1) {
			g.received[id] = true
		}
	}
	return g
}

// Texts returns two texts with numbers in place of generated values. They are
// equal if the texts are.
func (g *Generated) Texts(first, second string) (a, b string) {
	x, y := made.FindAllString(first, -1), made.FindAllString(second, -1)
	if len(x)+len(y) == 0 {
		return first, second
	}
	if len(x) == len(y) && made.ReplaceAllString(first, "") == made.ReplaceAllString(second, "") {
		for i := range x {
			_, known := g.first[x[i]]
			_, alsoKnown := g.second[y[i]]
			if !known && !alsoKnown && !g.received[x[i]] && !g.received[y[i]] {
				n := len(g.first) + 1
				g.first[x[i]], g.second[y[i]] = n, n
			}
		}
	}
	return g.numbered(first, g.first, "only then"), g.numbered(second, g.second, "only now")
}

func (g *Generated) numbered(text string, numbers map[string]int, otherwise string) string {
	return made.ReplaceAllStringFunc(text, func(id string) string {
		switch n, known := numbers[id]; {
		case g.received[id]:
			return id
		case known:
			return "(generated " + strconv.Itoa(n) + ")"
		}
		return "(generated " + otherwise + ")"
	})
}
