package demo

import (
	"fmt"
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	var l tail
	for i := range 5000 {
		fmt.Fprintf(&l, "line %d\n", i)
	}
	if text := l.String(); len(text) != maxTail || !strings.HasSuffix(text, "line 4999\n") {
		t.Errorf("got %d bytes ending in %q, want %d ending in %q", len(text), text[len(text)-20:], maxTail, "line 4999\n")
	}
}
