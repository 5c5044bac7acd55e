package spec

import "testing"

func TestLiteral(t *testing.T) {
	for s, want := range map[string]bool{"": false, "a": true, "a${x}": false, "$x": true, "$${x}": false} {
		if got := Literal(s); got != want {
			t.Errorf("Literal(%q): got %v, want %v", s, got, want)
		}
	}
}
