package atom

import (
	"testing"
	"testing/synctest"
	"time"
)

// Executions give way to senders that crowd, and keep an eighth of their speed
// at least.
func TestGiveWay(t *testing.T) {
	cases := []struct {
		name       string
		taking     int64
		took, want time.Duration
	}{
		{"nobody waits", 0, time.Second, 0},
		{"few wait", crowd - 1, time.Second, 0},
		{"a short execution", crowd, time.Millisecond, wayShare * time.Millisecond},
		{"one that waits for another system", crowd, time.Second, longestWay},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &Atom{}
				a.taking.Store(c.taking)
				start := time.Now()
				a.giveWay(c.took)
				if got := time.Since(start); got != c.want {
					t.Errorf("it waited %v, not %v", got, c.want)
				}
			})
		})
	}
}
