package server

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 300, 4 << 20: 300, 64 << 20: 300, 96 << 20: 200, 192 << 20: 100, 8 << 30: 100} {
		if got := gcPercent(live); got != want {
			t.Errorf("%d bytes: got %d, want %d", live, got, want)
		}
	}
}
