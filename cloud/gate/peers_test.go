package gate

import (
	"strconv"
	"strings"
	"testing"
)

// TestPeersAreDropped checks that atoms that no longer exist are dropped, and
// others are not.
func TestPeersAreDropped(t *testing.T) {
	p := peers{exists: func(id string) bool { return strings.HasPrefix(id, "old") }}
	first := p.of("old")
	for i := range 10_000 {
		p.of("gone" + strconv.Itoa(i))
	}
	if n := len(p.all); n > 2*minPrune {
		t.Errorf("got %d peers, want at most %d", n, 2*minPrune)
	}
	if p.of("old") != first {
		t.Error("got another peer for an atom that exists, want its counters to last")
	}
	if p.seen("new") != nil {
		t.Error("got a peer that has sent nothing, want none")
	}
}
