package testrun

import "testing"

// TestGenerated compares texts of two runs: the first lists are those of one run.
func TestGenerated(t *testing.T) {
	const (
		a = "11111111-1111-4111-8111-111111111111"
		b = "22222222-2222-4222-8222-222222222222"
		c = "33333333-3333-4333-8333-333333333333"
		d = "44444444-4444-4444-8444-444444444444"
	)
	for _, test := range []struct {
		name, received string
		was, now       []string
		want           int // index of the first text that differs; -1: none
	}{
		{"other values are equal", "", []string{a + " " + b}, []string{c + " " + d}, -1},
		{"the same value twice stays the same", "", []string{a, a}, []string{c, d}, 1},
		{"two values do not become one", "", []string{a + " " + b}, []string{c + " " + c}, 0},
		{"received values are equal", d, []string{"x " + d}, []string{"x " + d}, -1},
		{"a received value is not generated", d, []string{d}, []string{a}, 0},
		{"a generated value is not received", d, []string{a}, []string{d}, 0},
		{"tokens of callbacks", "", []string{"https://x/callbacks/abc1"}, []string{"https://x/callbacks/zzz9"}, -1},
		{"texts without generated values", "", []string{"x", "x"}, []string{"x", "y"}, 1},
		{"a value in place of a text", "", []string{"x"}, []string{a}, 0},
	} {
		g, got := NewGenerated("input "+test.received), -1
		for i := range test.was {
			if x, y := g.Texts(test.was[i], test.now[i]); x != y && got < 0 {
				got = i
			}
		}
		if got != test.want {
			t.Errorf("%s: got a change in text %d, want %d", test.name, got, test.want)
		}
	}
}
