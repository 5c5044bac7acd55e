package queue

import (
	"testing"
	"testing/synctest"
	"time"
)

// Workers yield to senders when there are many, and keep at least an eighth of
// their speed.
func TestYield(t *testing.T) {
	cases := []struct {
		name       string
		senders    int64
		took, want time.Duration
	}{
		{"no sender waits", 0, time.Second, 0},
		{"few senders wait", manySenders - 1, time.Second, 0},
		{"a short execution", manySenders, time.Millisecond, yieldShare * time.Millisecond},
		{"an execution that waits for another system", manySenders, time.Second, maxYield},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Set{}
				s.AddSenders(c.senders)
				start := time.Now()
				s.yield(c.took)
				if got := time.Since(start); got != c.want {
					t.Errorf("yield paused for %v, want %v", got, c.want)
				}
			})
		})
	}
}
