package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"valence/internal/clock"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestVirtualSleepTakesNoTime(t *testing.T) {
	c := clock.NewVirtual(start)
	began := time.Now()
	if err := c.Sleep(context.Background(), 48*time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Now(), start.Add(48*time.Hour); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the pause took %s", took)
	}
}

func TestVirtualSleepEndsAtDeadline(t *testing.T) {
	c := clock.NewVirtual(start)
	outer, cancel := c.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	inner, cancel := c.WithTimeout(outer, time.Hour) // the earlier deadline counts
	defer cancel()
	if err := c.Sleep(inner, 2*time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if got := c.Now().Sub(start); got != time.Minute {
		t.Errorf("got %s, want 1m", got)
	}
	if err := inner.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestCauseOfVirtualDeadline(t *testing.T) {
	c := clock.NewVirtual(start)
	over := errors.New("over")
	ctx, cancel := c.WithDeadlineCause(context.Background(), start.Add(time.Second), over)
	defer cancel()
	if got := clock.Cause(ctx); got != nil {
		t.Errorf("got %v before the deadline, want nil", got)
	}
	_ = c.Sleep(ctx, time.Second)
	if got := clock.Cause(ctx); got != over {
		t.Errorf("got %v, want %v", got, over)
	}
}

func TestCancelledBeforeVirtualDeadline(t *testing.T) {
	c := clock.NewVirtual(start)
	ctx, cancel := c.WithTimeout(context.Background(), time.Second)
	cancel()
	if err := c.Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := c.Now(); !got.Equal(start) {
		t.Errorf("got %s, want %s", got, start)
	}
}

// TestCancellationOfAnotherPath cancels a context at a time that a path simulated
// later has not reached yet.
func TestCancellationOfAnotherPath(t *testing.T) {
	c := clock.NewVirtual(start)
	ctx, cancel := c.WithCancelCause(context.Background())
	if err := c.Sleep(ctx, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	cancel(stop)
	c.Set(start) // the other path
	if err := ctx.Err(); err != nil {
		t.Errorf("got %v before the cancellation, want nil", err)
	}
	if err := c.Sleep(ctx, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := clock.Cause(ctx); got != stop {
		t.Errorf("got %v, want %v", got, stop)
	}
	if got := c.Now().Sub(start); got != 5*time.Second {
		t.Errorf("got %s, want 5s", got)
	}
}

func TestLanesOverlap(t *testing.T) {
	for _, test := range []struct {
		name  string
		lanes int
		last  time.Duration
		begin []time.Duration
	}{
		{"one lane", 1, 9 * time.Second, []time.Duration{0, 2 * time.Second, 5 * time.Second}},
		{"two lanes", 2, 6 * time.Second, []time.Duration{0, 0, 2 * time.Second}},
		{"as many as paths", 3, 4 * time.Second, []time.Duration{0, 0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := clock.NewVirtual(start)
			lanes := c.Lanes(test.lanes)
			for i, d := range []time.Duration{2 * time.Second, 3 * time.Second, 4 * time.Second} {
				if got := lanes.Next().Sub(start); got != test.begin[i] {
					t.Errorf("path %d: got %s, want %s", i, got, test.begin[i])
				}
				lanes.Run(func() { _ = c.Sleep(context.Background(), d) })
			}
			lanes.Join()
			if got := c.Now().Sub(start); got != test.last {
				t.Errorf("got %s, want %s", got, test.last)
			}
		})
	}
}

func TestMachineClockIgnoresWallJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := start
		c := clock.New(func() time.Time { return wall })
		wall = wall.Add(time.Hour) // the clock of the machine is set
		if err := c.Sleep(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		if got := c.Now().Sub(start); got != time.Second {
			t.Errorf("got %s, want 1s", got)
		}
		if got := c.Wall(); !got.Equal(wall) {
			t.Errorf("got %s, want %s", got, wall)
		}
		if c.Lanes(2) != nil {
			t.Error("a clock of the machine has lanes")
		}
	})
}
